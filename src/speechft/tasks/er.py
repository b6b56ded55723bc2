"""ER: emotion recognition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from speechft.core.errors import MissingSplitError
from speechft.tasks.base import TASKS, ProtocolName, Size, Task
from speechft.tasks.probe_plan import GRID, Plan, PublishedPlan
from speechft.tasks.utterance_classes import ClassTask

if TYPE_CHECKING:
    from lhotse.cut import Cut


@TASKS.register("er")
class EmotionRecognition(ClassTask):
    """The emotion in `custom["emotion"]`, a table's column `emotion`.

    Where the data have folds (`fold1_train`, `fold1_dev`, `fold1_test`, …), each has a head of its
    own, and the score is the mean of the folds' test scores.
    """

    id: ClassVar[str] = "er"
    title: ClassVar[str] = "emotion recognition"
    group: ClassVar[str] = "emotion"
    needs: ClassVar[str] = "an emotion"
    fields: ClassVar[tuple[str, ...]] = ("emotion",)
    plans: ClassVar[Mapping[Size, Plan]] = {
        "mini": Plan(1000, 32, (3e-2, 1e-2, 3e-3, 1e-3), decay=True),
        "superb": Plan(30_000, 32, GRID),
    }
    published: ClassVar[PublishedPlan | None] = PublishedPlan("shuffled", 4, 8, 4, 30)
    corpora: ClassVar[tuple[str, ...]] = ("iemocap",)
    official_items: ClassVar[int | None] = 5531  # IEMOCAP's five folds with four emotions

    @classmethod
    def arrange(
        cls, data: Mapping[str, Iterable[Cut]], protocol: ProtocolName = "clean"
    ) -> list[tuple[str, list[Cut]]]:
        """Give the splits of every fold, or the plain ones where there are no folds.

        Raises:
            MissingSplitError: a fold is not whole, or there is no fold and no plain split.
        """
        parted = [name.rpartition("_") for name in data if name.startswith("fold")]
        folds = sorted({fold for fold, _, part in parted if part in Task.splits})
        names = [f"{fold}_{part}" for fold in folds if fold for part in Task.splits]
        if not names:
            return super().arrange(data, protocol)
        if absent := [name for name in names if name not in data]:
            raise MissingSplitError(
                f"the data lacks the split {absent[0]!r}, and other splits of folds are there",
                expected="train, dev and test of every fold, as fold1_train",
                found=", ".join(data),
                hint="add it, or leave all splits of folds out",
            )
        return [(name, list(data[name])) for name in names]

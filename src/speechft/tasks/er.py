"""ER: emotion recognition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from lhotse.cut import Cut

from speechft.tasks.base import TASKS, ProtocolName, Size
from speechft.tasks.probe_plan import GRID, Plan, PublishedPlan
from speechft.tasks.utterance_classes import ClassTask


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
        """Give the splits of every fold, or the plain ones where there are no folds."""
        folds = sorted(name.removesuffix("_train") for name in data if name.endswith("_train"))
        folds = [fold for fold in folds if fold.startswith("fold")]
        names = [f"{fold}_{part}" for fold in folds for part in ("train", "dev", "test")]
        if not names or not set(names) <= set(data):
            return super().arrange(data, protocol)
        return [(name, list(data[name])) for name in names]

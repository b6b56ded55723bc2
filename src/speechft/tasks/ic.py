"""IC: intent classification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from speechft.tasks.base import TASKS, Size, missing
from speechft.tasks.probe_plan import GRID, Plan, PublishedPlan
from speechft.tasks.utterance_classes import ClassTask, Labels

if TYPE_CHECKING:
    from lhotse.cut import Cut


@TASKS.register("ic")
class IntentClassification(ClassTask):
    """The intent in `custom["intent"]`, a table's column `intent`.

    An intent is one name, or a mapping with several (action, object, location in Fluent Speech
    Commands), each with its own softmax.
    """

    id: ClassVar[str] = "ic"
    title: ClassVar[str] = "intent classification"
    needs: ClassVar[str] = "an intent"
    one_class: ClassVar[bool] = False
    fields: ClassVar[tuple[str, ...]] = ("intent",)
    plans: ClassVar[Mapping[Size, Plan]] = {
        "mini": Plan(1000, 32, (3e-2, 1e-2, 3e-3, 1e-3), decay=True),
        "superb": Plan(200_000, 32, GRID),
    }
    published: ClassVar[PublishedPlan | None] = PublishedPlan("shuffled", 32, 1, 32, 40)
    corpora: ClassVar[tuple[str, ...]] = ("fluent_speech_commands",)
    official_items: ClassVar[int | None] = 3793  # Fluent Speech Commands

    @classmethod
    def labels(cls, cut: Cut) -> Labels:
        """Give the intent of a cut, or each of its parts."""
        intent = cls.label(cut)
        parts = intent if isinstance(intent, dict) else {"intent": intent}
        if any(part is None or not str(part).strip() for part in parts.values()):
            raise missing(cut, f"{cls.needs} with a name in every part", cls.id, cls.fields)
        return {str(name): str(value) for name, value in sorted(parts.items())}

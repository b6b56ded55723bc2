"""IC: intent classification."""

from __future__ import annotations

from typing import ClassVar

from lhotse.cut import Cut

from speechft.tasks.base import TASKS
from speechft.tasks.classes import ClassTask, Labels
from speechft.tasks.labels import custom, missing


@TASKS.register("ic")
class IntentClassification(ClassTask):
    """The intent in `custom["intent"]`, or a generic `label` where there is none.

    An intent is one name, or a mapping with several (action, object, location in Fluent Speech
    Commands), each with its own softmax.
    """

    id: ClassVar[str] = "ic"
    title: ClassVar[str] = "intent classification"

    @classmethod
    def labels(cls, cut: Cut) -> Labels:
        """Give the intent of a cut, or each of its parts."""
        intent = custom(cut, "intent", "label")
        if intent is None:
            raise missing(cut, "an intent", cls.id, ["intent", "label"])
        parts = intent if isinstance(intent, dict) else {"intent": intent}
        return {str(name): str(value) for name, value in sorted(parts.items())}

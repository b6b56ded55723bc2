"""ER: emotion recognition."""

from __future__ import annotations

from typing import ClassVar

from lhotse.cut import Cut

from speechft.tasks.base import TASKS
from speechft.tasks.classes import ClassTask, Labels
from speechft.tasks.labels import custom, missing


@TASKS.register("er")
class EmotionRecognition(ClassTask):
    """The emotion in `custom["emotion"]`, or a generic `label` where there is none."""

    id: ClassVar[str] = "er"
    title: ClassVar[str] = "emotion recognition"

    @classmethod
    def labels(cls, cut: Cut) -> Labels:
        """Give the emotion of a cut."""
        emotion = custom(cut, "emotion", "label")
        if emotion is None:
            raise missing(cut, "an emotion", cls.id, ["emotion", "label"])
        return {"emotion": str(emotion)}

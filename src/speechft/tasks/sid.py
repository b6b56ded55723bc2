"""SID: speaker identification."""

from __future__ import annotations

from typing import ClassVar

from lhotse.cut import Cut

from speechft.tasks.base import TASKS
from speechft.tasks.classes import ClassTask, Labels
from speechft.tasks.labels import custom, missing, supervision


@TASKS.register("sid")
class SpeakerIdentification(ClassTask):
    """The supervision's speaker, or a generic `label` where there is none.

    The speakers of all splits are the same, so a corpus may offer splits of its own for it:
    `sid_train`, `sid_dev`, `sid_test`.
    """

    id: ClassVar[str] = "sid"
    title: ClassVar[str] = "speaker identification"
    splits: ClassVar[tuple[str, str, str]] = ("sid_train", "sid_dev", "sid_test")

    @classmethod
    def labels(cls, cut: Cut) -> Labels:
        """Give the speaker of a cut."""
        speaker = supervision(cut).speaker or custom(cut, "label")
        if speaker is None:
            raise missing(cut, "a speaker", cls.id, ["speaker", "label"])
        return {"speaker": str(speaker)}

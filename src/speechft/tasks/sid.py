"""SID: speaker identification."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from speechft.data.cuts import fixed_crop
from speechft.tasks.base import TASKS, ProtocolName, missing, supervision
from speechft.tasks.probe_plan import PublishedPlan
from speechft.tasks.utterance_classes import ClassTask, Labels

if TYPE_CHECKING:
    from lhotse.cut import Cut

CROP: Final = 128_000  # samples


@TASKS.register("sid")
class SpeakerIdentification(ClassTask):
    """The supervision's speaker, a table's column `speaker`.

    The speakers of all splits are the same, so a corpus may offer splits of its own for it:
    `sid_train`, `sid_dev`, `sid_test`. Of a training utterance that is longer than 8 s one fixed
    crop of 8 s is heard (S3PRL draws a new one each time); dev and test are whole.
    """

    id: ClassVar[str] = "sid"
    title: ClassVar[str] = "speaker identification"
    splits: ClassVar[tuple[str, str, str]] = ("sid_train", "sid_dev", "sid_test")
    published: ClassVar[PublishedPlan | None] = PublishedPlan("shuffled", 8, 4, 1, 40)
    corpora: ClassVar[tuple[str, ...]] = ("voxceleb1",)
    official_items: ClassVar[int | None] = 8251  # VoxCeleb1's list

    @classmethod
    def labels(cls, cut: Cut) -> Labels:
        """Give the speaker of a cut."""
        speaker = supervision(cut).speaker
        if not speaker:
            raise missing(cut, "a speaker", cls.id, ["speaker"], classes=True)
        return {"speaker": str(speaker)}

    @classmethod
    def heard(cls, cut: Cut, part: str, protocol: ProtocolName) -> list[Cut]:  # noqa: ARG003
        """Give a long training utterance cropped, others whole."""
        return [fixed_crop(cut, CROP) if part == "train" else cut]

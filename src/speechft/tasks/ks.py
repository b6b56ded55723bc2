"""KS: keyword spotting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar, Final

from speechft.core.lengths import SAMPLE_RATE
from speechft.data.cuts import fixed_crops, with_effects
from speechft.data.synthetic.keywords import is_synthetic_english, keyword_splits
from speechft.data.waveform_effects import GAIN
from speechft.tasks.base import TASKS, ProtocolName, custom
from speechft.tasks.probe_plan import PublishedPlan, Scheme
from speechft.tasks.utterance_classes import ClassTask

if TYPE_CHECKING:
    from lhotse.cut import Cut

SILENCE: Final = "_silence_"
# Crops of one second from each background recording; S3PRL draws a new one each time.
CROPS: Final = {"train": 100, "dev": 10, "test": 1}


@TASKS.register("ks")
class KeywordSpotting(ClassTask):
    """The keyword in `custom["label"]`, a table's column `label`, with 3 dB less volume.

    The sentences of the package's synthetic speech carry no keyword: words are cut out of them,
    which makes the splits `ks_train`, `ks_dev` and `ks_test`.

    Recordings of background noise (`_silence_`, longer than a second) are heard in fixed crops of
    one second. Training draws its utterances so that all classes are equally frequent; under the
    protocol "s3prl" the dev split is such a draw too.
    """

    id: ClassVar[str] = "ks"
    title: ClassVar[str] = "keyword spotting"
    group: ClassVar[str] = "keyword"
    needs: ClassVar[str] = "a keyword"
    splits: ClassVar[tuple[str, str, str]] = ("ks_train", "ks_dev", "ks_test")
    scheme: ClassVar[Scheme] = "balanced"
    published: ClassVar[PublishedPlan | None] = PublishedPlan("balanced", 32, 1, 32, 40)
    corpora: ClassVar[tuple[str, ...]] = ("speech_commands",)
    official_items: ClassVar[int | None] = 3081  # the Speech Commands test set

    @classmethod
    def arrange(
        cls, data: Mapping[str, Iterable[Cut]], protocol: ProtocolName = "clean"
    ) -> list[tuple[str, list[Cut]]]:
        """Give the splits with background noise in pieces and less volume."""
        words = keyword_splits(data) if _is_spoken(data) else {}
        return super().arrange({**data, **words}, protocol)

    @classmethod
    def heard(cls, cut: Cut, part: str, protocol: ProtocolName) -> list[Cut]:  # noqa: ARG003
        """Give a cut with less volume; background noise of train and dev in pieces."""
        noise = custom(cut, "label") == SILENCE and part != "test"
        pieces = fixed_crops(cut, SAMPLE_RATE, CROPS[part], part) if noise else [cut]
        return [with_effects(piece, [GAIN]) for piece in pieces]


def _is_spoken(data: Mapping[str, Iterable[Cut]]) -> bool:
    """Tell whether the training split holds synthetic sentences rather than keywords."""
    first = next(iter(data.get("train", ())), None)
    spoken = first is not None and is_synthetic_english(first) and custom(first, "label") is None
    return spoken and not set(KeywordSpotting.splits) <= set(data)

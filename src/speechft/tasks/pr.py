"""PR: phoneme recognition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, ClassVar, Final

from speechft.core.errors import DataError
from speechft.metrics.measures import error_rate
from speechft.tasks.base import TASKS, Purpose, Size, custom, missing
from speechft.tasks.ctc import CTCTask
from speechft.tasks.probe_plan import GRID, Plan, PublishedPlan

if TYPE_CHECKING:
    from lhotse.cut import Cut
    from torch import nn

_VOWELS: Final = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW"
_CONSONANTS: Final = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH"
# The 71 units of SUPERB's PR: silence, spoken noise, and ARPAbet with stress digits.
ARPABET: Final = (
    "SIL",
    "SPN",
    *sorted([*(v + s for v in _VOWELS.split() for s in "012"), *_CONSONANTS.split()]),
)


@TASKS.register("pr")
class PhonemeRecognition(CTCTask):
    """The sequence of phonemes in `custom["phonemes"]`, by CTC on a frame-level linear head."""

    id: ClassVar[str] = "pr"
    title: ClassVar[str] = "phoneme recognition"
    metrics: ClassVar[tuple[str, ...]] = ("per",)
    answer: ClassVar[str] = "phonemes"
    ending: ClassVar[tuple[str, ...]] = ("<eos>",)
    plans: ClassVar[Mapping[Size, Plan]] = {
        "mini": Plan(400, 16, (3e-2, 1e-2), decay=True),
        "superb": Plan(100_000, 32, GRID),
    }
    spec_augment: ClassVar[bool] = False
    published: ClassVar[PublishedPlan | None] = PublishedPlan("window", 16, 2, 1, 100)
    corpora: ClassVar[tuple[str, ...]] = ("librispeech",)
    official_items: ClassVar[int | None] = 2620  # LibriSpeech test-clean

    def symbols(self, cut: Cut) -> list[str]:
        """Give the phonemes of a cut."""
        phonemes = custom(cut, "phonemes")
        if phonemes is None:
            raise missing(cut, "phonemes", self.id, ["phonemes"])
        return [str(p) for p in (phonemes.split() if isinstance(phonemes, str) else phonemes)]

    def published_symbols(self, found: Set[str]) -> list[str]:
        """Give the end of sentence and ARPAbet with stress digits: 74 units with blank, unknown."""
        strange = sorted(found - set(ARPABET))
        if strange:
            raise DataError(
                "the phonemes are not those of SUPERB's lexicon",
                expected="ARPAbet with stress digits, such as AH0",
                found=", ".join(strange[:5]),
                hint="choose protocol: clean",
            )
        return ["<eos>", *ARPABET]

    def assemble(self, symbols: list[str]) -> list[str]:
        """Give the phonemes."""
        return symbols

    def build_head(self, input_dim: int, *, purpose: Purpose, size: Size) -> nn.Module:
        """Build SUPERB's frame-level linear head, for both purposes."""
        from speechft.heads.linear import FrameLinear

        if size == "linear":
            return super().build_head(input_dim, purpose=purpose, size=size)
        return FrameLinear(input_dim, self.output_size, 256 if size == "superb" else 128)

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Give PER."""
        return {"per": error_rate(references, predictions)}

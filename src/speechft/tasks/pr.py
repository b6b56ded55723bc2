"""PR: phoneme recognition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from lhotse.cut import Cut
from torch import nn

from speechft.heads.frame import FrameLinear
from speechft.metrics.errors import error_rate
from speechft.tasks.base import TASKS, Purpose, Size
from speechft.tasks.ctc import CTCTask
from speechft.tasks.labels import custom, missing


@TASKS.register("pr")
class PhonemeRecognition(CTCTask):
    """The sequence of phonemes in `custom["phonemes"]`, by CTC on a frame-level linear head."""

    id: ClassVar[str] = "pr"
    title: ClassVar[str] = "phoneme recognition"
    metrics: ClassVar[tuple[str, ...]] = ("per",)

    def symbols(self, cut: Cut) -> list[str]:
        """Give the phonemes of a cut."""
        phonemes = custom(cut, "phonemes")
        if phonemes is None:
            raise missing(cut, "phonemes", self.id, ["phonemes"])
        return [str(p) for p in (phonemes.split() if isinstance(phonemes, str) else phonemes)]

    def reference(self, cut: Cut) -> list[str]:
        """Give the phonemes of a cut."""
        return self.symbols(cut)

    def assemble(self, symbols: list[str]) -> list[str]:
        """Give the phonemes."""
        return symbols

    def build_head(self, input_dim: int, *, purpose: Purpose, size: Size) -> nn.Module:  # noqa: ARG002
        """Build SUPERB's frame-level linear head, for both purposes."""
        return FrameLinear(input_dim, self.output_size, 256 if size == "superb" else 128)

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Give PER."""
        return {"per": error_rate(references, predictions)}

"""ASR: speech recognition over characters."""

from __future__ import annotations

from collections.abc import Sequence, Set
from string import ascii_uppercase
from typing import Any, ClassVar

from lhotse.cut import Cut
from torch import nn

from speechft.metrics.errors import error_rate
from speechft.tasks.base import TASKS, Purpose, Size
from speechft.tasks.ctc import CTCTask
from speechft.tasks.labels import missing, supervision
from speechft.tasks.recurrent import recurrent_head
from speechft.tasks.text import normalise_text

SPACE = "|"


@TASKS.register("asr")
class SpeechRecognition(CTCTask):
    """The characters of the supervision's text, by CTC on a recurrent head; greedy, without LM.

    The text is normalised (`normalise_text`); a space is the symbol `|`.
    """

    id: ClassVar[str] = "asr"
    title: ClassVar[str] = "speech recognition"
    metrics: ClassVar[tuple[str, ...]] = ("wer", "cer")
    ending: ClassVar[tuple[str, ...]] = (SPACE, "</s>")

    def symbols(self, cut: Cut) -> list[str]:
        """Give the characters of a cut."""
        text = supervision(cut).text
        if text is None:
            raise missing(cut, "a transcript", self.id, ["text"])
        return list(normalise_text(text).replace(" ", SPACE))

    def published_symbols(self, found: Set[str]) -> list[str]:  # noqa: ARG002
        """Give fairseq's letters: 32 with blank and unknown."""
        return ["<pad>", "</s>", SPACE, *ascii_uppercase, "'"]

    def reference(self, cut: Cut) -> str:
        """Give the normalised text of a cut."""
        return self.assemble(self.readable(self.symbols(cut)))

    def assemble(self, symbols: list[str]) -> str:
        """Give the text."""
        return " ".join("".join(symbols).replace(SPACE, " ").split())

    def build_head(self, input_dim: int, *, purpose: Purpose, size: Size) -> nn.Module:
        """Build the recurrent head."""
        return recurrent_head(input_dim, self.output_size, purpose, size)

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Give WER and CER (spaces count as characters)."""
        words = error_rate([r.split() for r in references], [p.split() for p in predictions])
        return {"wer": words, "cer": error_rate(references, predictions)}

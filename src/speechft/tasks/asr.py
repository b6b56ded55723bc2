"""ASR: speech recognition over characters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any, ClassVar

from speechft.metrics.measures import error_rate
from speechft.tasks.base import TASKS, ProtocolName, missing, supervision
from speechft.tasks.ctc import CTCTask
from speechft.tasks.lexicon import SPACE, LexiconDecoder
from speechft.tasks.probe_plan import PublishedPlan, TuningPlan
from speechft.tasks.transcripts import normalise_text, unsegmented

if TYPE_CHECKING:
    from lhotse.cut import Cut
    from torch import Tensor


@TASKS.register("asr")
class SpeechRecognition(CTCTask):
    """The characters of the supervision's text, by CTC on a recurrent head; greedy, without LM.

    The text is normalised (`normalise_text`); a space is the symbol `|`. WER chooses on dev, but
    CER where most symbols are of a script that parts no words: there a sentence is one word.
    """

    id: ClassVar[str] = "asr"
    title: ClassVar[str] = "speech recognition"
    metrics: ClassVar[tuple[str, ...]] = ("wer", "cer")
    ending: ClassVar[tuple[str, ...]] = (SPACE, "</s>")
    tuned: ClassVar[TuningPlan | None] = TuningPlan(50_000, 16, 2000)  # on TED-LIUM
    published: ClassVar[PublishedPlan | None] = PublishedPlan("blocks", 32, 1, 1, 100)
    takes_language_model: ClassVar[bool] = True
    corpora: ClassVar[tuple[str, ...]] = ("librispeech",)
    official_items: ClassVar[int | None] = 2620  # LibriSpeech test-clean
    revisions: ClassVar[Mapping[ProtocolName, int]] = {"clean": 1, "s3prl": 2}

    def symbols(self, cut: Cut) -> list[str]:
        """Give the characters of a cut."""
        text = supervision(cut).text
        if text is None:
            raise missing(cut, "a transcript", self.id, ["text"])
        return list(normalise_text(text).replace(" ", SPACE))

    def published_symbols(self, found: Set[str]) -> list[str]:
        """Give fairseq's letters, 32 with blank and unknown; of other text what the split has."""
        letters = [SPACE, *ascii_uppercase, "'"]
        own = letters if found <= {*letters} else sorted(found | {SPACE})
        return ["<pad>", "</s>", *own]

    @property
    def leading(self) -> str:
        """WER; CER of Mandarin, Japanese, Thai and other text without spaces."""
        own = "cer" if unsegmented(self.vocabulary[2:]) else self.metrics[0]
        return self.select or own

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Give WER and CER (spaces count as characters)."""
        words = error_rate([r.split() for r in references], [p.split() for p in predictions])
        return {"wer": words, "cer": error_rate(references, predictions)}

    def with_language_model(self, lexicon: Path, language_model: Path) -> _WithLanguageModel:
        """Give the task with flashlight's decoder and the metric `wer_lm`."""
        return _WithLanguageModel(self, LexiconDecoder(self.vocabulary, lexicon, language_model))


class _WithLanguageModel(SpeechRecognition):
    metrics: ClassVar[tuple[str, ...]] = ("wer_lm", "cer_lm")

    def __init__(self, task: SpeechRecognition, decoder: LexiconDecoder) -> None:
        super().__init__(task.vocabulary[2:], task.protocol)
        self._decoder = decoder

    def decode(self, logits: Tensor, lengths: Tensor | None) -> list[Any]:
        return list(self._decoder(logits, lengths))

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        return {f"{n}_lm": v for n, v in super().score(predictions, references).items()}

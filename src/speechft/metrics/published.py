"""Published rows of SUPERB, to stand beside one's own; never measured here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from speechft.metrics.measures import better

Scores = dict[str, dict[str, float]]

SUPERB_PAPER: Final = "Yang et al., SUPERB, Interspeech 2021, arXiv 2105.01051"
WAVLM_PAPER: Final = "Chen et al., WavLM, IEEE JSTSP 16 (2022), arXiv 2110.13900"
SPEECH_FT_PAPER: Final = "Lin et al., Speech-FT, IEEE TASLP 34 (2026), arXiv 2502.12672"


@dataclass(frozen=True)
class PublishedRow:
    """One encoder's published scores.

    Attributes:
        name: of the encoder.
        source: where the numbers are from.
        scores: task → metric → percent (MTWV too).
    """

    name: str
    source: str
    scores: Scores


_FOUR: Final = (
    *(("pr", "per"), ("sid", "acc"), ("er", "acc")),
    *(("sf", "slot_type_f1"), ("sf", "slot_value_cer")),
)
_TEN: Final = (
    *(("pr", "per"), ("asr", "wer"), ("ks", "acc"), ("qbe", "mtwv"), ("sid", "acc")),
    *(("asv", "eer"), ("sd", "der"), ("ic", "acc")),
    *(("sf", "slot_type_f1"), ("sf", "slot_value_cer"), ("er", "acc")),
)


def _row(name: str, source: str, *values: float) -> PublishedRow:
    """Give a row of SUPERB's ten tasks, or of the four of Speech-FT, in the order of the lists."""
    scores: Scores = {}
    columns = _TEN if len(values) == len(_TEN) else _FOUR
    for (task, metric), value in zip(columns, values, strict=True):
        scores.setdefault(task, {})[metric] = value
    return PublishedRow(name, source, scores)


# PER, WER, ACC of KS, MTWV, ACC of SID, EER, DER, ACC of IC, F1 and CER of SF, ACC of ER.
# fmt: off
FBANK: Final = _row(
    "FBANK", SUPERB_PAPER, 82.01, 23.18, 8.63, 0.58, 0.00085, 9.56, 10.05, 9.10, 69.64, 52.94, 35.39
)
ROWS: Final[tuple[PublishedRow, ...]] = (
    FBANK,
    _row("wav2vec 2.0 Base", SUPERB_PAPER,
         5.74, 6.43, 96.23, 2.33, 75.18, 6.02, 6.08, 92.35, 88.30, 24.77, 63.43),
    _row("HuBERT Base", SUPERB_PAPER,
         5.41, 6.42, 96.30, 7.36, 81.42, 5.11, 5.88, 98.34, 88.53, 25.20, 64.92),
    _row("DeCoAR 2.0", SUPERB_PAPER,
         14.93, 13.02, 94.48, 4.06, 74.42, 7.16, 6.59, 90.80, 83.28, 34.73, 62.47),
    _row("WavLM Base+", WAVLM_PAPER,
         3.92, 5.59, 97.37, 9.88, 89.42, 4.07, 3.50, 99.00, 90.58, 21.20, 68.65),
    # The paper measured its pretrained encoders again; these are its own rows, of four tasks.
    _row("HuBERT Base (Speech-FT)", SPEECH_FT_PAPER, 5.17, 81.86, 64.99, 88.54, 24.70),
    _row("HuBERT + stable", SPEECH_FT_PAPER, 5.22, 79.89, 65.38, 88.52, 23.80),
    _row("HuBERT + Speech-FT", SPEECH_FT_PAPER, 3.94, 84.11, 67.78, 88.84, 23.46),
    _row("wav2vec2 Base (Speech-FT)", SPEECH_FT_PAPER, 5.78, 75.26, 63.45, 88.12, 24.88),
    _row("wav2vec2 + stable", SPEECH_FT_PAPER, 6.84, 72.95, 64.53, 87.22, 26.45),
    _row("wav2vec2 + Speech-FT", SPEECH_FT_PAPER, 4.14, 78.44, 64.87, 88.37, 24.10),
)
# fmt: on


def best_published() -> Scores:
    """Give the best value of every metric among the rows that have all ten tasks."""
    best: Scores = {}
    for row in ROWS:
        if set(row.scores) != set(FBANK.scores):
            continue
        for task, metrics in row.scores.items():
            for metric, value in metrics.items():
                kept = best.setdefault(task, {})
                if metric not in kept or better(metric, value, kept[metric]):
                    kept[metric] = value
    return best

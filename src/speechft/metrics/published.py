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


def _ten(
    pr: float,
    ks: float,
    ic: float,
    sid: float,
    er: float,
    asr: float,
    qbe: float,
    sf: tuple[float, float],
    asv: float,
    sd: float,
) -> Scores:
    return {
        "pr": {"per": pr},
        "asr": {"wer": asr},
        "ks": {"acc": ks},
        "qbe": {"mtwv": qbe},
        "sid": {"acc": sid},
        "asv": {"eer": asv},
        "sd": {"der": sd},
        "ic": {"acc": ic},
        "sf": {"slot_type_f1": sf[0], "slot_value_cer": sf[1]},
        "er": {"acc": er},
    }


def _four(pr: float, sid: float, er: float, sf: tuple[float, float]) -> Scores:
    f1, cer = sf
    return {
        "pr": {"per": pr},
        "sid": {"acc": sid},
        "er": {"acc": er},
        "sf": {"slot_type_f1": f1, "slot_value_cer": cer},
    }


FBANK: Final = PublishedRow(
    "FBANK",
    SUPERB_PAPER,
    _ten(82.01, 8.63, 9.10, 0.00085, 35.39, 23.18, 0.58, (69.64, 52.94), 9.56, 10.05),
)
ROWS: Final[tuple[PublishedRow, ...]] = (
    FBANK,
    PublishedRow(
        "wav2vec 2.0 Base",
        SUPERB_PAPER,
        _ten(5.74, 96.23, 92.35, 75.18, 63.43, 6.43, 2.33, (88.30, 24.77), 6.02, 6.08),
    ),
    PublishedRow(
        "HuBERT Base",
        SUPERB_PAPER,
        _ten(5.41, 96.30, 98.34, 81.42, 64.92, 6.42, 7.36, (88.53, 25.20), 5.11, 5.88),
    ),
    PublishedRow(
        "DeCoAR 2.0",
        SUPERB_PAPER,
        _ten(14.93, 94.48, 90.80, 74.42, 62.47, 13.02, 4.06, (83.28, 34.73), 7.16, 6.59),
    ),
    PublishedRow(
        "WavLM Base+",
        WAVLM_PAPER,
        _ten(3.92, 97.37, 99.00, 89.42, 68.65, 5.59, 9.88, (90.58, 21.20), 4.07, 3.50),
    ),
    # The paper measured its pretrained encoders again; these are its own rows.
    PublishedRow("HuBERT + Speech-FT", SPEECH_FT_PAPER, _four(3.94, 84.11, 67.78, (88.84, 23.46))),
    PublishedRow(
        "wav2vec2 + Speech-FT", SPEECH_FT_PAPER, _four(4.14, 78.44, 64.87, (88.37, 24.10))
    ),
)


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

"""Which way each metric is better: the one table."""

from __future__ import annotations

from typing import Final, Literal

from speechft.core.errors import SettingsError
from speechft.core.nearest import did_you_mean

Direction = Literal["higher", "lower"]

DIRECTIONS: Final[dict[str, Direction]] = {
    "per": "lower",
    "wer": "lower",
    "cer": "lower",
    "wer_lm": "lower",
    "acc": "higher",
    "slot_type_f1": "higher",
    "slot_value_cer": "lower",
    "eer": "lower",
    "der": "lower",
    "mtwv": "higher",
    "frame_acc": "higher",
    # Of an encoder beside the one that it comes from.
    "distance": "lower",
    "cka": "higher",
    "cosine": "higher",
    "connectivity": "higher",
}

TITLES: Final[dict[str, str]] = {
    "per": "PER",
    "wer": "WER",
    "cer": "CER",
    "wer_lm": "WER with LM",
    "acc": "ACC",
    "slot_type_f1": "slot-type F1",
    "slot_value_cer": "slot-value CER",
    "eer": "EER",
    "der": "DER",
    "mtwv": "MTWV",
    "frame_acc": "frame accuracy",
    "distance": "distance",
    "cka": "CKA",
    "cosine": "cosine",
    "connectivity": "connectivity",
}


def direction(metric: str) -> Direction:
    """Give "higher" or "lower": which values of a metric are better.

    Raises:
        SettingsError: there is no such metric.
    """
    if metric not in DIRECTIONS:
        raise SettingsError(f"unknown metric {metric!r}", hint=did_you_mean(metric, DIRECTIONS))
    return DIRECTIONS[metric]


def better(metric: str, value: float, than: float) -> bool:
    """Tell whether `value` is strictly better than `than`."""
    return value > than if direction(metric) == "higher" else value < than

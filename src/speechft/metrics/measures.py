"""What metrics there are and which way each is better; error rates, accuracy, concordance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import jiwer
import numpy as np
from numpy.typing import ArrayLike, NDArray

from speechft.core.errors import DataError, SettingsError
from speechft.core.nearest_names import did_you_mean

Direction = Literal["higher", "lower"]

_METRICS: Final[dict[str, tuple[str, Direction]]] = {
    "per": ("PER", "lower"),
    "wer": ("WER", "lower"),
    "cer": ("CER", "lower"),
    "wer_lm": ("WER with LM", "lower"),
    "cer_lm": ("CER with LM", "lower"),
    "ter": ("TER", "lower"),
    "acc": ("ACC", "higher"),
    "uar": ("UAR", "higher"),
    "macro_f1": ("macro F1", "higher"),
    "slot_type_f1": ("slot-type F1", "higher"),
    "slot_value_cer": ("slot-value CER", "lower"),
    "eer": ("EER", "lower"),
    "min_dcf": ("minDCF", "lower"),
    "der": ("DER", "lower"),
    "mtwv": ("MTWV", "higher"),
    "mtwv_language": ("MTWV of one language", "higher"),
    "frame_acc": ("frame accuracy", "higher"),
    "ccc": ("CCC", "higher"),
    "mse": ("MSE", "lower"),
    # Of an encoder beside the one that it comes from.
    "distance": ("distance", "lower"),
    "cka": ("CKA", "higher"),
    "cosine": ("cosine", "higher"),
    "connectivity": ("connectivity", "higher"),
}
# Said beside the others; what they are cannot be put between 0 and 100 %, or says the same again.
BESIDE: Final = frozenset({"mse", "uar", "macro_f1", "min_dcf", "cer_lm"})
TITLES: Final = {name: title for name, (title, _) in _METRICS.items()}
DIRECTIONS: Final = {name: way for name, (_, way) in _METRICS.items()}


def direction(metric: str) -> Direction:
    """Give "higher" or "lower": which values of a metric are better.

    Raises:
        SettingsError: there is no such metric.
    """
    if metric not in DIRECTIONS:
        raise SettingsError(f"unknown metric {metric!r}", hint=did_you_mean(metric, DIRECTIONS))
    return DIRECTIONS[metric]


def goodness(percent: float, way: str) -> float:
    """Give a metric so that more is better: an error rate as 100 minus it, at least 0.

    Args:
        percent: its value.
        way: which values are better, "higher" or "lower".
    """
    return percent if way == "higher" else max(0.0, 100.0 - percent)


def better(metric: str, value: float, than: float) -> bool:
    """Tell whether `value` is strictly better than `than`."""
    return value > than if direction(metric) == "higher" else value < than


def edits(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> list[int]:
    """Give the edit distances of token sequences (substitutions, deletions, insertions).

    Args:
        references: one sequence of tokens per utterance (a string is a sequence of characters).
        hypotheses: as many sequences.

    Returns:
        One distance per utterance.

    Raises:
        DataError: the two lists differ in number.
    """
    _same_number(references, hypotheses)
    # jiwer splits at spaces: give every distinct token a number, so that tokens may hold spaces.
    numbers: dict[str, str] = {}
    code = [
        [" ".join(numbers.setdefault(t, str(len(numbers))) for t in tokens) for tokens in side]
        for side in (references, hypotheses)
    ]
    if not code[0]:
        return []
    return [
        sum(
            max(one.ref_end_idx - one.ref_start_idx, one.hyp_end_idx - one.hyp_start_idx)
            for one in chunks
            if one.type != "equal"
        )
        for chunks in jiwer.process_words(*code).alignments
    ]


def error_rate(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> float:
    """Give the summed edits over the summed reference length, in percent.

    With phonemes as tokens this is PER, with words WER, with characters CER.

    Raises:
        DataError: the lists differ in number, or the references hold no token at all.
    """
    total = sum(len(reference) for reference in references)
    if not total:
        raise DataError(
            "an error rate needs at least one reference token",
            found=f"{len(references)} references, all empty",
        )
    return 100.0 * sum(edits(references, hypotheses)) / total


def accuracy(references: Sequence[Any], predictions: Sequence[Any]) -> float:
    """Give the share of predictions that equal their reference, in percent.

    Raises:
        DataError: the lists differ in number or are empty.
    """
    _same_number(references, predictions)
    if not references:
        raise DataError("an accuracy needs at least one item", found="an empty split")
    right = sum(bool(r == p) for r, p in zip(references, predictions, strict=True))
    return 100.0 * right / len(references)


def _same_number(references: Sequence[Any], hypotheses: Sequence[Any]) -> None:
    if len(references) != len(hypotheses):
        raise DataError(
            "as many predictions as references are needed",
            expected=len(references),
            found=len(hypotheses),
        )


def concordance(references: ArrayLike, predictions: ArrayLike) -> float:
    """Give the concordance correlation coefficient in percent, from -100 to 100.

    It is 2 cov / (var + var + (difference of the means)²); 0 where all numbers are the same.

    Raises:
        DataError: there is no item, or the lists differ in number.

    Source:
        Lin 1989, "A Concordance Correlation Coefficient to Evaluate Reproducibility".
    """
    wanted, found = _pair(references, predictions)
    spread = wanted.var() + found.var() + (wanted.mean() - found.mean()) ** 2
    shared = ((wanted - wanted.mean()) * (found - found.mean())).mean()
    return 100.0 * float(2 * shared / spread) if spread > 0 else 0.0


def mean_squared_error(references: ArrayLike, predictions: ArrayLike) -> float:
    """Give the mean squared error, in the square of the numbers' own unit.

    Raises:
        DataError: there is no item, or the lists differ in number.
    """
    wanted, found = _pair(references, predictions)
    return float(((wanted - found) ** 2).mean())


def _pair(
    references: ArrayLike, predictions: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    wanted, found = np.asarray(references, np.float64), np.asarray(predictions, np.float64)
    if wanted.shape != found.shape or not wanted.size:
        raise DataError(
            "as many predictions as references are needed, and one at least",
            expected=wanted.size or 1,
            found=found.size,
        )
    return wanted, found

"""The one number of a suite of tasks.

SUPERB_S where there are reference values, which are named data here, and the suite score elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Final

from speechft.core.errors import SettingsError
from speechft.core.nearest_names import did_you_mean
from speechft.metrics.measures import BESIDE
from speechft.metrics.published import FBANK, best_published
from speechft.metrics.statistics import mean

Scores = Mapping[str, Mapping[str, float]]

SUITE_TEXT: Final = (
    "Suite score: 1000 × the mean over the tasks, each task the mean of its metrics' positions "
    "between 0 (an accuracy or F1 of 0 %, an error rate of 100 % or more) and 1 (perfect). "
    "It belongs to this suite of tasks and data; it is not SUPERB_S and cannot be compared with "
    "it."
)


@dataclass(frozen=True)
class Reference:
    """What scores 0 and what scores 1000.

    Attributes:
        name: as given to `superb_score`.
        source: where the numbers come from.
        floor: task → metric → value (percent) that scores 0; FBANK features in SUPERB.
        ceiling: the same for 1000; the state of the art.
    """

    name: str
    source: str
    floor: Scores
    ceiling: Scores


REFERENCES: Final[dict[str, Reference]] = {
    "speech-ft": Reference(
        name="speech-ft",
        source=(
            "Lin et al., Speech-FT, IEEE TASLP 34 (2026), arXiv 2502.12672. FBANK: the paper's "
            "row. State of the art: not printed; solved from the paper's six SUPERB_S values, "
            "all of which these give back to the second decimal (one solution among several)."
        ),
        floor={
            "pr": {"per": 82.01},
            "sid": {"acc": 0.00085},
            "er": {"acc": 35.39},
            "sf": {"slot_type_f1": 69.64, "slot_value_cer": 52.94},
        },
        ceiling={
            "pr": {"per": 2.40},
            "sid": {"acc": 95.13},
            "er": {"acc": 70.67},
            "sf": {"slot_type_f1": 92.37, "slot_value_cer": 17.67},
        },
    ),
    "superb-published": Reference(
        name="superb-published",
        source=(
            "FBANK: Yang et al., SUPERB, Interspeech 2021, arXiv 2105.01051. State of the art: "
            "the best value of each metric among the published rows of this package "
            "(`metrics.published`), all of them WavLM Base+, Chen et al., arXiv 2110.13900. These "
            "are not the constants of the SUPERB challenge, which SUPERB's own site uses."
        ),
        floor=FBANK.scores,
        ceiling=best_published(),
    ),
}


def of_reference(scores: Scores, reference: str) -> dict[str, dict[str, float]]:
    """Give the scores without what a reference set does not count: ASR's CER, tasks beside it.

    Raises:
        SettingsError: an unknown reference set.
    """
    floor = _named(reference).floor
    return {
        task: {m: value for m, value in metrics.items() if m in floor[task]}
        for task, metrics in scores.items()
        if task in floor
    }


def superb_score(scores: Scores, reference: str | Reference = "speech-ft") -> float:
    """Give SUPERB_S: 1000 times the mean over tasks of the mean over metrics, rescaled.

    Each metric is rescaled so that the reference's floor scores 0 and its ceiling 1, which serves
    error rates too, since both differences change sign. The mean is over the tasks in `scores`.

    Args:
        scores: task → metric → percent, for example `{"pr": {"per": 5.17}}`.
        reference: name of a set in `REFERENCES`, or a set of your own.

    Raises:
        SettingsError: no scores, an unknown reference set, a task that it does not know, a task
            whose metrics are not exactly those of the reference, or a value that is no number.

    Source:
        Speech-FT, section "Evaluation"; SUPERB-SG for the formula.
    """
    chosen = reference if isinstance(reference, Reference) else _named(reference)
    if not scores:
        raise SettingsError("SUPERB_S needs the scores of at least one task", found="none")
    total = 0.0
    for task, metrics in scores.items():
        if task not in chosen.floor:
            raise SettingsError(
                f"the reference set {chosen.name!r} does not hold the task {task!r}",
                hint=did_you_mean(task, chosen.floor),
            )
        floor, ceiling = chosen.floor[task], chosen.ceiling[task]
        if not isinstance(metrics, Mapping):
            raise SettingsError(
                f"the scores of task {task!r} are no metrics with values",
                expected=f"{{{next(iter(floor))!r}: a number}}",
                found=metrics,
            )
        if set(metrics) != set(floor):
            raise SettingsError(
                f"the scores of task {task!r} do not fit the reference set",
                expected=", ".join(sorted(floor)),
                found=", ".join(sorted(metrics)) or "no metric",
            )
        found = {metric: _percent(task, metric, value) for metric, value in metrics.items()}
        parts = [(found[m] - floor[m]) / (ceiling[m] - floor[m]) for m in floor]
        total += sum(parts) / len(parts)
    return 1000.0 * total / len(scores)


def _percent(task: str, metric: str, value: object) -> float:
    number = float(value) if isinstance(value, Real) else math.nan
    if not math.isfinite(number):
        raise SettingsError(
            f"{metric} of task {task!r} is not a finite number", expected="percent", found=value
        )
    return number


def _named(name: str) -> Reference:
    if name not in REFERENCES:
        raise SettingsError(f"unknown reference set {name!r}", hint=did_you_mean(name, REFERENCES))
    return REFERENCES[name]


def any_score(
    scores: Mapping[str, Mapping[str, tuple[float, str]]], reference: str | None
) -> float:
    """Give SUPERB_S by a reference set, or the suite score where there is none.

    Args:
        scores: task → metric → (percent, direction); what the set lacks does not count.
        reference: name of the set.
    """
    if reference is None:
        return suite_score(scores)
    plain = {task: {m: v for m, (v, _) in metrics.items()} for task, metrics in scores.items()}
    return superb_score(of_reference(plain, reference), reference)


def score_text(reference: str | None) -> str:
    """Say in a sentence how `any_score` is computed."""
    return (
        SUITE_TEXT
        if reference is None
        else (
            "SUPERB_S: 1000 × the mean over the tasks, each metric rescaled so that FBANK features "
            f"score 0 and the state of the art 1 (reference set “{reference}”)."
        )
    )


def suite_score(scores: Mapping[str, Mapping[str, tuple[float, str]]]) -> float:
    """Give the suite score (see `SUITE_TEXT`).

    Args:
        scores: task → metric → (percent, direction).
    """
    tasks = []
    for metrics in scores.values():
        counted = [one for metric, one in metrics.items() if metric not in BESIDE]
        positions = [v / 100 if way == "higher" else 1 - v / 100 for v, way in counted]
        # A value that is no number makes a score that is none; max(0.0, nan) would make it 0.
        tasks.append(mean(0.0 if p < 0 else p for p in positions))
    return 1000 * mean(tasks)

"""What a report is made from: encoders, metrics, training curves, provenance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

Role = Literal["pretrained", "finetuned", "merged", "other"]


class Group(NamedTuple):
    """What belongs together: θ' and the θ̂ made from it.

    Attributes:
        run: name of the run, where several are compared.
        base: name of θ0, where several are compared.
        tuned_on: the fine-tuning task.
        method: how it was fine-tuned.
        tuning: name of the fine-tuning, where there are several of one θ0, task and method.
    """

    run: str
    base: str = ""
    tuned_on: str = ""
    method: str = ""
    tuning: str = ""

    @property
    def start(self) -> Group:
        """The group of θ0 alone."""
        return Group(self.run, self.base)


HEARD: Final = "‡"
"""Marks a figure whose test split the encoder has heard some of, with labels, or as dev."""
NOT_KNOWN: Final = "¶"
"""Marks a figure of an encoder of which nobody knows what it has heard with labels."""
NOT_KNOWN_TEXT: Final = (
    "Of some encoders nobody has written down what they were tuned on, so whether they have heard "
    "the test split with labels is not known."
)


@dataclass(frozen=True)
class Encoder:
    """One row of the comparison; the same row in every seed.

    Attributes:
        role: θ0 "pretrained", θ' "finetuned", θ̂ "merged", or "other".
        tuned_on: the fine-tuning task ("" for θ0).
        method: how it was fine-tuned ("stable", "lora").
        merge_method: how it was merged ("linear").
        alpha: 0 for θ0, 1 for θ', between for θ̂; none where unknown.
        name: what tells encoders of one role apart ("" where the rest does).
        run: name of the run, where several are compared.
        base: name of θ0, where several are compared.
        tuning: name of the fine-tuning, where there are several of one θ0, task and method.
    """

    role: Role
    tuned_on: str = ""
    method: str = ""
    merge_method: str = ""
    alpha: float | None = None
    name: str = ""
    run: str = ""
    base: str = ""
    tuning: str = ""

    @property
    def group(self) -> Group:
        """What it belongs together with."""
        return Group(self.run, self.base, self.tuned_on, self.method, self.tuning)

    @property
    def apart(self) -> tuple[str, ...]:
        """What tells it from others of its kind: the names of θ0 and fine-tuning, and its own."""
        return tuple(part for part in (self.base, self.tuning, self.name) if part)


def way_of(encoders: Iterable[Encoder], group: Group, least: int = 2) -> dict[float, Encoder]:
    """Give alpha → encoder on the way from θ0 to θ', if `least` lie between, in order.

    One way of merging is taken, that with most alphas: a merge by another method stands at an alpha
    of its own meaning. Early encoders of a run have θ''s alpha, too; they are not its end.
    """
    known = [one for one in dict.fromkeys(encoders) if one.alpha is not None]
    own = [one for one in known if one.group == group]
    merged = [one for one in own if one.role == "merged"]
    between = dict.fromkeys((one.merge_method, one.alpha) for one in merged)
    methods = Counter(method for method, _ in between).most_common(1)
    if sum(count for _, count in methods) < least:
        return {}
    merged = [one for one in merged if one.merge_method == methods[0][0]]
    names = {one.name for one in merged}
    ends = [one for one in own if one.role == "finetuned"]
    ends.sort(key=lambda one: (one.name not in names, len(one.name)))
    start = [one for one in known if one.role == "pretrained" and one.group == group.start]
    points: dict[float, Encoder] = {}
    for one in (*start, *merged, *ends):
        points.setdefault(one.alpha or 0.0, one)
    return dict(sorted(points.items()))


@dataclass(frozen=True)
class Measurement:
    """One metric of one encoder with one seed, in percent.

    Attributes:
        states: "normalized" where the probe read them so; empty where it read them as they are.
        heard: share of the test items, or of their speakers, that the encoder heard with labels
            when it was tuned; none where that is not known.
        hardly_learned: its probe answers with too few symbols to tell of the encoder.
        predictions: file of what was predicted for every item of the test split, if it is kept.
        probe: how the head was trained, name → value; what is not known is not there.
        identity: what identifies the encoder, name → value; likewise.
    """

    encoder: Encoder
    seed: int
    task: str
    metric: str
    value: float
    direction: str
    split: str = "test"
    items: int = 0
    suite: str = ""
    protocol: str = "clean"
    precision: str = "float32"
    states: str = ""
    main: bool = True
    data_hash: str = ""
    heard: float | None = field(default=0.0, compare=False)
    hardly_learned: bool = field(default=False, compare=False)
    predictions: Path | None = field(default=None, compare=False)
    probe: Mapping[str, str] = field(default_factory=dict, compare=False, hash=False)
    identity: Mapping[str, str] = field(default_factory=dict, compare=False, hash=False)


Scores = dict[str, dict[str, tuple[float, str]]]


def heard_text(most: float) -> str:
    """Say what the mark `HEARD` means, and how large the largest share is."""
    return (
        "marks figures on test utterances, or test speakers, that the encoder heard with labels "
        f"when it was tuned (up to {100 * most:.0f} %), or was chosen on as its dev split: they "
        "say nothing of unheard speech."
    )


def different(measurements: Iterable[Measurement]) -> dict[str, tuple[str, ...]]:
    """Give what of the probes differs, as far as it is known of two: name → the values."""
    values: dict[str, dict[str, None]] = {}
    for one in measurements:
        for name, value in one.probe.items():
            values.setdefault(name, {})[value] = None
    return {name: tuple(own) for name, own in values.items() if len(own) > 1}


def by_seed(measurements: Iterable[Measurement]) -> dict[int, Scores]:
    """Give seed → task → metric → (percent, direction), in the order of the seeds."""
    seeds: dict[int, Scores] = {}
    for one in sorted(measurements, key=lambda m: m.seed):
        of_task = seeds.setdefault(one.seed, {}).setdefault(one.task, {})
        of_task[one.metric] = (one.value, one.direction)
    return seeds


@dataclass(frozen=True)
class Curve:
    """What was logged while one encoder trained."""

    title: str
    seed: int
    records: list[dict[str, Any]]


@dataclass
class Evidence:
    """All that a report is made from.

    Attributes:
        measurements: every metric, one per (encoder, seed, task, metric).
        dev: what the chosen probes have on the dev splits, likewise.
        curves: the training curves that were found.
        runs: the `run.json` of each run, where there is one.
        provenance: folder → its `speechft.json`.
        synthetic: whether some of it was measured on synthetic speech.
        real: whether some of it was not.
    """

    measurements: list[Measurement] = field(default_factory=list)
    dev: list[Measurement] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    provenance: dict[str, dict[str, Any]] = field(default_factory=dict)
    synthetic: bool = False
    real: bool = False

    @property
    def different_probes(self) -> dict[str, str]:
        """Task → what of its probes differs between rows, in words; empty for equal ones."""
        found = {}
        for task in dict.fromkeys(m.task for m in self.measurements):
            own = different(m for m in self.measurements if m.task == task)
            if own:
                found[task] = ", ".join(f"{n} {' and '.join(values)}" for n, values in own.items())
        return found

    @property
    def on_different_data(self) -> list[str]:
        """The tasks whose rows cannot be compared, since their test data differ."""
        found: dict[str, set[str]] = {}
        for one in self.measurements:
            if one.data_hash and one.split == "test":
                found.setdefault(one.task, set()).add(one.data_hash)
        return [task for task, hashes in found.items() if len(hashes) > 1]

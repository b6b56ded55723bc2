"""Suites: named lists of tasks with their corpora and sizes, so that scores can be compared.

Scores of one suite may stand side by side; scores of different suites never do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

OWN: Final = "own"


@dataclass(frozen=True)
class Suite:
    """What an evaluation must do for its scores to carry a suite's name.

    Attributes:
        name: the label.
        title: for people.
        tasks: its tasks, in the order of the tables.
        head_size: of heads and plans.
        data: task → the names of data that serve.
        items: task → number of items of the official test set, where it is known.
        reference: the set of `metrics.superb.REFERENCES` for SUPERB_S; none where it has no sense.
    """

    name: str
    title: str
    tasks: tuple[str, ...]
    head_size: str
    data: Mapping[str, tuple[str, ...]]
    items: Mapping[str, int] = field(default_factory=dict)
    reference: str | None = None

    def problems(self, values: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
        """Say what in an evaluation's settings is not this suite.

        Args:
            values: tasks, head_size, steps, batch_size and checks.
            names: task → name of its data.
        """
        found = []
        others = [task for task in values["tasks"] if task not in self.tasks]
        if others:
            found.append(f"the task {others[0]!r} is not one of {', '.join(self.tasks)}")
        if values["head_size"] != self.head_size:
            found.append(f"head_size must be {self.head_size!r}")
        for key in ("steps", "batch_size", "checks"):
            if values[key] is not None:
                found.append(f"{key} is fixed")
        for task, name in names.items():
            if task in self.data and name not in self.data[task]:
                wanted = " or ".join(self.data[task])
                found.append(f"the data of {task!r} must be {wanted}, not {name!r}")
        return found


_LIBRISPEECH: Final = ("librispeech",)
_CORPORA: Final[dict[str, tuple[str, ...]]] = {
    "pr": _LIBRISPEECH,
    "asr": _LIBRISPEECH,
    "ks": ("speech_commands",),
    "qbe": ("quesst2014",),
    "sid": ("voxceleb1",),
    "asv": ("voxceleb1",),
    "sd": ("libri2mix",),
    "ic": ("fluent_speech_commands",),
    "sf": ("snips",),
    "er": ("iemocap",),
}
# LibriSpeech test-clean, the Speech Commands test set, QUESST's English queries, VoxCeleb1's list,
# the utterances of its cleaned trials, Libri2Mix, Fluent Speech Commands, Audio SNIPS, IEMOCAP's
# five folds with four emotions.
_ITEMS: Final = {
    "pr": 2620,
    "asr": 2620,
    "ks": 3081,
    "qbe": 138,
    "sid": 8251,
    "asv": 4715,
    "sd": 3000,
    "ic": 3793,
    "sf": 2800,
    "er": 5531,
}
_PAPER4: Final = ("pr", "sid", "er", "sf")
_MINI: Final = ("pr", "asr", "sid", "ic", "sf", "er")

SUITES: Final[dict[str, Suite]] = {
    suite.name: suite
    for suite in (
        Suite(
            name="mini",
            title="short probes on the package's synthetic speech",
            tasks=_MINI,
            head_size="mini",
            data=dict.fromkeys(_MINI, ("synthetic:demo",)),
        ),
        Suite(
            name="paper4",
            title="the four SUPERB tasks of the Speech-FT paper",
            tasks=_PAPER4,
            head_size="superb",
            data={task: _CORPORA[task] for task in _PAPER4},
            items={task: n for task, n in _ITEMS.items() if task in _PAPER4},
            reference="speech-ft",
        ),
        Suite(
            name="superb10",
            title="the ten tasks of SUPERB",
            tasks=tuple(_CORPORA),
            head_size="superb",
            data=_CORPORA,
            items=_ITEMS,
            reference="superb-published",
        ),
    )
}


def suite_of(values: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Give the label of an evaluation that names no suite: "mini" where it is that, else "own".

    Arguments as `Suite.problems`.
    """
    return OWN if SUITES["mini"].problems(values, names) else "mini"


def is_official(suite: str, task: str, items: int) -> bool | None:
    """Tell whether a test set has the official number of items; None where that is not known."""
    known = SUITES[suite].items.get(task) if suite in SUITES else None
    return None if known is None else known == items


def one_suite(labels: Sequence[str]) -> str | None:
    """Give the one label of several scores; None where there are several."""
    found = set(labels)
    return found.pop() if len(found) == 1 else None

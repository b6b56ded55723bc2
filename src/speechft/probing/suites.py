"""Suites: named lists of tasks with their corpora and sizes, so that scores can be compared.

Scores of one suite may stand side by side; scores of different suites never do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
        data: names of the data that serve all its tasks; none where each task has its own corpora
            and official test set.
        reference: the set of `metrics.superb.REFERENCES` for SUPERB_S; none where it has no sense.
    """

    name: str
    title: str
    tasks: tuple[str, ...]
    head_size: str
    data: tuple[str, ...] = ()
    reference: str | None = None

    def corpora(self, task: str) -> tuple[str, ...]:
        """Give the names of the data that serve a task."""
        from speechft.tasks import TASKS

        return self.data or TASKS[task].corpora

    def official_items(self, task: str) -> int | None:
        """Give the number of items of a task's official test set; None where there is none."""
        from speechft.tasks import TASKS

        return None if self.data or task not in self.tasks else TASKS[task].official_items

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
            if task in self.tasks and name not in self.corpora(task):
                wanted = " or ".join(self.corpora(task))
                found.append(f"the data of {task!r} must be {wanted}, not {name!r}")
        return found


SUITES: Final[dict[str, Suite]] = {
    suite.name: suite
    for suite in (
        Suite(
            name="mini",
            title="short probes on the package's synthetic speech",
            tasks=("pr", "asr", "sid", "ic", "sf", "er"),
            head_size="mini",
            data=("synthetic:demo",),
        ),
        Suite(
            name="paper4",
            title="the four SUPERB tasks of the Speech-FT paper",
            tasks=("pr", "sid", "er", "sf"),
            head_size="superb",
            reference="speech-ft",
        ),
        Suite(
            name="superb10",
            title="the ten tasks of SUPERB",
            tasks=("pr", "asr", "ks", "qbe", "sid", "asv", "sd", "ic", "sf", "er"),
            head_size="superb",
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
    known = SUITES[suite].official_items(task) if suite in SUITES else None
    return None if known is None else known == items


def one_suite(labels: Sequence[str]) -> str | None:
    """Give the one label of several scores; None where there are several."""
    found = set(labels)
    return found.pop() if len(found) == 1 else None

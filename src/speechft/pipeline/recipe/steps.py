"""A run's steps, in the order of their parents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechft.core.settings import Settings
from speechft.pipeline.recipe.contents import Contents, data_of


@dataclass(frozen=True)
class Step:
    """One stage with one folder.

    Attributes:
        name: relative to the run's folder ("seed-0/finetune-sid").
        verb: the stage.
        settings: its settings.
        folder: what it writes.
        product: the file that is there when it has ended.
        key: changes with the settings, the parents and the content of local inputs.
        parents: names of the steps it needs.
        costly: its result is not thrown away without being asked.
        run: does it.
    """

    name: str
    verb: str
    settings: Settings
    folder: Path
    product: Path
    key: str
    parents: tuple[str, ...]
    costly: bool
    run: Callable[[], object]


@dataclass(frozen=True)
class Plan:
    """All steps of a run in their order, and what each evaluated encoder is.

    Attributes:
        out: the run's folder.
        steps: in the order of their parents.
        roles: records of `encoders.json`: name in the results → role, task, method, alpha.
        packaged: hash of θ0 where it comes with the package, whose next version may hold another.
        contents: hashes of the data, read when they are asked for.
    """

    out: Path
    steps: tuple[Step, ...]
    roles: tuple[dict[str, Any], ...]
    packaged: str = ""
    contents: Contents = field(default_factory=Contents, repr=False, compare=False)

    def content_of(self, step: Step) -> dict[str, str]:
        """Give DATA → hash of what is in it, for all data that a step's result comes from."""
        return self.contents.of(self._data_behind(step))

    def _data_behind(self, step: Step) -> set[str]:
        steps = {one.name: one for one in self.steps}
        behind = [self._data_behind(steps[name]) for name in step.parents]
        return data_of(step.settings).union(*behind)

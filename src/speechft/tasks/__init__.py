"""Tasks: one file each, the only place where labels, head, loss, decoding and metric meet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from speechft.core.errors import CheckpointError
from speechft.core.registry import import_modules
from speechft.tasks.base import TASKS, ProtocolName, Purpose, Size, Task, choose_splits

import_modules(__name__, __path__)  # each task registers itself

__all__ = ["TASKS", "ProtocolName", "Purpose", "Size", "Task", "choose_splits", "task_from_dict"]


def task_from_dict(values: Mapping[str, Any]) -> Task:
    """Make a task of what its `to_dict` gave.

    Raises:
        CheckpointError: the values do not name a task.
        SettingsError: the task is not known.
    """
    if "task" not in values:
        raise CheckpointError("the saved task has no name", expected="task", found=sorted(values))
    return TASKS[str(values["task"])].from_dict(values)

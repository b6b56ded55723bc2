"""Tasks: one file each, the only place where labels, head, loss, decoding and metric meet."""

from __future__ import annotations

from speechft.core.registry import import_modules
from speechft.tasks.base import (
    TASKS,
    ProtocolName,
    Purpose,
    Size,
    Task,
    arranged,
    check_labels,
    choose_splits,
    file_stem,
    name_columns,
    task_from_dict,
)

import_modules(__name__, __path__)  # each task registers itself

__all__ = [
    "TASKS",
    "ProtocolName",
    "Purpose",
    "Size",
    "Task",
    "arranged",
    "check_labels",
    "choose_splits",
    "file_stem",
    "name_columns",
    "task_from_dict",
]

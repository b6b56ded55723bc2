"""All tasks: importing this module registers them."""

from __future__ import annotations

import speechft.tasks
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

import_modules(speechft.tasks.__name__, speechft.tasks.__path__)  # each task registers itself

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

"""Tasks: one file each, the only place where labels, head, loss, decoding and metric meet.

They are imported when the first name is used: settings ask for DATA per task before anything runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from speechft.core.lazy import lazily

if TYPE_CHECKING:
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

__getattr__ = lazily(__name__, {"registered": " ".join(__all__)})

"""Tasks: one file each, the only place where labels, head, loss, decoding and metric meet.

They are imported when the first name is used: settings ask for DATA per task before anything runs,
such as `pr=librispeech:ROOT` beside one for the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from speechft.core.registry import import_modules

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
        refuse_empty,
        refuse_unreachable,
        task_from_dict,
    )

__all__ = [
    "DEFAULT",
    "TASKS",
    "PerTask",
    "ProtocolName",
    "Purpose",
    "Size",
    "Task",
    "arranged",
    "check_data",
    "check_labels",
    "choose_splits",
    "data_of",
    "file_stem",
    "name_columns",
    "parse_data",
    "refuse_empty",
    "refuse_unreachable",
    "task_from_dict",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import_modules(__name__, __path__)  # each task registers itself
    value = getattr(import_module(f"{__name__}.base"), name)
    globals()[name] = value
    return value


DEFAULT: Final = "default"
PerTask = str | Mapping[str, str]
"""One DATA for all tasks, or DATA per task, with `default` for the rest."""


def parse_data(values: Sequence[str]) -> str | dict[str, str]:
    """Read DATA as on the command line: one DATA, or TASK=DATA for some tasks, or both.

    Where the part before `=` is no task, it belongs to a path: `lang=de/my.csv`.

    Raises:
        ValueError: a task, or the data of all others, is given twice.
    """
    result: dict[str, str] = {}
    for value in values:
        task, sign, data = value.partition("=")
        named = bool(sign) and (task == DEFAULT or _is_task(task))
        key, data = (task, data) if named else (DEFAULT, value)
        if key in result:
            what = "the data of all other tasks" if key == DEFAULT else f"the data of {key!r}"
            raise ValueError(f"{what} is given twice")
        result[key] = data
    return result[DEFAULT] if set(result) == {DEFAULT} else result


def _is_task(name: str) -> bool:
    from speechft.tasks import TASKS  # which imports them all, and torch

    return name in TASKS


def check_data(data: PerTask, tasks: Sequence[str]) -> None:
    """Refuse DATA that leaves a task out, or names another.

    Raises:
        ValueError: says which.
    """
    if isinstance(data, str):
        return
    without = [task for task in tasks if task not in data and DEFAULT not in data]
    if without:
        raise ValueError(f"data names none for the task {without[0]!r}, and no default")
    strange = [task for task in data if task not in (*tasks, DEFAULT)]
    if strange:
        raise ValueError(f"data names the task {strange[0]!r}, which is not in tasks")


def data_of(data: PerTask, task: str) -> str:
    """Give the DATA of a task."""
    return data if isinstance(data, str) else data.get(task) or data[DEFAULT]

"""What `tasks.base` holds, with all tasks registered: importing this module registers them."""

from __future__ import annotations

from typing import Any

import speechft.tasks
from speechft.core.registry import import_modules
from speechft.tasks import base

import_modules(speechft.tasks.__name__, speechft.tasks.__path__)  # each task registers itself


def __getattr__(name: str) -> Any:
    return getattr(base, name)

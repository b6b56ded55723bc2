"""Two benchmarks ended at once: a function and an argument that only they use had been removed."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

from speechft.probing.probe import probe

ROOT = Path(__file__).parents[2]
FILES = sorted(path for name in ("benchmarks", "scripts") for path in (ROOT / name).rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_is_imported_is_there(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("speechft"):
            module = importlib.import_module(str(node.module))
            for name in (alias.name for alias in node.names):
                assert hasattr(module, name) or importlib.import_module(f"{node.module}.{name}")


def test_the_clock_of_updates_is_called():
    used = [path for path in FILES if "on_step=" in path.read_text()]
    assert used
    assert "on_step" in inspect.signature(probe).parameters

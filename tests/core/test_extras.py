"""What a message says to install is what `pyproject.toml` asks for, from one place."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from speechft.core.extras import pip_install

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
    "optional-dependencies"
]
OPTIONAL = [one for extra, own in EXTRAS.items() if extra != "dev" for one in own]


@pytest.mark.parametrize("wanted", OPTIONAL)
def test_a_package_is_asked_for_with_the_bound_of_its_extra(wanted, monkeypatch):
    given = [f"{one}; extra == '{extra}'" for extra, own in EXTRAS.items() for one in own]
    monkeypatch.setattr(metadata, "requires", lambda _: ["torch>=2.7", *given])
    (name,) = re.findall(r"^[\w-]+", wanted)
    assert pip_install(name) == f"pip install '{wanted}'"
    assert pip_install(name[:-1]) == f"pip install {name[:-1]}"  # another one, which is not asked


def test_bounds_are_those_that_this_package_was_installed_with():
    assert pip_install("wandb").startswith("pip install 'wandb>=")


def test_sources_that_were_not_installed_know_no_bound(monkeypatch):
    def gone(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", gone)
    assert pip_install("wandb") == "pip install wandb"


def test_no_message_types_a_bound_or_forgets_it():
    names = "|".join(re.findall(r"^[\w-]+", one)[0] for one in OPTIONAL)
    typed = re.compile(rf"pip install ['\"]?({names}|{{(?!shlex))")
    for path in (ROOT / "src").rglob("*.py"):
        if path.name != "extras.py":
            assert not typed.search(path.read_text("utf-8")), path

"""Names of packages that are imported when they are first used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import speechft.encoders


def test_a_package_costs_nothing_before_a_name_is_used():
    code = (
        "import sys, speechft.encoders.formats, speechft.encoders.identity, speechft.data.identity;"
        "print([m for m in ('torch', 'transformers', 'lhotse') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("package", [speechft, speechft.encoders])
def test_every_name_is_there(package):
    assert all(getattr(package, name) is not None for name in package.__all__)


def test_an_unknown_name_is_said():
    with pytest.raises(AttributeError, match=r"module 'speechft' has no attribute 'megre'"):
        speechft.megre  # noqa: B018  # the look-up is what is tested

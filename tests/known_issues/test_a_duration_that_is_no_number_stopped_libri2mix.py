"""A word in place of a number in Libri2Mix's `reco2dur` ended in a traceback (ValueError)."""

from __future__ import annotations

import pytest

from speechft.core.errors import DataError
from speechft.data.load import load_data


def test_the_line_is_named(corpus_tree):
    root = corpus_tree("libri2mix")
    path = root / "dev" / "reco2dur"
    path.write_text(path.read_text() + "x long\n")
    with pytest.raises(DataError, match="dev/reco2dur, x: expected 'RECORDING SECONDS'"):
        load_data(f"libri2mix:{root}")

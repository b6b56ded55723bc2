from __future__ import annotations

import shutil

import pytest
from evaluate_fixture import write_tones

from speechft.core.errors import DataError
from speechft.data.identity import data_id


@pytest.fixture
def table(tmp_path):
    return write_tones(tmp_path / "x")


def test_two_tables_of_one_name_are_two_data(table, tmp_path):
    """Fault seen: x/t.csv and y/t.csv shared a hash, and a change in the first went unnoticed."""
    other = write_tones(tmp_path / "y", seed=1)
    assert data_id(str(table)) != data_id(str(other))


def test_labels_and_audio_count_and_places_do_not(table, tmp_path):
    before = data_id(str(table))
    moved = shutil.copytree(table.parent, tmp_path / "moved") / table.name
    assert data_id(str(moved)) == before
    moved.write_text(table.read_text().replace('"low"', '"high"', 1))
    assert data_id(str(moved)) != before
    moved.write_text(table.read_text())
    shutil.copy(moved.parent / "train-0.wav", moved.parent / "train-1.wav")
    assert data_id(str(moved)) != before


def test_synthetic_speech_is_known_before_it_is_made():
    assert data_id("synthetic:demo") == data_id("synthetic") != data_id("synthetic:tiny")


def test_missing_data_is_said():
    with pytest.raises(DataError, match="no such data"):
        data_id("nowhere.csv")

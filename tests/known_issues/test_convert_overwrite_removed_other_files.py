"""`convert --overwrite` removed files that it had not made: `.env.old`, a README of one's own.

A folder was replaced as a whole where its files had the names of an encoder's, of a hidden old or
temporary file, or `README.md`. Only what the folder's record names, and an encoder's own files, are
removed now; a README stays, and anything else is refused by name.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from speechft.core.artifact import products_of
from speechft.core.errors import SettingsError
from speechft.encoders.convert import convert
from speechft.encoders.settings import ConvertSettings

HUBERT = Path(__file__).parents[1] / "fixtures" / "checkpoints" / "fairseq-hubert-tiny.pt"


def _convert(target, **more):
    return convert(ConvertSettings(source=str(HUBERT), target=target, to="hf", **more))


@pytest.mark.parametrize("name", [".env.old", "notes.txt", "sub/x.tmp", "model.txt"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_the_record_does_not_name_is_refused_by_name(tmp_path, name, overwrite):
    folder = _convert(tmp_path / "encoder")
    precious = folder / name
    precious.parent.mkdir(exist_ok=True)
    precious.write_text("years of work")
    with pytest.raises(SettingsError) as caught:
        _convert(folder, overwrite=overwrite)
    assert name.partition("/")[0] in str(caught.value)
    assert precious.read_text() == "years of work"


def test_a_readme_stays(tmp_path):
    folder = _convert(tmp_path / "encoder")
    (folder / "README.md").write_text("years of work")
    _convert(folder, overwrite=True)
    assert (folder / "README.md").read_text() == "years of work"


def test_what_the_record_names_is_replaced(tmp_path):
    folder = _convert(tmp_path / "encoder")
    assert products_of(folder) == {path.name for path in folder.iterdir()}
    assert products_of(_convert(folder)) == {path.name for path in folder.iterdir()}

"""`--data ""` and `kaldi:` read whatever table lay in the working directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechft.core.errors import DataError
from speechft.data.load import find_data


@pytest.mark.parametrize("name", ["", " ", "kaldi:", "nemo: ", "librispeech:"])
def test_it_names_no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.csv").write_text("audio,split\na.wav,train\n")
    with pytest.raises(DataError, match="no data is named"):
        find_data(name)

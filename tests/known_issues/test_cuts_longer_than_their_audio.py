"""A cut of 50 s of a recording of half a second passed `data check` and was trained on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile
from lhotse import Recording

from speechft.data.check import check_data
from speechft.data.manifests import write_cuts


def test_it_is_an_error(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(8000, 0.1), 16000)
    cut = Recording.from_file(tmp_path / "a.wav").to_cut()
    write_cuts(tmp_path / "good.jsonl.gz", [cut])
    record = json.dumps({**cut.to_dict(), "duration": 50.0})
    (tmp_path / "bad.jsonl").write_text(record + "\n")
    assert check_data(str(tmp_path / "good.jsonl.gz"), 0).passed
    errors = check_data(str(tmp_path / "bad.jsonl"), 0).errors
    assert "ends at 50 s, behind the end of its audio (0.5 s)" in errors[0]

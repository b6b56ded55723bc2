"""Results on `synthetic_x.csv` were reported as measured on synthetic speech."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechft.core.files import write_json, write_jsonl
from speechft.data.data_names import is_synthetic
from speechft.reporting.read_results import read_evidence


@pytest.mark.parametrize(
    ("data", "made_here"),
    [
        ("synthetic_x.csv", False),
        ("synthetic-voices", False),
        ("synthetic", True),
        ("synthetic:demo", True),
    ],
)
def test_only_data_that_are_made_here_are_synthetic(
    tmp_path: Path, data: str, made_here: bool
) -> None:
    about = {"encoder": "e", "task": "sid", "metric": "acc", "direction": "higher", "seed": 0}
    write_jsonl(tmp_path / "results.jsonl", [{**about, "value": 50.0, "data": data}])
    write_json(tmp_path / "speechft.json", {"stage": "evaluate", "settings": {"data": data}})
    evidence = read_evidence([tmp_path])
    assert (evidence.synthetic, evidence.real) == (made_here, not made_here)


def test_a_folder_that_is_there_is_no_synthetic_speech(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_synthetic("synthetic")
    Path("synthetic").mkdir()
    assert not is_synthetic("synthetic")
    assert is_synthetic({"pr": "table.csv", "default": "synthetic:tiny"})

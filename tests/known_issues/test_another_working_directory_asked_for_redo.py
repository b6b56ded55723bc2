"""From a folder where its names mean nothing, a run was told to train anew what was there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from speechft.core.errors import DataError
from speechft.encoders import build_encoder
from speechft.pipeline.recipe.stage import RunSettings, run


def test_it_is_said_that_they_are_not_there(
    tmp_path: Path, tone: Any, tiny_config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    build_encoder(tiny_config, seed=0).save(tmp_path / "encoder")
    rows = ["audio,speaker,split"]
    for number, split in enumerate(("train", "train", "dev", "dev", "test", "test")):
        tone(f"{number}.wav", seconds=0.5, hz=200 + 50 * number)
        rows.append(f"{number}.wav,s{number % 2},{split}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    monkeypatch.chdir(tmp_path)
    values: dict[str, Any] = {"name": "x", "evaluate": {"tasks": ["sid"], "steps": 1}}
    values["finetune"] = {"task": "sid", "steps": 1, "seconds": 4}
    recipe = {"encoder": "encoder", "data": "t.csv"}
    out = run(RunSettings(**values, **recipe), Path("out"))
    record = next(out.rglob("finetune-sid/speechft.json")).resolve()
    before = record.stat().st_mtime_ns
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    with pytest.raises(DataError, match=r"t\.csv: no such data\s+encoder: there is no"):
        run(RunSettings(**values, **recipe), Path("../out"))
    there = {name: f"../{value}" for name, value in recipe.items()}
    with pytest.raises(DataError, match=r"t\.csv"):
        run(RunSettings(**values, **{**recipe, "encoder": there["encoder"]}), Path("../out"))
    run(RunSettings(**values, **there), Path("../out"))
    assert record.stat().st_mtime_ns == before

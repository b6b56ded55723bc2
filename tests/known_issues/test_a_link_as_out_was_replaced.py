"""`--out LINK` put a folder in the link's place, on another disk than the one that was meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from speechft import convert, merge
from speechft.data.prepare import prepare_data
from speechft.encoders import build_encoder


@pytest.mark.parametrize("there", [True, False])
def test_it_is_followed(
    tmp_path: Path, tone: Any, tiny_config: dict[str, Any], there: bool
) -> None:
    for name, seed in (("base", 0), ("tuned", 1)):
        build_encoder(tiny_config, seed=seed).save(tmp_path / name)
    rows = ["audio,split"]
    for number, split in enumerate(("train", "dev", "test")):
        tone(f"{split}.wav", seconds=0.5, hz=200 + 50 * number)
        rows.append(f"{split}.wav,{split}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    pair = {"base": str(tmp_path / "base"), "tuned": [str(tmp_path / "tuned")]}
    calls = {
        "merged": lambda out: merge(**pair, out=out),
        "sweep": lambda out: merge(**pair, alpha="0:1:0.5", out=out),
        "copy": lambda out: convert(source=pair["base"], target=out, to="hf"),
        "data": lambda out: prepare_data(str(tmp_path / "t.csv"), out),
    }
    for name, call in calls.items():
        far, link = tmp_path / "disk" / name, tmp_path / name
        far.parent.mkdir(exist_ok=True)
        if there:
            far.mkdir()
        link.symlink_to(far)
        call(link)
        assert link.is_symlink(), name
        assert (far / "speechft.json").is_file(), name

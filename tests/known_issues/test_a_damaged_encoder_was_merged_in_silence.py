"""One flipped bit in the encoder of a finished run was merged and measured without a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from speechft import convert, merge
from speechft.core.artifact import Artifact
from speechft.core.errors import CheckpointError
from speechft.encoders import build_encoder
from speechft.encoders.identity import encoder_id
from speechft.probing.settings import source_id


@pytest.fixture
def run(tmp_path: Path, tiny_config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run's folder, as a fine-tuning leaves it, beside θ0."""
    monkeypatch.chdir(tmp_path)
    build_encoder(tiny_config, seed=0).save("base")
    build_encoder(tiny_config, seed=1).save("run/encoder")
    Artifact(Path("run"), "finetune", {}).end(["encoder"])
    return Path("run")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_it_is_refused_by_name(run: Path, name: str) -> None:
    merge(base="base", tuned=["run"], out="whole")
    convert(source="run", target="copy", to="hf")
    files = [run / "encoder" / name, Path("whole", name), Path("copy", name)]
    for file in files:
        data = bytearray(file.read_bytes())
        place = data.rindex(b"gelu" if name == "config.json" else data[-1:])
        data[place] ^= 1
        file.write_bytes(data)
    for file in files:
        for identify in (encoder_id, source_id):
            with pytest.raises(CheckpointError, match=r"not what was written[\s\S]*" + name):
                identify(str(file.parent))
        with pytest.raises(CheckpointError, match=name):
            merge(base="base", tuned=[str(file.parent)], out="out")
    assert not Path("out").exists()


def test_what_the_user_changed_is_taken_as_a_copy(run: Path) -> None:
    (run / "encoder").rename("mine")
    Path("mine/config.json").write_text(Path("base/config.json").read_text())
    merge(base="base", tuned=["mine"], out="out")

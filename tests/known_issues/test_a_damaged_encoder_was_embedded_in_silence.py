"""One flipped bit in an encoder, or a head, was embedded, heard, converted and sent on in silence.

Only the commands that make a folder refused it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from speechft import convert, inspect, load_encoder, merge, push
from speechft.core.artifact import Artifact
from speechft.core.errors import CheckpointError, SpeechFTError
from speechft.encoders import build_encoder
from speechft.encoders.identity import encoder_id

COMMANDS: dict[str, Callable[[str], object]] = {
    "load": load_encoder,
    "convert": lambda path: convert(source=path, target="copy.pt", to="s3prl"),
    "push": lambda path: push(folder=path, repo="me/mine"),
    "file": lambda path: load_encoder(Path(path, "model.safetensors")),
    "file of a merge": lambda path: encoder_id(f"{path}/model.safetensors"),
}


@pytest.fixture
def merged(tmp_path: Path, tiny_config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A merge of two encoders, on a machine whose Hub cannot be reached."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    build_encoder(tiny_config, seed=0).save("base")
    build_encoder(tiny_config, seed=1).save("tuned")
    merge(base="base", tuned=["tuned"], out="merged")
    return Path("merged")


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_reader_refuses_it(merged: Path, name: str) -> None:
    _flip(merged / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"not what was written[\s\S]*model\.safetensors"):
        COMMANDS[name](str(merged))
    assert not Path("copy.pt").exists()


def test_inspect_says_so(merged: Path) -> None:
    assert inspect(path="merged").changed == ()
    _flip(merged / "model.safetensors")
    assert inspect(path="merged").changed == ("merged/model.safetensors",)


def test_an_adapter_s_encoder_too(merged: Path) -> None:
    Path("adapter").mkdir()
    named = {"base_model_name_or_path": str(merged), "peft_type": "LORA"}
    Path("adapter/adapter_config.json").write_text(json.dumps(named))
    _flip(merged / "model.safetensors")
    with pytest.raises(CheckpointError, match="not what was written"):
        load_encoder("adapter")


def test_a_head_beside_its_run(tmp_path: Path) -> None:
    from speechft.tasks.kept_head import read_head

    (tmp_path / "head.safetensors").write_bytes(b"12345678")
    Artifact(tmp_path, "finetune", {}).end(["head.safetensors"])
    _flip(tmp_path / "head.safetensors")
    with pytest.raises(CheckpointError, match="the head is not what was written"):
        read_head(tmp_path / "head.safetensors")


def test_a_file_of_nobody_s_to_read_is_not_called_changed(
    merged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("speechft.core.known_hashes.hash_file", refuse)
    with pytest.raises(CheckpointError, match="cannot be read") as caught:
        encoder_id(str(merged))
    assert "Permission denied" in str(caught.value.render())


def test_what_the_user_may_change(merged: Path) -> None:
    (merged / "README.md").write_text("mine")
    (merged / "tokenizer.json").write_text("{}")
    (merged / "notes.txt").write_text("mine")
    merged.rename("elsewhere")
    load_encoder("elsewhere")
    config = Path("elsewhere/config.json")
    config.write_text(json.dumps(json.loads(config.read_text()) | {"language": "cs"}))
    with pytest.raises(SpeechFTError, match="the Hub"):  # it may be sent, with a key of mine
        push(folder="elsewhere", repo="me/mine")
    _flip(Path("elsewhere/model.safetensors"))
    Path("elsewhere/speechft.json").unlink()
    load_encoder("elsewhere")

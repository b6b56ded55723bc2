"""Merged folders that loaded and did not work.

A merge of float16 parents could not be run on float32 audio by plain transformers, its card's
snippet included; a merged Whisper had lost generation_config.json and generated nothing.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from tiny_configs import SHORT_FRONT_END
from transformers import HubertConfig, HubertModel

from speechft.merging.settings import MergeSettings
from speechft.merging.stage import merge

TINY = {**SHORT_FRONT_END, "num_hidden_layers": 1}


@pytest.fixture
def halves(tmp_path: Path) -> list[Path]:
    torch.manual_seed(0)
    for name in ("base", "tuned"):
        HubertModel(HubertConfig(**TINY)).half().save_pretrained(tmp_path / name)
        (tmp_path / name / "preprocessor_config.json").write_text('{"do_normalize": false}')
    return [tmp_path / "base", tmp_path / "tuned"]


def test_the_cards_snippets_run_on_float32_audio(halves: list[Path], tmp_path: Path) -> None:
    out = merge(MergeSettings(base=halves[0], tuned=halves[1:], out=tmp_path / "out"))
    card = (out / "README.md").read_text()
    assert "rounded once, to float16" in card
    assert json.loads((out / "config.json").read_text())["dtype"] == "float16"
    assert json.loads((out / "speechft.json").read_text())["dtype"] == "float16"
    waveform = torch.randn(4000)
    snippets = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    for snippet in snippets:
        names = {"waveform": waveform}
        exec(snippet.replace("PATH", str(out)), names)
        if "model" in names:
            states = names["model"](waveform[None]).last_hidden_state
        else:
            states = names["hidden_states"][-1]
        assert states.dtype == torch.float32
        assert states.isfinite().all()
    assert len(snippets) == 2


def test_what_belongs_to_base_goes_along(halves: list[Path], tmp_path: Path) -> None:
    kept = ("generation_config.json", "tokenizer.json", "vocab.json", "adapter.deu.safetensors")
    for name in (*kept, "training_args.bin", "tf_model.h5", "speechft.json", "README.md"):
        (halves[0] / name).write_text(f'{{"name": "{name}"}}')
    out = merge(MergeSettings(base=halves[0], tuned=halves[1:], out=tmp_path / "out"))
    for name in kept:
        assert (out / name).read_bytes() == (halves[0] / name).read_bytes()
    record = json.loads((out / "speechft.json").read_text())
    assert set(kept) < set(record["products"])
    assert record["left_behind"] == ["tf_model.h5", "training_args.bin"]
    assert "merged with tuned" in (out / "README.md").read_text()

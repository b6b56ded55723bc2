"""A folder with weights and a PEFT adapter was inspected with it, and merged without."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from speechft import load_encoder, merge
from speechft.core.errors import CheckpointError
from speechft.encoders.identity import locate

SOURCE = locate("tiny-hubert")


def test_both_read_the_adapter(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import HubertModel

    config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    adapted = get_peft_model(HubertModel.from_pretrained(SOURCE), config)
    folder = tmp_path / "both"
    shutil.copytree(SOURCE, folder)
    adapted.save_pretrained(folder)
    wanted = load_encoder(folder).fingerprint()
    assert wanted != load_encoder(SOURCE).fingerprint()
    out = merge(base=str(SOURCE), tuned=[str(folder)], alpha=1, out=tmp_path / "out")
    assert load_encoder(out).fingerprint() == wanted


@pytest.mark.parametrize("fault", ["type", "integers", "preprocessor"])
def test_what_inspect_refuses_merge_refuses(tmp_path: Path, fault: str) -> None:
    folder = tmp_path / "bad"
    shutil.copytree(SOURCE, folder)
    if fault == "integers":
        tensors = load_file(folder / "model.safetensors")
        name = "encoder.layers.0.attention.k_proj.weight"
        save_file({**tensors, name: tensors[name].int()}, folder / "model.safetensors")
    else:
        name = "config.json" if fault == "type" else "preprocessor_config.json"
        values = json.loads((folder / name).read_text())
        wrong = {"model_type": None} if fault == "type" else {"do_normalize": "no"}
        (folder / name).write_text(json.dumps({**values, **wrong}))
    with pytest.raises(CheckpointError):
        load_encoder(folder)
    for base, tuned in ((folder, SOURCE), (SOURCE, folder)):
        with pytest.raises(CheckpointError):
            merge(base=str(base), tuned=[str(tuned)], out=tmp_path / "out")

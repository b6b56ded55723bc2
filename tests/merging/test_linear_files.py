from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from speechft.core.errors import IncompatibleModelsError, SettingsError
from speechft.merging.settings import MergeSettings
from speechft.merging.stage import merge

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def make(folder: Path, seed: int, dtype: torch.dtype = torch.float32, prefix: str = "") -> Path:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(dtype)

    state = {
        "masked_spec_embed": draw(8),
        "feature_extractor.conv_layers.0.conv.weight": draw(4, 1, 10),
        "encoder.pos_conv_embed.conv.parametrizations.weight.original0": draw(1, 1, 5),
        "encoder.pos_conv_embed.conv.parametrizations.weight.original1": draw(8, 2, 5),
        "encoder.layers.0.fc.weight": draw(8, 8),
        "encoder.layers.1.fc.weight": draw(700, 500),
        "steps": torch.tensor([seed]),
    }
    folder.mkdir(parents=True)
    save_file({prefix + k: v for k, v in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"architectures": ["HubertModel"]}))
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True}))
    return folder


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_merge_matches_the_float32_formula(tmp_path: Path, dtype: torch.dtype, alpha: float):
    base, tuned = make(tmp_path / "base", 1, dtype), make(tmp_path / "tuned", 2, dtype)
    out = merge(MergeSettings(base=base, tuned=(tuned,), alpha=alpha, out=tmp_path / "out"))
    b, t, o = (load_file(p / "model.safetensors") for p in (base, tuned, out))
    assert list(o) == list(b)
    assert o.pop("steps") == b["steps"]
    for name, value in o.items():
        expected = b[name].float() + alpha * (t[name].float() - b[name].float())
        if alpha in (0, 1):
            expected = (b, t)[int(alpha)][name]
        assert value.dtype == dtype
        assert torch.equal(value, expected.to(dtype)), name
    assert not torch.equal(b["masked_spec_embed"], t["masked_spec_embed"])
    assert json.loads((out / "preprocessor_config.json").read_text()) == {"do_normalize": True}


def test_several_tuned_are_averaged_once(tmp_path: Path):
    folders = [make(tmp_path / str(i), i) for i in range(4)]
    out = merge(MergeSettings(base=folders[0], tuned=folders[1:], alpha=0.5, out=tmp_path / "out"))
    states = [load_file(p / "model.safetensors") for p in (*folders, out)]
    name = "encoder.layers.1.fc.weight"
    b, o = states[0][name], states[-1][name]
    expected = b + 0.5 * torch.stack([s[name] - b for s in states[1:-1]]).mean(0)
    torch.testing.assert_close(o, expected, rtol=0, atol=1e-6)


def test_mismatch_lists_everything(tmp_path: Path):
    base, tuned = make(tmp_path / "base", 1), make(tmp_path / "tuned", 2)
    state = load_file(tuned / "model.safetensors")
    state.pop("feature_extractor.conv_layers.0.conv.weight")
    state["encoder.layers.23.fc.weight"] = torch.zeros(8, 8)
    state["encoder.layers.0.fc.weight"] = torch.zeros(9, 8)
    save_file(state, tuned / "model.safetensors")
    with pytest.raises(IncompatibleModelsError) as caught:
        merge(MergeSettings(base=base, tuned=(tuned,), out=tmp_path / "out"))
    text = str(caught.value)
    assert "missing    feature_extractor.conv_layers.0.conv.weight" in text
    assert "extra      encoder.layers.23.fc.weight" in text
    assert "BASE [8, 8], TUNED [9, 8]" in text
    assert "TUNED has 24 layers, BASE 2: is it a Large?" in text
    assert not (tmp_path / "out").exists()


def test_output_never_replaces_something_else(tmp_path: Path):
    base, tuned = make(tmp_path / "base", 1), make(tmp_path / "tuned", 2)
    for out in (base, tmp_path):
        with pytest.raises(SettingsError):
            merge(MergeSettings(base=base, tuned=(tuned,), out=out))
    assert (base / "model.safetensors").exists()

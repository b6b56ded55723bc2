"""Adapters that others trained were put on in silence as something else, or not at all.

Ranks and alphas told for a layer by its whole name did not count, since the name began with that of
the model around the encoder; AdaLoRA lacked what nobody stores; an adapter of another family was
taken for a head; one that another encoder had been trained with was merged on BASE without a word.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AdaLoraConfig, IA3Config, LoHaConfig, LoraConfig, get_peft_model
from torch import nn
from transformers import AutoConfig, HubertForCTC

from speechft.core.errors import CheckpointError
from speechft.encoders import build_encoder, load_encoder
from speechft.merging.sweep import load_merged

TARGETS = ["q_proj", "v_proj"]
WHOLE = "hubert.encoder.layers.0.attention.q_proj"
NUDGED = ("lora_", "hada_", "ia3_")
Adapted = Callable[[Any], tuple[Path, nn.Module]]


@pytest.fixture
def adapted(tmp_path: Path, tiny_config: Callable[..., dict[str, Any]]) -> Adapted:
    """Make an adapter of a HuBERT for CTC whose weights all count."""

    def make(settings: Any, finish: Callable[[nn.Module], None] = lambda _: None) -> Any:
        torch.manual_seed(0)
        model = HubertForCTC(AutoConfig.for_model(**tiny_config("hubert")))
        model.save_pretrained(tmp_path / "base")
        peft_model = get_peft_model(HubertForCTC.from_pretrained(tmp_path / "base"), settings)
        for name, parameter in peft_model.named_parameters():
            if any(part in name for part in NUDGED):
                nn.init.normal_(parameter, 0.0, 0.4)
        finish(peft_model)
        peft_model.save_pretrained(tmp_path / "adapter")
        return tmp_path / "adapter", peft_model.eval()

    return make


LORA: dict[str, Any] = {"r": 2, "lora_alpha": 2, "target_modules": TARGETS}
LAST = "encoder.layers.1.attention.v_proj"


@pytest.mark.parametrize(
    "settings",
    [
        LoraConfig(**LORA, alpha_pattern={WHOLE: 64}),
        LoraConfig(**LORA, alpha_pattern={f"^{WHOLE}": 64}, use_rslora=True),
        LoraConfig(**LORA, rank_pattern={WHOLE: 5, LAST: 3}, alpha_pattern={LAST: 9}),
        LoHaConfig(r=2, alpha=2, target_modules=TARGETS, alpha_pattern={WHOLE: 64}),
    ],
    ids=["alpha", "alpha of the beginning", "ranks", "loha"],
)
def test_what_is_told_by_whole_names_counts(adapted, settings, waveforms, offset):
    folder, model = adapted(settings)
    with torch.no_grad():
        wanted = model.base_model.model.hubert(waveforms[0][None]).last_hidden_state
        found = load_encoder(folder)([waveforms[0]]).hidden_states[-1]
    assert offset(found, wanted) < 1e-4


def without_some_ranks(model: nn.Module) -> None:
    """As AdaLoRA's allocator leaves them: keep two of six in one layer, one of six elsewhere."""
    keys = [name for name, _ in model.named_parameters() if name.endswith("lora_E.default")]
    kept = {
        key.removeprefix("base_model.model."): [index < 1 + (WHOLE in key) for index in range(6)]
        for key in keys
    }
    model.peft_config["default"].rank_pattern = kept


@pytest.mark.parametrize("finish", [lambda _: None, without_some_ranks], ids=["all", "some"])
def test_ada_lora_is_read(adapted, tmp_path, waveforms, offset, finish):
    settings = AdaLoraConfig(init_r=6, target_r=2, target_modules=TARGETS, total_step=10)
    folder, _ = adapted(settings, finish)
    from peft import PeftModel

    again = PeftModel.from_pretrained(HubertForCTC.from_pretrained(tmp_path / "base"), folder)
    with torch.no_grad():
        inner = again.eval().base_model.model.hubert
        wanted = inner(waveforms[0][None]).last_hidden_state
        found = load_encoder(folder)([waveforms[0]]).hidden_states[-1]
        base = load_encoder(tmp_path / "base")([waveforms[0]]).hidden_states[-1]
    assert offset(found, wanted) < 1e-4
    assert offset(base, wanted) > 1e-3


@pytest.mark.parametrize(
    "settings",
    [
        LoraConfig(**LORA),
        LoraConfig(r=2, target_modules=r".*encoder.*q_proj"),
        IA3Config(target_modules=r".*encoder.*k_proj", feedforward_modules=[]),
    ],
    ids=["lora", "a pattern", "ia3"],
)
def test_an_adapter_of_another_family_is_no_head(adapted, tiny_config, tmp_path, settings):
    folder, _ = adapted(settings)
    other = build_encoder(tiny_config("wavlm"), seed=0).save(tmp_path / "other")
    with pytest.raises(CheckpointError) as refused:
        load_encoder(folder, base=other)
    assert refused.value.what == "the adapter was trained on an encoder of another family"
    assert "hubert." in str(refused.value.found)
    assert "wavlm" in str(refused.value.expected)


def test_an_adapter_that_changes_nothing_says_so(adapted, caplog):
    def undo(model: nn.Module) -> None:
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                nn.init.zeros_(parameter)

    folder, _ = adapted(LoraConfig(**LORA), undo)
    with caplog.at_level(logging.WARNING, "speechft"):
        load_encoder(folder)
    assert "leaves the encoder as it is" in caplog.text


def test_a_merge_says_that_an_adapter_names_another_encoder(adapted, tmp_path, caplog):
    folder, _ = adapted(LoraConfig(**LORA))
    with caplog.at_level(logging.WARNING, "speechft"):
        load_merged(tmp_path / "base", folder, 0.5)
    assert "names" not in caplog.text
    load_encoder(tmp_path / "base").save(tmp_path / "copy")
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": "a/b"}))
    with caplog.at_level(logging.WARNING, "speechft"):
        load_merged(tmp_path / "copy", folder, 0.5)
    assert "names a/b as its encoder" in caplog.text


def test_where_adapters_lie_is_said(adapted, tmp_path):
    folder, model = adapted(LoraConfig(**LORA))
    with pytest.raises(CheckpointError) as refused:
        load_encoder(folder / "adapter_model.safetensors")
    assert f"give the folder {folder}" in str(refused.value.hint)
    (folder / "adapter_config.json").rename(tmp_path / "kept.json")
    with pytest.raises(CheckpointError) as refused:
        load_encoder(folder)
    assert "adapter_config.json" in f"{refused.value.expected} {refused.value.hint}"
    (tmp_path / "kept.json").rename(folder / "adapter_config.json")
    model.add_adapter("ben", LoraConfig(**LORA))
    model.save_pretrained(tmp_path / "several")
    (tmp_path / "several" / "adapter_config.json").unlink()
    (tmp_path / "several" / "adapter_model.safetensors").unlink()
    with pytest.raises(CheckpointError) as refused:
        load_encoder(tmp_path / "several")
    assert str(tmp_path / "several" / "ben") in str(refused.value.hint)


def test_weights_with_adapters_beside_them_say_so(adapted, tmp_path):
    _, model = adapted(LoraConfig(**LORA))
    whole = tmp_path / "whole"
    whole.mkdir()
    torch.save(model.state_dict(), whole / "pytorch_model.bin")
    (whole / "config.json").write_text((tmp_path / "base" / "config.json").read_text())
    with pytest.raises(CheckpointError) as refused:
        load_encoder(whole)
    assert "merge_and_unload" in str(refused.value.hint)


def test_nobody_hears_of_kernels_of_a_library_that_is_not_used(adapted):
    folder, _ = adapted(LoraConfig(**LORA))
    code = f"import speechft; speechft.load_encoder({str(folder)!r})"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    assert "Failed to load" not in found.stderr

"""Settings of a PEFT adapter were matched as patterns, and warnings of peft came out raw.

Which layers an adapter changes is told by its weights, so that no pattern is matched; what a newer
peft has written is said in one line; a rank that the weights do not have takes no memory.
"""

from __future__ import annotations

import json
import logging
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import HubertModel

from speechft.core.errors import CheckpointError
from speechft.encoders.identity import locate
from speechft.encoders.load import load_encoder

SOURCE = locate("tiny-hubert")


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = get_peft_model(HubertModel.from_pretrained(SOURCE), config)
    adapted.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def edited(folder: Path, **values: Any) -> Path:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return folder


def test_no_pattern_is_matched(adapter: Path) -> None:
    wanted = load_encoder(adapter).fingerprint()
    assert wanted != load_encoder(SOURCE).fingerprint()
    edited(adapter, target_modules=r"(([a-z._0-9]+)+)+!", exclude_modules=r"((.+)+)+!")
    started = time.monotonic()
    assert load_encoder(adapter).fingerprint() == wanted
    assert time.monotonic() - started < 10
    with pytest.raises(CheckpointError, match="a pattern that may never end"):
        load_encoder(edited(adapter, rank_pattern={"((a+)+)+!": 3}))


def test_what_a_newer_peft_wrote_is_one_line(
    adapter: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        load_encoder(edited(adapter, invented=3))
    assert [r.getMessage().partition(": ")[2] for r in caplog.records] == [
        "settings of a newer peft are left out: 'invented'"
    ]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"r": 10**9}, "rank 1000000000, and weights of at most 256 rows"),
        ({"init_lora_weights": "corda"}, "changed the encoder's own weights"),
        ({"runtime_config": 3, "r": 3}, "size mismatch"),
    ],
)
def test_what_does_not_fit_is_refused(adapter: Path, values: dict[str, Any], found: str) -> None:
    with pytest.raises(CheckpointError, match=found):
        load_encoder(edited(adapter, **values))


def test_initial_values_that_change_the_encoder_are_followed(tmp_path: Path) -> None:
    model = HubertModel.from_pretrained(SOURCE, dtype=torch.float32)
    config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights="pissa")
    adapted = get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.1)
    adapted.save_pretrained(tmp_path)
    name = "encoder.layers.1.attention.q_proj.weight"
    wanted = adapted.merge_and_unload().state_dict()[name]
    found = load_encoder(tmp_path).model.state_dict()[name]  # rounded to the source's float16
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-3)

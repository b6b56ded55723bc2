"""Merges that were made in silence and meant nothing.

Two alphas for two encoders took the last one for both; a TUNED of equal shapes with, for example,
another number of heads was merged, and gave hidden states of neither encoder; an alpha of 60 went
through.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from speechft.core.errors import IncompatibleModelsError, SettingsError
from speechft.core.settings import apply_overrides
from speechft.merging.settings import MergeSettings
from speechft.merging.stage import merge
from speechft.merging.sweep import load_merged

NAME = "encoder.layers.0.x.weight"
CONFIG = {
    "model_type": "hubert",
    "architectures": ["HubertModel"],
    "num_attention_heads": 12,
    "conv_stride": [5, 2],
    "hidden_dropout": 0.1,
}


def folder(path: Path, seed: int, **config: object) -> Path:
    path.mkdir()
    value = np.random.default_rng(seed).standard_normal((4, 6), dtype=np.float32)
    save_file({NAME: value}, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps(CONFIG | config))
    (path / "preprocessor_config.json").write_text("{}")
    return path


def settings(tmp_path: Path, *tuned: Path, **values: object) -> MergeSettings:
    base = tmp_path / "base"
    if not base.exists():
        folder(base, 0)
    return MergeSettings(base=base, tuned=tuned, out=tmp_path / "out", **values)


def test_one_alpha_per_encoder_is_said_how(tmp_path: Path) -> None:
    pair = folder(tmp_path / "a", 1), folder(tmp_path / "b", 2)
    with pytest.raises(SettingsError) as refused:
        merge(settings(tmp_path, *pair, alpha=("0.3", "0.7")))
    (said,) = re.findall(r"--alpha 1 --set (\S+)", str(refused.value.hint))
    out = merge(settings(tmp_path, *pair, **apply_overrides({"alpha": 1.0}, [said])))
    found = [load_file(f / "model.safetensors")[NAME] for f in (tmp_path / "base", *pair, out)]
    expected = found[0] + 0.3 * (found[1] - found[0]) + 0.7 * (found[2] - found[0])
    np.testing.assert_allclose(found[3], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_attention_heads", 6),
        ("conv_stride", [4, 2]),
        ("do_stable_layer_norm", True),
        ("feat_extract_norm", "layer"),
        ("hidden_act", "relu"),
        ("layer_norm_eps", 1e-6),
        ("position_embeddings_type", None),
    ],
)
def test_other_meanings_are_refused_by_name(tmp_path: Path, field: str, value: object) -> None:
    more = {"position_embeddings_type": "relative"} if field.startswith("position") else {}
    folder(tmp_path / "base", 0, **more)
    tuned = folder(tmp_path / "tuned", 1, **{field: value})
    with pytest.raises(IncompatibleModelsError, match=rf"(?s)expected:.*{field}.*found:.*{field}"):
        merge(settings(tmp_path, tuned))
    with pytest.raises(IncompatibleModelsError, match=field):
        load_merged(tmp_path / "base", tuned, 0.5)
    assert not (tmp_path / "out").exists()


def test_what_changes_no_hidden_state_is_merged(tmp_path: Path) -> None:
    harmless = {
        "hidden_dropout": 0.0, "layerdrop": 0.2, "mask_time_prob": 0.7, "vocab_size": 41,
        "id2label": {"0": "a"}, "apply_spec_augment": False, "transformers_version": "9",
        "num_attention_heads": 12, "feat_proj_layer_norm": True, "new_field": 3,
    }  # fmt: skip
    assert merge(settings(tmp_path, folder(tmp_path / "tuned", 1, **harmless))).is_dir()


@pytest.mark.parametrize("alpha", [60.05, -2.5, "0.1..7", "encoder.*=9", "0:60:30"])
def test_an_alpha_far_outside_is_refused(tmp_path: Path, alpha: object) -> None:
    tuned = folder(tmp_path / "tuned", 1)
    with pytest.raises(SettingsError, match="allow_extrapolation"):
        merge(settings(tmp_path, tuned, alpha=alpha))
    assert not (tmp_path / "out").exists()
    assert merge(settings(tmp_path, tuned, alpha=alpha, allow_extrapolation=True)).is_dir()

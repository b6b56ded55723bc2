"""A result's key left out `config.json` and the preprocessor.

Seen: `do_normalize` flipped in `preprocessor_config.json`, evaluated again: no pass of the encoder,
and the old scores under the changed encoder.
"""

from __future__ import annotations

import json
import shutil

import pytest
from evaluate_fixture import evaluation, passes

from speechft.core.files import read_jsonl
from speechft.probing.evaluate import evaluate


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [("preprocessor_config.json", "do_normalize", True), ("config.json", "layer_norm_eps", 0.5)],
)
@pytest.mark.parametrize("with_store", [False, True])
def test_what_changes_a_hidden_state_is_noticed(
    evaluation_home, tmp_path, file, key, value, with_store
):
    encoder = tmp_path / "encoder"
    shutil.copytree(evaluation_home / "one", encoder)
    store = {"store": tmp_path / "store"} if with_store else {}
    given = evaluation(evaluation_home, tmp_path / "out", encoders=(("a", encoder),), **store)
    (before,) = read_jsonl(evaluate(given) / "results.jsonl")
    described = json.loads((encoder / file).read_text())
    assert described.get(key) != value
    (encoder / file).write_text(json.dumps({**described, key: value}))
    (after,) = read_jsonl(evaluate(given) / "results.jsonl")
    assert passes(tmp_path / "out")["a"] > 0
    assert after["encoder_id"] != before["encoder_id"]
    fresh = evaluation(evaluation_home, tmp_path / "new", encoders=(("a", encoder),))
    assert read_jsonl(evaluate(fresh) / "results.jsonl") == [after]

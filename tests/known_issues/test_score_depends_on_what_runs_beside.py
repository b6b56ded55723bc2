"""A score depended on workers, threads, tasks and encoders beside it, and OMP_NUM_THREADS.

Seen with one encoder, task and seed: keyword spotting 95.2 with one worker and 85.7 with two.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from evaluate_fixture import CONFIG, write_tones

from speechft.core.files import read_jsonl
from speechft.encoders import build_encoder

WIDER = {
    **CONFIG,
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 2,
    "conv_dim": [64] * 7,
}
CALL = """
import json, sys
from speechft.core.settings import parse_settings
from speechft.probing.settings import EvaluateSettings
from speechft.probing.evaluate import evaluate
evaluate(parse_settings(EvaluateSettings, json.loads(sys.argv[1]), where="test"))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("beside")
    write_tones(folder / "data", length=(1.0, 3.0))
    for seed in (0, 1):
        build_encoder(WIDER, seed=seed).save(folder / f"{seed}")
    return folder


def figures(home: Path, out: Path, threads: int = 1, **values: object) -> list[dict[str, object]]:
    """Everything that is said of encoder 0 on SID and PR."""
    given = {
        "encoders": [["0", str(home / "0")]],
        "data": str(home / "data" / "table.jsonl"),
        "tasks": ["pr", "sid"],
        "steps": 20,
        "learning_rates": [0.01, 0.001],
        "workers": 1,
        "out": str(out),
    }
    subprocess.run(
        [sys.executable, "-c", CALL, json.dumps({**given, **values})],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        check=True,
        capture_output=True,
    )
    found = []
    for record in read_jsonl(out / "results.jsonl"):
        if record["encoder"] == "0" and record["task"] in ("pr", "sid"):
            cell = json.loads((out / "cells" / record["cell"] / "cell.json").read_text())
            found.append({k: cell[k] for k in ("dev", "grid", "layer_weights")} | record)
    assert found
    return sorted(found, key=lambda record: str(record["task"]))


@pytest.fixture(scope="module")
def alone(home):
    return figures(home, home / "alone")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("threads", "values"),
    [
        (2, {}),
        (2, {"encoders": 2, "workers": 2}),
        (1, {"encoders": 2}),
        (1, {"tasks": ["er", "pr", "sid"]}),
        (1, {"store": "store"}),
        (1, {"keep": "none", "store_gb": 0.00001}),
        (1, {"batch_seconds": 2.0}),
    ],
    ids=["threads", "workers", "encoders", "tasks", "store", "streamed", "batches"],
)
def test_a_figure_is_the_same_to_the_last_bit(home, alone, tmp_path, threads, values):
    given = dict(values)
    if "encoders" in given:
        given["encoders"] = [["1", str(home / "1")], ["0", str(home / "0")]]
    if "store" in given:
        given["store"] = str(tmp_path / "store")
    assert figures(home, tmp_path / "out", threads, **given) == alone


@pytest.mark.slow
def test_what_a_store_holds_already_changes_nothing(home, alone, tmp_path):
    store = {"store": str(tmp_path / "store")}
    figures(home, tmp_path / "first", tasks=["sid", "er"], **store)
    assert figures(home, tmp_path / "second", 2, **store) == alone


@pytest.mark.slow
def test_another_seed_gives_other_figures(home, alone, tmp_path):
    """The control: what is compared can differ."""
    assert figures(home, tmp_path / "out", seeds=[1]) != alone

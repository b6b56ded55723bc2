"""All eight fine-tuning tasks are probed on the package's synthetic speech."""

from __future__ import annotations

import pytest
import torch
from evaluate_fixture import CONFIG
from family_configs import FAMILIES, config_of

from speechft.core.files import read_jsonl
from speechft.core.settings import parse_settings
from speechft.data.audio import load_waveform
from speechft.encoders import build_encoder
from speechft.hidden.front_end_cache import FrontEndCache
from speechft.hidden.states import Passes, Reader
from speechft.probing.evaluate import evaluate
from speechft.probing.settings import EvaluateSettings
from speechft.tasks import TASKS

EIGHT = ("asr", "pr", "pc", "sid", "er", "ic", "ks", "sf")


@pytest.mark.parametrize("protocol", ["clean", "s3prl"])
def test_every_task_has_a_score_on_synthetic_speech(tmp_path, synthetic_splits, protocol):
    (tmp_path / "data").mkdir()
    for name, cuts in synthetic_splits.items():
        cuts.to_file(tmp_path / "data" / f"{name}.jsonl.gz")
    build_encoder({**CONFIG, "mask_time_prob": 0.0}, seed=0).save(tmp_path / "encoder")
    tasks = [t for t in EIGHT if protocol == "clean" or t in ("pc", "ks")]
    values = {
        "encoders": (("θ0", tmp_path / "encoder"),),
        "data": str(tmp_path / "data"),
        "out": tmp_path / "out",
        "tasks": tasks,
        "steps": 4,
        "batch_size": 4,
        "checks": 2,
        "workers": 1,
        "protocol": protocol,
        "predictions": True,
    }
    evaluate(parse_settings(EvaluateSettings, values, where="test"))
    records = read_jsonl(tmp_path / "out" / "results.jsonl")
    found = {(record["task"], record["metric"]) for record in records}
    assert found == {(task, metric) for task in tasks for metric in TASKS[task].metrics}
    assert all(record["value"] >= 0 for record in records)
    items = {record["task"]: record["items"] for record in records}
    assert items["pc"] == 8
    assert items["ks"] == len(TASKS["ks"].arrange(synthetic_splits)[2][1]) > 2


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_is_encoded_for_its_probes_as_on_its_own(family, synthetic_splits):
    encoder = build_encoder(config_of(family), seed=0)
    cuts = list(synthetic_splits["sid_dev"])[:3]
    source = FrontEndCache(encoder, cuts)
    found = dict(Reader(encoder, source, "float32", Passes()).read([0, 1, 2], {0, 1, 2}))
    with torch.no_grad():
        wanted = encoder([load_waveform(cut) for cut in cuts])
    assert [found[i].length for i in range(3)] == wanted.lengths.tolist()
    for row, length in enumerate(wanted.lengths.tolist()):
        states = torch.stack([state[row, :length] for state in wanted.hidden_states])
        torch.testing.assert_close(found[row].frames, states, rtol=1e-4, atol=1e-4)

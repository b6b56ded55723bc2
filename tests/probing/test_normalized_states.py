"""Probes that read hidden states of mean 0 and variance 1 in every frame."""

from __future__ import annotations

import pytest
import torch
from evaluate_fixture import CONFIG, write_tones

from speechft.cli.app import main
from speechft.core.errors import SpeechFTError
from speechft.core.files import read_json, read_jsonl
from speechft.core.settings import parse_settings
from speechft.encoders import build_encoder
from speechft.heads.linear import FrameLinear, Probe
from speechft.probing.evaluate import evaluate
from speechft.probing.settings import EvaluateSettings, evaluate_artifact
from speechft.tasks.kept_head import read_record

TASKS = ("pr", "sid")


def settings(home, **values):
    base = {
        "encoders": (("θ0", home / "encoder"),),
        "data": str(home / "data" / "table.jsonl"),
        "tasks": TASKS,
        "steps": 4,
        "batch_size": 4,
        "checks": 2,
        "learning_rates": (0.01,),
        "keep_heads": True,
        "workers": 1,
    }
    return parse_settings(EvaluateSettings, {**base, **values}, where="test")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("normalized")
    write_tones(folder / "data")
    build_encoder(dict(CONFIG), seed=0).save(folder / "encoder")
    evaluate(settings(folder, out=folder / "plain"))
    evaluate(settings(folder, out=folder / "normalized", normalize=True))
    return folder


def cell_of(out, task):
    (cell,) = (one for one in (out / "cells").iterdir() if one.name.startswith(f"{task}-"))
    return cell


def test_a_probe_gives_what_it_gives_of_normalized_states():
    torch.manual_seed(0)
    states = 30 * torch.randn(3, 2, 7, 16) + 5
    probe = Probe(3, FrameLinear(16, 4), normalize=True)
    plain = Probe(3, probe.head)
    lengths = torch.tensor([7, 5])
    wanted = plain(
        (states - states.mean(-1, keepdim=True)) / states.std(-1, keepdim=True, correction=0),
        lengths,
    )
    torch.testing.assert_close(probe(states, lengths), wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(probe(100 * states + 3, lengths), wanted, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(plain(states, lengths), wanted, atol=1e-2)


def test_only_heads_that_read_frames_are_concerned_and_the_records_say_so(home):
    plain, ours = (read_jsonl(home / name / "results.jsonl") for name in ("plain", "normalized"))
    assert [record.get("states") for record in plain] == [None, None]
    assert {r["task"]: r.get("states") for r in ours} == {"pr": "normalized", "sid": None}
    assert [r["value"] for r in plain if r["task"] == "sid"] == [
        r["value"] for r in ours if r["task"] == "sid"
    ]
    weights = [read_json(cell_of(home / n, "pr") / "cell.json") for n in ("plain", "normalized")]
    assert weights[0]["layer_weights"] != weights[1]["layer_weights"]


def test_without_it_identities_and_heads_are_as_they_were(home):
    about = read_json(cell_of(home / "plain", "pr") / "speechft.json")
    assert "normalize" not in about["depends"]["plan"]
    assert cell_of(home / "plain", "sid").name == cell_of(home / "normalized", "sid").name
    assert cell_of(home / "plain", "pr").name != cell_of(home / "normalized", "pr").name


def test_the_file_of_a_head_says_so(home):
    for name in ("plain", "normalized"):
        heads = {t: read_record(cell_of(home / name, t) / "head.safetensors") for t in TASKS}
        assert {t: head.normalize for t, head in heads.items()} == {
            "pr": name == "normalized",
            "sid": False,
        }


def test_it_changes_no_identity_where_no_head_reads_frames(home):
    for tasks, same in (("sid", True), ("sid,pr", False)):
        ids = {
            evaluate_artifact(settings(home, out=home / "x", tasks=tasks, normalize=on)).id
            for on in (False, True)
        }
        assert (len(ids) == 1) is same


def test_a_report_of_both_is_refused(home, tmp_path, capsys):
    both = [str(home / "plain"), str(home / "normalized")]
    with pytest.raises(SystemExit) as ended:
        main(["report", *both, "--out", str(tmp_path / "report")])
    assert ended.value.code == 3
    assert "own, normalized hidden states (normalized)" in capsys.readouterr().err


def test_a_suite_has_none_of_it(home):
    with pytest.raises(SpeechFTError, match="without normalize"):
        settings(home, out=home / "x", suite="paper4", normalize=True, data=["default=x:y"])

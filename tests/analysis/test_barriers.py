"""Losses of a head on the way from θ0 to another encoder, and their barrier."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from speechft.analysis.barriers import along_the_way, barrier
from speechft.analysis.settings import RECORDS, AnalyzeSettings
from speechft.analysis.stage import PAGE, analyze
from speechft.analysis.table import rows
from speechft.core.errors import CheckpointError, SettingsError
from speechft.data.audio import load_waveform
from speechft.data.load import load_data
from speechft.encoders import build_encoder, load_encoder
from speechft.tasks import TASKS
from speechft.tasks.kept_head import HeadRecord, read_head, write_head

DATA = "synthetic:tiny"
levels = st.floats(-100, 100)


@given(start=levels, end=levels, alphas=st.lists(st.floats(0.01, 0.99), unique=True))
def test_a_straight_way_has_no_barrier(start, end, alphas):
    values = {a: (1 - a) * start + a * end for a in (0.0, *alphas, 1.0)}
    assert barrier(values)[0] == pytest.approx(0, abs=1e-9)


@given(start=levels, end=levels, height=st.floats(0.1, 100))
def test_the_barrier_is_the_height_above_the_line(start, end, height):
    way = {a: (1 - a) * start + a * end for a in (0.0, 0.25, 0.5, 1.0)}
    found, alpha = barrier(way | {0.25: way[0.25] + height, 0.5: way[0.5] - 1})
    assert (found, alpha) == (pytest.approx(height, rel=1e-6, abs=1e-9), 0.25)
    valley = way | {0.25: way[0.25] - height}
    assert barrier(valley)[0] == pytest.approx(0, abs=1e-9)


@pytest.fixture
def ends(tmp_path, tiny_config):
    for seed, name in enumerate(("base", "other")):
        build_encoder(tiny_config, seed=seed).save(tmp_path / name)
    return tmp_path / "base", tmp_path / "other"


def head_of(folder, task, width=32):
    made = TASKS[task].from_cuts(load_data(DATA)["train"])
    torch.manual_seed(1)
    head = made.build_head(width, purpose="finetune", size="mini")
    record = HeadRecord(task=made.to_dict(), purpose="finetune", size="mini", width=width)
    path = folder / f"head-{task}.safetensors"
    write_head(path, head.state_dict(), record)
    return path


@pytest.mark.parametrize("task", ["er", "pr"])
def test_every_point_is_the_head_on_the_encoder_with_mixed_weights(ends, tmp_path, task):
    base, other = (load_encoder(folder).eval() for folder in ends)
    head = read_head(head_of(tmp_path, task))
    cuts = list(load_data(DATA)["train"])[:5]
    few, all_ = (
        along_the_way(base, other, head, cuts, [0.3], seconds, lambda _: None)
        for seconds in (2, 60)
    )
    assert list(all_) == [0.0, 0.3, 1.0]
    start, end = base.model.state_dict(), other.model.state_dict()
    for alpha, point in all_.items():
        assert few[alpha].loss == pytest.approx(point.loss, rel=1e-4)
        middle = load_encoder(ends[0]).eval()
        mixed = {n: torch.lerp(start[n], end[n], alpha) for n in start}
        middle.model.load_state_dict(mixed)
        losses, guesses = [], []
        with torch.no_grad():
            for cut in cuts:
                output = middle([load_waveform(cut)])
                logits = head(output)
                loss = head.task.loss(logits, output.lengths, [head.task.target(cut)])
                losses.append(float(loss))
                guesses += head.task.decode(logits, output.lengths)
        assert point.loss == pytest.approx(sum(losses) / len(losses), rel=1e-4)
        scores = head.task.score(guesses, [head.task.reference(cut) for cut in cuts])
        value = scores[head.task.metrics[0]]
        assert point.error == pytest.approx(value if task == "pr" else 100 - value)
    assert len({point.loss for point in all_.values()}) == 3


def test_an_analysis_with_heads_keeps_the_way_and_its_barrier(ends, tmp_path):
    base, other = map(str, ends)
    own = {"data": DATA, "device": "cpu", "utterances": 4, "alphas": (0.5,)}
    heads = (head_of(tmp_path, "er"),)
    made = {"base": base, "encoders": [("o", other), ("p", other)], "out": tmp_path / "out"}
    out = analyze(AnalyzeSettings(**made, **own, barriers=DATA, heads=heads))
    found = [json.loads(line) for line in (out / RECORDS).read_text().splitlines()]
    for name in "op":
        mine = [r for r in found if r["encoder"] == name and r.get("task") == "er"]
        way = {r["alpha"]: r["value"] for r in mine if r["measure"] == "loss"}
        assert set(way) == {0, 0.5, 1}
        (height,) = (r["value"] for r in mine if r["measure"] == "loss barrier")
        assert height == pytest.approx(max(0, way[0.5] - (way[0] + way[1]) / 2), abs=1e-6)
    names, cells = rows(found)
    assert names[-1] == "barrier"
    assert all(len(row) == len(names) for row in cells)
    assert "barrier" in (out / PAGE).read_text()
    with pytest.raises(SettingsError, match="heads than stored encoders"):
        made["out"] = tmp_path / "again"
        analyze(AnalyzeSettings(**made, **own, barriers=DATA, heads=heads * 3))


@pytest.mark.parametrize("given_", ["barriers", "heads"])
def test_heads_and_their_data_belong_together(ends, tmp_path, given_):
    base, other = map(str, ends)
    own = {"barriers": DATA} if given_ == "barriers" else {"heads": (head_of(tmp_path, "er"),)}
    with pytest.raises(ValidationError, match="needs the heads"):
        AnalyzeSettings(base=base, encoders=[other], data=DATA, out=tmp_path / "out", **own)


def test_a_head_that_does_not_fit_is_said_before_anything_is_measured(ends, tmp_path, monkeypatch):
    base, other = map(str, ends)
    monkeypatch.setattr(
        "speechft.analysis.stage.compare_states", lambda *_: pytest.fail("too late")
    )
    own = {"barriers": DATA, "heads": (head_of(tmp_path, "er", width=16),), "device": "cpu"}
    with pytest.raises(CheckpointError, match="does not fit"):
        analyze(
            AnalyzeSettings(base=base, encoders=[other], data=DATA, out=tmp_path / "out", **own)
        )

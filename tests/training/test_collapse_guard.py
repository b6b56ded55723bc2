"""Guards: what is said, or ends a run, when θ' collapses."""

import json
import logging
import math

import pytest
import torch
from finetune_fixture import moved, settings

from speechft.core.errors import DivergedError
from speechft.encoders import build_encoder, load_encoder
from speechft.metrics.similarity import FeatureSimilarity
from speechft.training.finetune.collapse_guard import Guard
from speechft.training.finetune.stage import finetune
from speechft.training.loop import Progress


@pytest.fixture
def base(tmp_path, tiny_config):
    return build_encoder(tiny_config, seed=0).save(tmp_path / "base")


def similarities(out):
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [r["dev_similarity"] for r in records if "dev_similarity" in r]


def guard(encoder, how="stop", **more):
    waves = [torch.randn(n, generator=torch.Generator().manual_seed(n)) for n in (9000, 12000)]
    return Guard(how, encoder, waves, "run", **{"least": 0.1, "most": 100.0, **more})


def test_similarity_is_cka_with_theta0_over_all_states(tiny_encoder, tiny_config):
    one = guard(tiny_encoder)
    assert one.similarity()["similarity"] == pytest.approx(1.0, abs=1e-6)
    other = build_encoder(tiny_config, seed=1)
    found = []
    for layer in range(3):
        pair = FeatureSimilarity()
        for wave in one.items:
            states = [e([wave]).hidden_states[layer][0].detach() for e in (tiny_encoder, other)]
            pair.add(*states)
        found.append(pair.cka)
    tiny_encoder.load_state_dict(other.state_dict())
    assert one.similarity()["similarity"] == pytest.approx(sum(found) / 3, abs=1e-5)
    assert sum(found) / 3 < 0.9


def test_states_that_say_nothing_are_like_nothing(tiny_encoder):
    one = guard(tiny_encoder, least=0.7)
    with torch.no_grad():
        tiny_encoder.model.encoder.layers[-1].final_layer_norm.weight.zero_()
    assert one.similarity()["similarity"] == pytest.approx(2 / 3, abs=1e-5)  # one of three states
    with pytest.raises(DivergedError, match="no longer like those of θ0"):
        one.look(one.similarity(), Progress(update=7))


@pytest.mark.parametrize("how", ["warn", "stop"])
def test_a_gradient_far_larger_than_usual(tiny_encoder, caplog, how):
    one, progress = guard(tiny_encoder, how, most=10.0), Progress()
    for update, norm in enumerate([1.0] * 30 + [math.inf, 9.0], 1):  # inf: that one was skipped
        progress.update, progress.norm = update, norm
        one.feel(progress)
    assert progress.usual_norm == pytest.approx(0.98 * 1.0 + 0.02 * 9.0)
    progress.norm = 13.0
    if how == "stop":
        with pytest.raises(DivergedError, match="far larger than usual"):
            one.feel(progress)
        return
    with caplog.at_level(logging.WARNING):
        one.feel(progress)
    assert "far larger than usual" in caplog.text


def test_a_run_that_collapses_is_ended_and_keeps_what_it_has(base, tmp_path):
    """A bound of 0.999 on a rate of 1e-2: θ' is soon another one."""
    more = {"learning_rate": 1e-2, "evaluate_every": 5, "guard": "stop", "guard_similarity": 0.999}
    with pytest.raises(DivergedError, match="no longer like"):
        finetune(settings(base, tmp_path / "run", **more))
    assert not (tmp_path / "run" / "encoder").exists()
    load_encoder(tmp_path / "run" / "encoder-last-good")
    assert similarities(tmp_path / "run")[-1] < 0.999


def test_watching_changes_no_result(base, tmp_path):
    plain = finetune(settings(base, tmp_path / "plain"))
    out = finetune(settings(base, tmp_path / "run", guard="warn", guard_similarity=0.999))
    assert not moved(out / "encoder", plain / "encoder")
    assert not moved(out / "encoder-best", plain / "encoder-best")
    found = similarities(out)
    assert len(found) == 4
    assert 0 < found[-1] < found[0] < 1
    records = [json.loads((one / "speechft.json").read_text()) for one in (plain, out)]
    assert records[0]["depends"] == records[1]["depends"]


def test_a_guard_changes_nothing_where_another_front_end_is_taken_over(base, tmp_path):
    """Utterances that the guard had heard kept the features of θ0's front end."""
    more = {"steps": 4, "method": "regular", "learning_rate": 1e-2}
    first = finetune(settings(base, tmp_path / "first", **more))
    more |= {"continued": str(first), "freeze_front_end": True}
    guarded = finetune(settings(base, tmp_path / "guarded", guard="warn", **more))
    plain = finetune(settings(base, tmp_path / "plain", **more))
    assert not moved(guarded / "encoder", plain / "encoder")
    assert similarities(guarded)[-1] < 1

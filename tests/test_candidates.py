"""Formulas of `benchmarks/candidates.py`: what each makes of θ0 and of one θ'."""

from __future__ import annotations

import copy
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_configs import TWO_LAYERS

from speechft.core.files import write_json
from speechft.encoders import build_encoder
from speechft.heads.linear import PooledLinear
from speechft.training.finetune.objective import FineTuning, TaskPart
from speechft.training.freezing import FreezePlan

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
MINE = ("candidates", "probe", "probing", "ways")


@pytest.fixture
def load(monkeypatch):
    """Import a module of the benchmarks; nothing of them stays behind."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module
    for name in [n for n in sys.modules if n.partition(".")[0] in MINE]:
        del sys.modules[name]


@pytest.fixture
def matrices(load):
    return load("ways.matrices")


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def gram(seed):
    rows = drawn(40, 5, seed=seed)
    return rows.T @ rows / 40


def test_regmean_is_plain_alpha_where_both_have_the_same_inputs(matrices):
    moved = drawn(4, 5)
    same = matrices.regressed(moved, 0.3, gram(1), gram(1))
    torch.testing.assert_close(same, 0.3 * moved, rtol=1e-5, atol=1e-5)
    other = matrices.regressed(moved, 0.3, gram(1), gram(2))
    assert not torch.allclose(other, 0.3 * moved, rtol=0.05)


def test_regmean_is_the_least_squares_of_both(matrices):
    """θ0 and θ' on inputs of their own: a small change of the result raises the error."""
    base, moved, first, second = drawn(4, 5, seed=3), drawn(4, 5), gram(1), gram(2)

    def error(weight):
        parts = ((0.7, base, first), (0.3, base + moved, second))
        return sum(w * torch.trace((weight - own) @ g @ (weight - own).T) for w, own, g in parts)

    found = base + matrices.regressed(moved, 0.3, first, second)
    for seed in range(5):
        assert error(found) < error(found + 0.01 * drawn(4, 5, seed=seed))


def test_covariance_of_the_change_weighs_its_singular_values(matrices):
    moved = drawn(4, 6)
    values = torch.linalg.svdvals(moved)
    scale = 2 * values.square().mean()
    found = matrices.weighed(moved, 2.0)
    torch.testing.assert_close(
        torch.linalg.svdvals(found), values**3 / (values.square() + scale), rtol=1e-9, atol=1e-9
    )
    covariance = moved.T @ moved
    closed = moved @ covariance @ torch.linalg.inv(covariance + scale * torch.eye(6))
    torch.testing.assert_close(found, closed, rtol=1e-7, atol=1e-7)


def test_what_lies_in_the_strong_directions_goes(matrices):
    left, right = torch.linalg.qr(drawn(5, 5))[0], torch.linalg.qr(drawn(7, 7, seed=1))[0]
    values = torch.tensor([9.0, 6.0, 2.0, 1.0, 0.5], dtype=torch.float64)
    base = (left * values) @ right[:5]
    within = torch.outer(left[:, 0], right[1])  # of the first two, which hold 15 of 18.5
    beyond = torch.outer(left[:, 0], right[6])
    found = matrices.outside(within + beyond, base, 0.85)
    torch.testing.assert_close(found, beyond)
    kept = matrices.outside(within + beyond, base, 0.1)  # no direction holds so little
    torch.testing.assert_close(kept, within + beyond)


def test_all_directions_are_the_whole_change(matrices):
    moved = drawn(4, 5)
    torch.testing.assert_close(matrices.strongest(moved, 1.0), moved)
    torch.testing.assert_close(matrices.loud(moved, 1.0, gram(1)), moved)
    assert torch.linalg.matrix_rank(matrices.strongest(moved, 0.25, gram(1))) == 1


def test_effective_rank(matrices):
    assert matrices.effective_rank(torch.eye(6)) == pytest.approx(6)
    assert matrices.effective_rank(torch.outer(drawn(4), drawn(6))) == pytest.approx(1)


@pytest.mark.parametrize("kind", ["rank", "shift", "quiet", "outside", "weighed", "regmean"])
def test_only_matrices_of_layers_change_otherwise(matrices, kind):
    names = ("layers.0.fc1.weight", "layers.0.norm.weight", "conv1.weight")
    shapes = ((4, 5), (4,), (4, 5))
    base = {n: drawn(*shape, seed=1) for n, shape in zip(names, shapes, strict=True)}
    tuned = {n: value + drawn(*value.shape, seed=2) for n, value in base.items()}
    grams, others = {names[0]: gram(1)}, {names[0]: gram(2)}
    made = matrices.changed(base, tuned, grams, others, matrices.change_of(kind, 0.5, 0.5))
    quarter = {n: base[n] + 0.25 * (tuned[n] - base[n]) for n in names}
    assert not torch.allclose(made[names[0]], quarter[names[0]])
    for name in names[1:]:
        torch.testing.assert_close(made[name], quarter[name])


def test_attention_goes_alone(matrices):
    base = {n: drawn(4, 4) for n in ("layers.1.attention.k_proj.weight", "layers.1.fc1.weight")}
    tuned = {n: value + 1 for n, value in base.items()}
    made = matrices.changed(base, tuned, {}, {}, matrices.change_of("attention", 0.5))
    assert [float((made[n] - base[n]).mean()) for n in base] == pytest.approx([0.5, 0.25])


def encoders():
    start = build_encoder(TWO_LAYERS, seed=0)
    end = copy.deepcopy(start)
    with torch.no_grad():
        for number, (name, value) in enumerate(end.model.named_parameters()):
            if ".layers." in name:
                value += 0.05 * drawn(*value.shape, seed=number).float()
    return start, end


@pytest.mark.parametrize("kind", ["gates", "layers"])
def test_learning_begins_at_plain_alpha_and_keeps_to_its_drift(load, kind):
    ways = load("ways.learned")
    start, end = encoders()
    base, tuned = start.model.state_dict(), end.model.state_dict()
    way = ways.Way(base, tuned, kind, 0.25)
    for name, value in way.weights().items():
        plain = base[name] + 0.25 * (tuned[name] - base[name])
        torch.testing.assert_close(value, plain, rtol=1e-4, atol=1e-5)
    waves = [drawn(6000, seed=7).float() / 5, drawn(4000, seed=8).float() / 5]
    with torch.no_grad():
        goal = end(waves).hidden_states[-1]
    batch = ways.Batch(waves, [])

    def loss(output, _):
        return 1e3 * (output.hidden_states[-1] - goal).square().mean()

    found = ways.learn(start, way, [batch], loss, 20)
    assert found["before"]["drift"] == pytest.approx(1, abs=1e-4)
    assert found["after"]["loss"] < found["before"]["loss"]
    assert found["after"]["drift"] < 1.3
    free = ways.Way(base, tuned, kind, 0.25)
    ways.HOLD = 0.0
    loose = ways.learn(start, free, [batch], loss, 20)
    assert loose["after"]["drift"] > 1.3


class TwoClasses:
    def loss(self, logits, lengths, targets):
        return torch.nn.functional.cross_entropy(logits, torch.stack(targets))


def test_the_gradient_is_that_at_the_worst_point_nearby(load):
    flat = load("ways.flat")
    waves = [drawn(6000, seed=7).float() / 5, drawn(4000, seed=8).float() / 5]

    def gradients(kind, encoder):
        torch.manual_seed(0)
        head = PooledLinear(encoder.hidden_size, 2, projection=8)
        part = TaskPart(head, TwoClasses(), [torch.tensor(0), torch.tensor(1)], dev=list)
        fit = kind(encoder, {"head": part}, FreezePlan(10, 0.0, True))
        fit.before_update(5)
        for module in fit.module.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        fit.loss([0, 1], waves)[0].backward()
        return {n: p.grad for n, p in encoder.model.named_parameters() if p.grad is not None}

    config = {**TWO_LAYERS, "layerdrop": 0.0}
    dropouts = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout")
    config |= dict.fromkeys(dropouts, 0.0)
    here = gradients(FineTuning, build_encoder(config, seed=0))
    norm = torch.stack([g.square().sum() for g in here.values()]).sum().sqrt()
    there = build_encoder(config, seed=0)
    with torch.no_grad():
        for name, value in there.model.named_parameters():
            if name in here:
                value += flat.RADIUS / norm * here[name]
    wanted, found = gradients(FineTuning, there), gradients(flat.Flat, build_encoder(config, 0))
    assert wanted.keys() == found.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-6)
    assert any(not torch.allclose(found[n], here[n], rtol=1e-3, atol=1e-6) for n in here)


def scored(task, errors, right):
    items = {"pr": ["per", [[e, 10] for e in errors]], "sid": ["acc", [[r, 1] for r in right]]}
    dev = {"pr": 100 - 10 * float(np.mean(errors)), "sid": 100 * float(np.mean(right))}
    return {"candidate": "x", "task": task, "seed": 0, "dev": dev, "items": items}


def test_gains_have_the_sign_of_goodness_and_an_interval_of_paired_items(load):
    beside = load("candidates").beside
    quarter = scored("sid", [4, 5, 6, 5] * 10, [1, 0, 1, 0] * 10)
    found = beside(scored("sid", [3, 4, 5, 4] * 10, [1, 0, 0, 0] * 10), quarter)
    assert found["others"] == pytest.approx(10)
    assert found["others_interval"] == pytest.approx([10, 10])  # every item by as much
    assert found["source"] == pytest.approx(-25)
    low, high = found["source_interval"]
    assert low < -25 < high < 0
    assert beside(quarter, quarter)["source_interval"] == [0, 0]


def test_a_fine_tuning_of_another_seed_is_refused(load, tmp_path):
    candidates = load("candidates")
    write_json(tmp_path / "speechft.json", {"depends": {"task": "sid", "seed": 5}})
    bench = candidates.Bench(candidates.synthetic(), tmp_path / "work", {"sid": tmp_path})
    assert bench.tuned("sid", 5) == tmp_path
    with pytest.raises(SystemExit, match="seed 5"):
        bench.tuned("sid", 0)

"""The loop: stop and resume, skipped updates, divergence, metrics."""

import json

import pytest
import torch
from torch import nn

from speechft.core.errors import CheckpointError, SpeechFTError
from speechft.training import loop
from speechft.training.loop import Loop, LoopSettings
from speechft.training.resume_state import load_state, save_state
from speechft.training.schedule import make_schedule


class Fit:
    """Dropout makes the loss depend on chance, so that resuming has something to get wrong."""

    def __init__(self, bad_updates=()):
        torch.manual_seed(0)
        self.module = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.bad, self.update = set(bad_updates), 0

    def before_update(self, update):
        self.update = update
        self.module.train()

    def loss(self, indices, items):
        items = items.to(self.module[0].weight.device)  # the loop takes a GPU where there is one
        loss = (self.module(items) - items.sum(1, keepdim=True)).square().mean()
        return (loss * float("nan") if self.update in self.bad else loss), {"items": len(indices)}

    def evaluate(self):
        return {"acc": float(self.update)}


class Order:
    def epoch(self, number):
        generator = torch.Generator().manual_seed(number)
        return torch.randperm(12, generator=generator).reshape(4, 3).tolist()


class Items:
    values = torch.randn(12, 4, generator=torch.Generator().manual_seed(7))

    def load(self, indices):
        return self.values[indices]


class StopError(Exception):
    pass


class Stopping(Items):
    def __init__(self, after):
        self.left = after

    def load(self, indices):
        self.left -= 1
        if self.left < 0:
            raise StopError
        return super().load(indices)


def run(folder, steps=23, source=None, fit=None, **more):
    fit = fit or Fit()
    settings = LoopSettings(
        steps=steps, learning_rate=0.05, save_every=5, log_every=1, evaluate_every=5, **more
    )
    source = source or Items()
    Loop(fit, Order(), source, make_schedule("stable", steps), settings, folder).run()
    return fit.module


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def records(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("after", [3, 14, 21])
def test_stopped_and_resumed_is_the_same_as_never_stopped(tmp_path, after, accumulate):
    whole = run(tmp_path / "whole", accumulate=accumulate)
    stopped = tmp_path / "stopped"
    with pytest.raises(StopError):
        run(stopped, source=Stopping(after * accumulate), accumulate=accumulate)
    with (stopped / "metrics.jsonl").open("a") as file:
        file.write('{"update": 99, "lo')  # what a killed process leaves
    resumed = run(stopped, accumulate=accumulate)
    assert torch.equal(weights(whole), weights(resumed))
    assert records(tmp_path / "whole") == records(stopped)


def test_free_memory_is_given_back_between_both_ways(tmp_path, monkeypatch):
    said, backward = [], torch.autograd.backward
    monkeypatch.setattr(loop, "give_back_holes", lambda device: said.append(device.type))
    monkeypatch.setattr(
        torch.autograd, "backward", lambda loss: (said.append("back"), backward(loss))[1]
    )
    where = loop.Accelerator().device.type
    run(tmp_path, steps=2, accumulate=2)
    assert said == [where, "back"] * 4


def test_another_seed_gives_other_weights(tmp_path):
    first, second = run(tmp_path / "a"), run(tmp_path / "b", seed=1)
    assert not torch.equal(weights(first), weights(second))


def test_an_update_that_is_not_finite_is_skipped(tmp_path):
    module = run(tmp_path / "bad", fit=Fit(bad_updates=[4, 9]))
    assert torch.isfinite(weights(module)).all()
    assert not torch.equal(weights(module), weights(run(tmp_path / "good")))


def test_divergence_ends_with_one_error(tmp_path):
    with pytest.raises(SpeechFTError, match="diverged") as caught:
        run(tmp_path, steps=200, fit=Fit(bad_updates=range(2, 200)))
    assert "lower the learning rate" in str(caught.value)


def test_what_is_not_finite_from_the_first_update_on_is_no_matter_of_the_rate(tmp_path):
    with pytest.raises(SpeechFTError, match="diverged") as caught:
        run(tmp_path, steps=200, fit=Fit(bad_updates=range(200)))
    assert "speechft check encoder" in str(caught.value)
    assert "lower" not in str(caught.value)


def test_the_rate_recorded_is_the_formula(tmp_path):
    run(tmp_path)
    schedule = make_schedule("stable", 23)
    rates = [r["lr"] for r in records(tmp_path) if "lr" in r]
    assert rates == [0.05 * schedule(i) for i in range(23)]


def test_a_damaged_state_is_one_clear_error(tmp_path):
    run(tmp_path, steps=5)
    state = tmp_path / "checkpoints" / "update-5.pt"
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="not as it was written") as caught:
        run(tmp_path, steps=23)
    assert "update-5.pt" in str(caught.value)


def test_a_state_of_another_version_is_said_to_be_one(tmp_path):
    run(tmp_path, steps=5)
    state = load_state(tmp_path / "checkpoints")
    save_state(tmp_path / "checkpoints", 5, state | {"progress": {**state["progress"], "new": 1}})
    with pytest.raises(CheckpointError, match=r"(?s)another version of speechft.*new"):
        run(tmp_path, steps=23)


def test_a_finished_run_does_nothing(tmp_path):
    run(tmp_path, steps=5)
    before = (tmp_path / "checkpoints" / "update-5.pt").stat().st_mtime_ns
    run(tmp_path, steps=5, source=Stopping(1))
    assert (tmp_path / "checkpoints" / "update-5.pt").stat().st_mtime_ns == before


class Linear:
    """Without chance; the gradient of `still` is zero at every update."""

    def __init__(self):
        self.module = nn.ParameterDict({"w": torch.ones(4), "still": torch.full((3,), 5.0)})

    def before_update(self, update):
        del update

    def loss(self, indices, items):
        del indices
        items = items.to(self.module["w"].device)
        loss = (items @ self.module["w"]).square().mean() + 0.0 * self.module["still"].sum()
        return loss, {}

    def evaluate(self):
        return {}


def gradients(folder, **more):
    """Give the gradient that the optimiser saw at each update, and the norms that were logged."""
    fit, seen = Linear(), []
    settings = LoopSettings(steps=3, learning_rate=1e-3, log_every=1, **more)
    loop = Loop(fit, Order(), Items(), make_schedule("constant", 3), settings, folder)
    loop.optimizer.register_step_pre_hook(
        lambda *_: seen.append(fit.module["w"].grad.detach().clone())
    )
    loop.run()
    return fit, seen, [r["gradient_norm"] for r in records(folder) if "gradient_norm" in r]


def test_gradients_are_clipped_by_their_global_norm(tmp_path):
    _, free, norms = gradients(tmp_path / "free", clip=1e9)
    assert [float(g.norm()) for g in free] == pytest.approx(norms, rel=1e-5)
    _, clipped, logged = gradients(tmp_path / "clipped", clip=0.01)
    assert all(float(g.norm()) <= 0.01 * (1 + 1e-5) for g in clipped)
    assert logged[0] == norms[0] > 0.01  # what is logged is the norm before


def test_two_batches_make_one_update_with_the_mean_of_their_gradients(tmp_path):
    _, (found, *_), _ = gradients(tmp_path, clip=1e9, accumulate=2)
    weights = torch.ones(4, requires_grad=True)
    for batch in Order().epoch(0)[:2]:
        (Items().load(batch) @ weights).square().mean().div(2).backward()
    torch.testing.assert_close(found.cpu(), weights.grad)


def test_what_has_no_gradient_does_not_decay(tmp_path):
    fit, *_ = gradients(tmp_path)
    assert fit.module["still"].tolist() == [5.0] * 3
    fit, *_ = gradients(tmp_path / "decays", weight_decay=0.1)
    assert fit.module["still"].tolist() != [5.0] * 3  # control


def test_heads_may_have_a_rate_of_their_own(tmp_path):
    objective = Fit()
    objective.module = nn.ModuleDict({"encoder": nn.Linear(4, 1), "head": nn.Linear(1, 1)})
    settings = LoopSettings(steps=4, learning_rate=1e-4, head_learning_rate=1e-3)
    schedule = make_schedule("constant", 4)
    loop = Loop(objective, Order(), Items(), schedule, settings, tmp_path)
    encoder, head = loop.optimizer.param_groups
    assert [p.shape for p in encoder["params"]] == [(1, 4), (1,)]
    assert [p.shape for p in head["params"]] == [(1, 1), (1,)]
    objective.loss = lambda indices, items: (
        objective.module["head"](objective.module["encoder"](items)).mean(),
        {},
    )
    loop.run()
    assert (encoder["lr"], head["lr"]) == (pytest.approx(1e-4), pytest.approx(1e-3))

from __future__ import annotations

from itertools import chain, islice

import pytest
import torch
from torch import nn

from speechft.core.errors import SettingsError
from speechft.core.lengths import masked_mean
from speechft.core.seeding import derive_seed
from speechft.heads.linear import FrameLinear, PooledLinear
from speechft.heads.rnn import RecurrentCTC
from speechft.hidden.states import FrameStates, PooledStates
from speechft.metrics.measures import accuracy, error_rate
from speechft.probing import probe as probe_module
from speechft.probing.batches import Split, feed, quick_recurrence, updates
from speechft.probing.probe import Probe, ProbePlan, ProbeStack, can_stack, predict, probe

K, D, CLASSES = 3, 6, 4


class Classes:
    metrics = ("acc",)

    def loss(self, logits, lengths, targets):
        return nn.functional.cross_entropy(logits, torch.stack(targets))

    def decode(self, logits, lengths):
        return logits.argmax(-1).tolist()

    def choose(self, predictions, references):
        return {"acc": accuracy(references, predictions)}


class Symbols:
    metrics = ("per",)

    def loss(self, logits, lengths, targets):
        logs = logits.log_softmax(-1).transpose(0, 1)
        padded = nn.utils.rnn.pad_sequence(targets, batch_first=True)
        return nn.functional.ctc_loss(
            logs, padded, lengths, torch.tensor([len(t) for t in targets])
        )

    def decode(self, logits, lengths):
        best = [
            row[:n].argmax(-1).unique_consecutive() for row, n in zip(logits, lengths, strict=True)
        ]
        return [[str(i) for i in row.tolist() if i] for row in best]

    def choose(self, predictions, references):
        return {"per": error_rate(references, predictions)}


def batches(lengths, plan, seed):
    """The one batch of every update of a plan."""
    given = updates(
        plan.scheme,
        plan.batch_size,
        1,
        seed,
        Split(PooledStates(torch.zeros(1, 1, 1), lengths), [], []),
    )
    return [batch for (batch,) in islice(given, plan.steps)]


def frame_states(count=40, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(5, 15, (count,), generator=generator).tolist()
    starts = [sum(lengths[:i]) for i in range(count)]
    frames = torch.randn(K, sum(lengths), D, generator=generator)
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    for start, length, label in zip(starts, lengths, labels.tolist(), strict=True):
        frames[1, start : start + length, label] += 1.0  # only state 1 tells
    return FrameStates(frames.to(dtype).split(lengths, dim=1)), labels


def pooled_of(states):
    items = range(len(states.lengths))
    batch, lengths = states.batch(list(items))
    return PooledStates(torch.stack([masked_mean(b, lengths) for b in batch]), states.lengths)


def class_split(states, labels):
    return Split(states, list(labels), labels.tolist())


def symbol_split(states, labels):
    targets = [torch.tensor([1 + label, 2]) for label in labels.tolist()]
    return Split(states, targets, [[str(i) for i in t.tolist()] for t in targets])


PLAN = ProbePlan(rates=(0.1, 0.01, 0.001), steps=12, batch_size=8, checks=3)


def head():
    return PooledLinear(D, CLASSES, projection=5)


def test_pooled_probe_equals_the_unpooled_one():
    states, labels = frame_states()
    results = []
    for view in (states, pooled_of(states)):
        split = class_split(view, labels)
        results.append(probe(Classes(), head, split, split, PLAN, seed=3))
    frames, means = results
    assert frames.rate == means.rate
    assert frames.step == means.step
    for name, weight in frames.weights.items():
        torch.testing.assert_close(weight, means.weights[name], rtol=1e-5, atol=1e-5)
    # control: a mean that counts padding gives other weights
    batch, _ = states.batch(range(len(labels)))
    wrong = class_split(PooledStates(batch.mean(dim=2), states.lengths), labels)
    other = probe(Classes(), head, wrong, wrong, PLAN, seed=3)
    moved = max((other.weights[n] - w).abs().max() for n, w in frames.weights.items())
    assert moved > 1e-3


def reference_training(states, split, build, task, rate, plan, seed):
    """The same probe in plain torch: one rate, torch.optim.Adam, clip_grad_norm_."""
    torch.manual_seed(derive_seed(seed, "probe", "head"))
    module = Probe(K, build())
    optimiser = torch.optim.Adam(module.parameters(), lr=rate)
    for step, items in enumerate(batches(states.lengths, plan, seed)):
        x, lengths = states.batch(items)
        optimiser.param_groups[0]["lr"] = rate * (1 - step / plan.steps if plan.decay else 1)
        optimiser.zero_grad()
        task.loss(module(x, lengths), lengths, [split.targets[i] for i in items]).backward()
        nn.utils.clip_grad_norm_(module.parameters(), plan.clip)
        optimiser.step()
    return module.state_dict()


@pytest.mark.parametrize(("pooled", "decay"), [(True, False), (True, True), (False, True)])
def test_side_by_side_equals_one_by_one_in_plain_torch(pooled, decay, monkeypatch):
    states, labels = frame_states()
    if pooled:
        states = pooled_of(states)
        task, split, build = Classes(), class_split(states, labels), head
    else:
        task, split = Symbols(), symbol_split(states, labels)

        def build():
            return FrameLinear(D, CLASSES + 1, projection=5)

    rates = (0.05, 0.01)
    plan = ProbePlan(rates, steps=15, batch_size=8, checks=1, clip=0.05, decay=decay)
    stacks = []
    make = probe_module.ProbeStack
    monkeypatch.setattr(
        probe_module, "ProbeStack", lambda *args: stacks.append(make(*args)) or stacks[-1]
    )
    probe(task, build, split, split, plan, seed=1)
    (stack,) = stacks
    assert stack.rates == [0.05, 0.01]
    for copy, rate in enumerate(plan.rates):
        expected = reference_training(states, split, build, task, rate, plan, seed=1)
        for name, weight in stack.weights(copy).items():
            torch.testing.assert_close(weight, expected[name], rtol=1e-4, atol=1e-5)


def test_chooses_the_best_rate_and_step_on_dev_and_records_the_grid():
    states, labels = frame_states()
    split = class_split(pooled_of(states), labels)
    plan = ProbePlan(rates=(1e-6, 0.05), steps=60, batch_size=8, checks=4)
    result = probe(Classes(), head, split, split, plan, seed=0)
    assert result.rate == 0.05
    assert [(g["learning_rate"], g["step"]) for g in result.grid] == [
        (r, s) for s in (15, 30, 45, 60) for r in (1e-6, 0.05)
    ]
    assert result.dev["acc"] == max(g["acc"] for g in result.grid)
    first = next(g for g in result.grid if g["acc"] == result.dev["acc"])
    assert (first["learning_rate"], first["step"]) == (result.rate, result.step)
    predictions = predict(Classes(), head, result.weights, split.states, plan)
    assert accuracy(split.references, predictions) == result.dev["acc"] > 60
    shares = result.weights["weighted_sum.weights"].softmax(0)
    assert shares.argmax() == 1  # the only state that tells


def test_same_seed_same_bits_and_another_seed_differs():
    states, labels = frame_states()
    split = symbol_split(states, labels)

    def build():
        return RecurrentCTC(D, CLASSES + 1, projection=4, hidden=3, layers=1, dropout=0.5)

    plan = ProbePlan(rates=(0.01, 0.001), steps=4, batch_size=8, checks=2)
    one, two = (probe(Symbols(), build, split, split, plan, seed=5) for _ in range(2))
    assert all(torch.equal(one.weights[n], two.weights[n]) for n in one.weights)
    assert one.grid == two.grid
    torch.manual_seed(123)  # the caller's generator neither matters nor moves
    before = torch.random.get_rng_state()
    three = probe(Symbols(), build, split, split, plan, seed=5)
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(one.weights[n], three.weights[n]) for n in one.weights)
    other = probe(Symbols(), build, split, split, plan, seed=6)
    assert any(not torch.equal(one.weights[n], other.weights[n]) for n in one.weights)


def test_a_rate_gives_the_same_whatever_else_is_in_the_grid():
    states, labels = frame_states()
    split = symbol_split(states, labels)

    def build():
        return RecurrentCTC(D, CLASSES + 1, projection=4, hidden=3, layers=1, dropout=0.5)

    plans = [ProbePlan(rates=r, steps=4, batch_size=8, checks=1) for r in ((0.01,), (0.1, 0.01))]
    grids = [probe(Symbols(), build, split, split, p, seed=5).grid for p in plans]
    assert grids[0][0] == grids[1][1]


def test_rates_that_do_not_stack_read_dev_once(monkeypatch):
    states, labels = frame_states()
    split = symbol_split(states, labels)
    read = []
    real = FrameStates.batch
    monkeypatch.setattr(
        FrameStates, "batch", lambda self, items: (read.append(len(items)), real(self, items))[1]
    )

    def build():
        return RecurrentCTC(D, CLASSES + 1, projection=4, hidden=3, layers=1)

    plan = ProbePlan((0.1, 0.01, 0.001), steps=4, batch_size=8, checks=2, eval_batch_size=20)
    probe(Symbols(), build, split, split, plan, seed=0)
    assert sorted(read) == [8] * 4 + [20] * 4  # 40 utterances, twice


def test_a_gradient_that_is_not_finite_is_skipped_for_its_copy_only():
    torch.manual_seed(0)
    stack = ProbeStack(Probe(K, head()), [0.1, 0.1])
    before = [stack.weights(0), stack.weights(1)]
    x = torch.randn(K, 2, D)
    targets = torch.tensor([0, 1])
    logits = stack.logits(x, None, train=True)
    losses = torch.stack([nn.functional.cross_entropy(row, targets) for row in logits])
    stack.add_gradients(losses * torch.tensor([float("inf"), 1.0]))
    stack.step()
    assert stack.skipped == [1, 0]
    name = "head.output.weight"
    assert torch.equal(stack.weights(0)[name], before[0][name])
    assert not torch.equal(stack.weights(1)[name], before[1][name])
    assert all(torch.isfinite(w).all() for w in stack.weights(0).values())


def test_batches_cover_every_utterance_once_per_epoch_with_similar_lengths():
    lengths = torch.randint(1, 1000, (100,), generator=torch.Generator().manual_seed(0)).tolist()
    plan = ProbePlan(rates=(0.1,), steps=26, batch_size=8)
    given = list(batches(lengths, plan, seed=0))
    assert len(given) == 26
    first, second = [*chain(*given[:13])], [*chain(*given[13:])]
    assert sorted(first) == sorted(second) == list(range(100))
    assert first != second
    waste = sum(max(lengths[i] for i in b) * len(b) for b in given[:13]) / sum(lengths)
    assert waste < 1.2
    assert given == list(batches(lengths, plan, seed=0))
    assert given != list(batches(lengths, plan, seed=1))


def test_half_precision_frames_reach_a_probe_as_float32():
    states, _ = frame_states(dtype=torch.float16)
    kept, _ = states.batch([1, 0])
    assert kept.dtype == torch.float16
    batch, lengths = next(feed(states, [[1, 0]], "cpu"))
    assert batch.dtype == torch.float32
    assert torch.equal(batch, kept.float())
    assert batch.shape == (K, 2, max(lengths), D)
    assert (batch[:, 0, lengths[0] :] == 0).all()


def test_only_heads_on_kept_states_may_round_on_a_gpu(monkeypatch):
    kept, _ = frame_states(count=2)
    pooled = PooledStates(torch.zeros(K, 2, D), [1, 1])
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)

    def allowed(states, device):
        with quick_recurrence(states, device):
            return torch.backends.cudnn.allow_tf32

    assert [allowed(kept, "cuda"), allowed(kept, "cpu"), allowed(pooled, "cuda")] == [1, 0, 0]
    assert not torch.backends.cudnn.allow_tf32
    with pytest.raises(ValueError, match="wrong"), quick_recurrence(kept, "cuda"):
        raise ValueError("wrong")
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="torch 2.9 began with it")
def test_nothing_changes_where_somebody_told_convolutions_and_lstms_apart():
    convolutions, recurrent = torch.backends.cudnn.conv, torch.backends.cudnn.rnn
    before = convolutions.fp32_precision, recurrent.fp32_precision
    try:
        convolutions.fp32_precision, recurrent.fp32_precision = "tf32", "ieee"
        with quick_recurrence(frame_states(count=2)[0], "cuda"):
            assert recurrent.fp32_precision == "ieee"
    finally:
        convolutions.fp32_precision, recurrent.fp32_precision = before


def test_recurrent_heads_do_not_stack_and_linear_ones_do():
    assert can_stack(Probe(K, head()))
    assert not can_stack(Probe(K, RecurrentCTC(D, 4, 4, 3, 1)))
    assert not can_stack(nn.Sequential(nn.Dropout(0.1)))


def test_an_empty_plan_is_refused():
    states, labels = frame_states()
    split = class_split(pooled_of(states), labels)
    for plan in (ProbePlan((), 1, 1), ProbePlan((0.1,), 0, 1)):
        with pytest.raises(SettingsError, match="at least one"):
            probe(Classes(), head, split, split, plan, seed=0)


def test_spec_augment_acts_in_training_only_and_is_seeded():
    states, labels = frame_states(dtype=torch.float32)
    split = symbol_split(states, labels)

    def build():
        return FrameLinear(D, CLASSES + 1, projection=5)

    def trained(seed, **more):
        plan = ProbePlan(rates=(0.01,), steps=4, batch_size=8, checks=1, **more)
        return probe(Symbols(), build, split, split, plan, seed=seed)

    plain, one, again = trained(1), trained(1, spec_augment=True), trained(1, spec_augment=True)
    for name, weight in one.weights.items():
        assert torch.equal(weight, again.weights[name])
    name = "head.output.weight"
    assert not torch.allclose(plain.weights[name], one.weights[name])
    plan = ProbePlan(rates=(0.01,), steps=4, batch_size=8, spec_augment=True)
    found = predict(Symbols(), build, one.weights, states, plan)
    module = Probe(K, build())
    module.load_state_dict(one.weights)
    batch, lengths = states.batch([0])
    assert found[0] == Symbols().decode(module.eval()(batch, lengths), lengths)[0]

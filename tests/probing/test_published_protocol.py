"""`protocol: s3prl` against the same states computed as S3PRL's featurizer does."""

from __future__ import annotations

import pytest
import torch
from evaluate_fixture import CONFIG
from lhotse import MonoCut, SupervisionSegment
from torch import nn

from speechft.core.settings import parse_settings
from speechft.encoders import build_encoder
from speechft.heads.linear import FrameLinear
from speechft.hidden.dataset_states import HiddenStore, Request
from speechft.hidden.states import FrameStates, PooledStates, SplitStates
from speechft.probing import cells
from speechft.probing import probe as probe_module
from speechft.probing.probe import ProbePlan, Split, probe
from speechft.probing.protocol import plan_for, protocol_of
from speechft.probing.s3prl import RoundedFrames
from speechft.probing.settings import EvaluateSettings
from speechft.tasks import TASKS

# By the remainder of 320: below 80 and above 160 S3PRL asks for one frame more than there is.
SAMPLES = [320 * 20 + 40, 320 * 31 + 100, 320 * 25 + 200, 320 * 31 + 300, 320 * 22 + 161]


class Source:
    def __init__(self, encoder, waves):
        self.features = [encoder.front_end(w[None], torch.tensor([len(w)]))[0][0] for w in waves]
        self.durations = [len(w) / 16000 for w in waves]
        self.keys = [str(i) for i in range(len(waves))]

    def load(self, indices):
        return [self.features[i] for i in indices]

    def expect(self, indices):
        pass

    def name(self, index):
        return str(index)


def cut_of(name, samples):
    seconds = samples / 16000
    return MonoCut(name, 0.0, seconds, 0, supervisions=[SupervisionSegment(name, name, 0, seconds)])


@pytest.fixture
def made(tiny_encoder):
    encoder = tiny_encoder.eval()
    torch.manual_seed(0)
    waves = [torch.randn(n) * 0.1 for n in SAMPLES]
    with torch.no_grad():
        source = Source(encoder, waves)
        items = list(range(len(waves)))

        def open_(encoder, requests, name):
            return HiddenStore(batch_seconds=1.0).open(encoder, source, requests, name)

        states = protocol_of("s3prl").open_states(
            open_, encoder, {"x": Request(items, True)}, {"x"}, "hash"
        )["x"]
    cuts = [cut_of(str(i), n) for i, n in enumerate(SAMPLES)]
    return encoder, source, cuts, states


def featurizer(encoder, source, items):
    """S3PRL: one padded batch, every utterance sliced to round(samples / 320)."""
    lengths = torch.tensor([len(source.features[i]) for i in items])
    padded = nn.utils.rnn.pad_sequence([source.features[i] for i in items], batch_first=True)
    with torch.no_grad():
        states = torch.stack(encoder.from_front_end(padded, lengths).hidden_states)
    wanted = [round(SAMPLES[i] / 320) for i in items]
    return [states[:, row, :n] for row, n in enumerate(wanted)]


@pytest.mark.parametrize("items", [[0, 1, 2, 3, 4], [2, 0], [4], [3, 1]])
def test_frames_and_means_are_those_of_s3prls_featurizer(made, items):
    encoder, source, cuts, states = made
    pr, sid = (TASKS[name] for name in ("pr", "sid"))
    one = pr.from_cuts([cut_with(phonemes=["AH0"])], "s3prl")
    expected = featurizer(encoder, source, items)
    view = protocol_of("s3prl").view(one, cuts, states, alone=False)
    frames, lengths = view.batch(items)
    assert lengths.tolist() == [e.shape[1] for e in expected]
    for row, wanted in enumerate(expected):
        torch.testing.assert_close(frames[:, row, : wanted.shape[1]], wanted, rtol=1e-4, atol=1e-4)
        assert not frames[:, row, wanted.shape[1] :].any()
    two = sid.from_cuts([cut_with("a", speaker="a"), cut_with("b", speaker="b")], "s3prl")
    means, nothing = protocol_of("s3prl").view(two, cuts, states, alone=False).batch(items)
    assert nothing is None
    expected_means = torch.stack([e.mean(dim=1) for e in expected], dim=1)
    torch.testing.assert_close(means, expected_means, rtol=1e-4, atol=1e-4)
    # control: exact frames are others wherever a padding frame came in
    exact, _ = protocol_of("s3prl").view(two, cuts, states, alone=True).batch(items)
    lengths = [len(source.features[i]) for i in items]
    padded = [e.shape[1] > n for e, n in zip(expected, lengths, strict=True)]
    moved = (exact - means).abs().amax(dim=(0, 2)) > 1e-4
    assert moved.tolist() == padded
    assert any(padded) == (len(items) > 1 and items != [3, 1])


def cut_with(name="a", speaker=None, **custom):
    own = SupervisionSegment(name, name, 0.0, 1.0, speaker=speaker, custom=custom)
    return MonoCut(name, 0.0, 1.0, 0, supervisions=[own])


def test_alone_there_is_no_padding_frame(made):
    encoder, source, cuts, states = made
    task = TASKS["pr"].from_cuts([cut_with(phonemes=["AH0"])], "s3prl")
    view = protocol_of("s3prl").view(task, cuts, states, alone=True)
    frames, lengths = view.batch([0, 1])
    assert lengths.tolist() == [len(source.features[i]) for i in (0, 1)]
    (expected,) = featurizer(encoder, source, [0])
    torch.testing.assert_close(frames[:, 0, : lengths[0]], expected, rtol=1e-4, atol=1e-4)


def test_diarization_matches_frames_to_labels(made):
    _, source, cuts, states = made
    turns = [SupervisionSegment(s, "m", 0.0, 0.3, speaker=s) for s in "ab"]
    task = TASKS["sd"].from_cuts([MonoCut("m", 0.0, 1.0, 0, supervisions=turns)], "s3prl")
    for alone in (False, True):
        frames, lengths = (
            protocol_of("s3prl").view(task, cuts, states, alone=alone).batch([0, 1, 2])
        )
        assert lengths.tolist() == [n // 320 for n in SAMPLES[:3]] == [20, 31, 25]
        assert [len(source.features[i]) for i in (0, 1, 2)] == [19, 31, 25]
        repeated = torch.equal(frames[:, 0, 19], frames[:, 0, 18])
        assert repeated is alone  # in a batch it is the padding frame instead


PUBLISHED = [task for task, kind in TASKS.items() if kind.published]


def settings(**values):
    base = {"encoders": ("x",), "data": "x", "out": "x", "tasks": tuple(sorted(PUBLISHED))}
    return parse_settings(EvaluateSettings, {**base, **values}, where="test")


def test_plans_of_both_protocols():
    clean = {t: plan_for(t, settings(head_size="superb")) for t in PUBLISHED}
    quirks = {t: plan_for(t, settings(head_size="superb", protocol="s3prl")) for t in PUBLISHED}
    assert set(PUBLISHED) == {t for t in TASKS if TASKS[t].trains} - {"pc"}
    for task in PUBLISHED:
        one, other = clean[task], quirks[task]
        assert one.steps == other.steps
        assert one.batch_size == other.batch_size * other.accumulate
        assert one.checks == 10
        assert one.scheme == ("balanced" if task == "ks" else "bucketed")
        assert other.spec_augment == one.spec_augment == (task in ("asr", "sf"))
        assert other.clip == one.clip == (1000.0 if task == "asv" else 1.0)
        assert other.weight_decay == (0.01 if task == "asv" else 0.0)
    assert quirks["asr"].scheme == "blocks"
    assert quirks["pr"].scheme == quirks["sf"].scheme == "window"
    assert {t: p.checks for t, p in quirks.items()} == {
        "pr": 100, "asr": 100, "sf": 100, "ks": 40, "sid": 40, "ic": 40, "sd": 60, "er": 30,
        "asv": 10,
    }  # fmt: skip
    assert {t for t, p in quirks.items() if not p.eval_sorted} == {"ks", "ic", "er"}
    own = plan_for("pr", settings(protocol="s3prl", checks=7, batch_size=3))
    assert (own.checks, own.batch_size, own.accumulate) == (7, 3, 2)
    assert not plan_for("asr", settings()).spec_augment  # too much for heads of size mini


def test_an_update_over_several_batches_is_one_over_all_of_them():
    torch.manual_seed(0)
    lengths = [6] * 8
    frames = FrameStates(torch.randn(2, 48, 5).split(lengths, dim=1))
    targets = [torch.tensor([i % 3]) for i in range(8)]

    class Task:
        metrics = ("x",)

        def loss(self, logits, lengths, targets):
            return nn.functional.cross_entropy(logits.mean(1), torch.cat(targets))

        def decode(self, logits, lengths):
            return [0] * len(logits)

        def choose(self, predictions, references):
            return {"acc": 0.0}

    split = Split(frames, targets, [0] * 8)
    results = []
    for size, accumulate in ((8, 1), (2, 4)):
        plan = ProbePlan((0.1, 0.01), 5, size, checks=1, scheme="shuffled", accumulate=accumulate)
        results.append(probe(Task(), lambda: FrameLinear(5, 3, 4), split, split, plan, seed=0))
    for name, weight in results[0].weights.items():
        torch.testing.assert_close(weight, results[1].weights[name], rtol=1e-4, atol=1e-5)


def test_weight_decay_is_adamws():
    torch.manual_seed(0)
    module = probe_module.Probe(2, FrameLinear(5, 3, 4))
    stack = probe_module.ProbeStack(module, [0.1, 0.01], 1000.0, 0.01)
    x, lengths = torch.randn(2, 4, 6, 5), torch.tensor([6] * 4)
    copies = []
    for rate in (0.1, 0.01):
        copy = probe_module.Probe(2, FrameLinear(5, 3, 4))
        copy.load_state_dict(module.state_dict())
        optimiser = torch.optim.AdamW(copy.parameters(), lr=rate, weight_decay=0.01)
        for _ in range(5):
            optimiser.zero_grad()
            copy(x, lengths).square().mean().backward()
            optimiser.step()
        copies.append(copy.state_dict())
    for _ in range(5):
        losses = [row.square().mean() for row in stack.logits(x, lengths)]
        stack.add_gradients(torch.stack(losses))
        stack.step()
    for i, expected in enumerate(copies):
        for name, weight in stack.weights(i).items():
            torch.testing.assert_close(weight, expected[name], rtol=1e-4, atol=1e-5)


def test_dev_of_keyword_spotting_is_a_balanced_draw_in_s3prl_only():
    cuts = [cut_with(f"c{i}", label=("yes" if i < 18 else "no")) for i in range(20)]
    states = SplitStates(PooledStates(torch.zeros(2, 20, 8), [50] * 20), None)
    for protocol, size in (("clean", None), ("s3prl", 20)):
        task = TASKS["ks"].from_cuts(cuts, protocol)
        plan = ProbePlan((0.1,), 1, 2)
        splits = {r: cells.split_of(task, cuts, states, plan, r) for r in ("train", "dev", "test")}
        draws = splits["dev"].draws
        assert (None if draws is None else len(draws)) == size
        assert splits["train"].draws is None
        assert splits["test"].draws is None
        if draws is not None:
            assert 5 <= sum(i >= 18 for i in draws) <= 15  # two of twenty utterances
            assert draws == cells.split_of(task, cuts, states, plan, "dev").draws


@pytest.mark.parametrize(("layout", "wanted"), [("group", False), ("layer", True)])
def test_normalisation_is_as_in_s3prls_own_files(layout, wanted, tmp_path):
    """A Hub HuBERT Base says `do_normalize: true`; S3PRL's file of it does not normalise."""
    encoder = build_encoder({**CONFIG, "feat_extract_norm": layout}, seed=0)
    encoder.preprocessor |= {"do_normalize": not wanted}
    quiet = [0.01 * torch.randn(4000) + 0.02]
    before, clean_id = encoder(quiet).hidden_states[-1], encoder.content_id()
    protocol_of("clean").prepare(encoder)
    assert encoder.content_id() == clean_id
    protocol_of("s3prl").prepare(encoder)
    assert encoder.normalize is wanted
    assert encoder.content_id() != clean_id  # another result, never taken for the other's
    after = encoder(quiet).hidden_states[-1]
    assert (after - before).abs().max() > 0.1 * before.std()
    # What fairseq's own file says is followed.
    encoder.preprocessor = {"do_normalize": not wanted, "normalize_eps": 1e-5}
    protocol_of("s3prl").prepare(encoder)
    assert encoder.normalize is not wanted


def test_frames_that_are_kept_are_searched_where_they_lie():
    """Every hidden state of all documents was copied into memory, tens of GB of QUESST 2014."""
    kept = [torch.randn(3, n, 4) for n in (6, 9, 7)]  # with a padding frame each
    wanted = [6, 8, 5]
    states = RoundedFrames(FrameStates(kept), wanted, alone=True, repeat=False)
    views = states.views()
    assert views is not None
    for i, own in enumerate(views):
        frames, lengths = states.batch([i])
        assert torch.equal(frames[:, 0], own)
        assert lengths.tolist() == [own.shape[1]]
        assert own.untyped_storage().data_ptr() == kept[i].untyped_storage().data_ptr()
    for alone, repeat in ((False, False), (True, True)):
        other = RoundedFrames(FrameStates(kept), wanted, alone=alone, repeat=repeat)
        assert other.views() is None

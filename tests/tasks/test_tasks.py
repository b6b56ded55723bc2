from __future__ import annotations

import json

import pytest
import torch
from lhotse import MonoCut, SupervisionSegment

from speechft.core.errors import CheckpointError, DataError, MissingSplitError, SettingsError
from speechft.heads.linear import FrameLinear, PooledLinear
from speechft.heads.rnn import RecurrentCTC
from speechft.metrics.measures import DIRECTIONS
from speechft.tasks import TASKS, choose_splits, task_from_dict
from speechft.tasks.transcripts import normalise_text


def cut(name="u", *, text="hi there", speaker="s", **custom):
    segment = SupervisionSegment(name, name, 0.0, 1.0, text=text, speaker=speaker, custom=custom)
    return MonoCut(name, 0.0, 1.0, 0, supervisions=[segment])


TAGS = [["fly", "O"], ["to", "O"], ["new", "city"], ["york", "city"], ["noon", "time"]]


@pytest.fixture
def train():
    return [
        cut("a", speaker="s2", phonemes=["b", "a"], emotion="sad", intent="go", word_tags=TAGS),
        cut("b", speaker="s1", phonemes=["c"], emotion="happy", intent="stop", word_tags=TAGS[:2]),
    ]


def one_hot(rows, size):
    return torch.nn.functional.one_hot(torch.tensor(rows), size).float()


def test_registry_holds_superbs_ten_tasks_and_pc_with_known_metrics():
    assert set(TASKS) == {"pr", "asr", "ks", "qbe", "sid", "asv", "sd", "ic", "sf", "er", "pc"}
    for name, kind in TASKS.items():
        assert kind.id == name
        assert set(kind.metrics) <= set(DIRECTIONS)
    with pytest.raises(SettingsError, match="did you mean"):
        TASKS["sidd"]


@pytest.mark.parametrize("name", ["pr", "asr", "sid", "er", "ic", "sf"])
def test_every_task_survives_saving_and_learns_one_batch(name, train):
    task = TASKS[name].from_cuts(train)
    again = task_from_dict(json.loads(json.dumps(task.to_dict())))
    assert again.to_dict() == task.to_dict()
    torch.manual_seed(0)
    head = task.build_head(8, purpose="probe", size="mini")
    x, lengths = torch.randn(2, 60, 8), torch.tensor([60, 50])
    targets = [again.target(c) for c in train]
    optimiser = torch.optim.Adam(head.parameters(), lr=0.02)
    for _ in range(60):
        loss = task.loss(head(x, lengths), lengths, targets)
        assert loss.dtype == torch.float32
        assert loss.shape == ()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    head.eval()
    predictions = task.decode(head(x, lengths), lengths)
    scores = task.score(predictions, [task.reference(c) for c in train])
    assert tuple(scores) == task.metrics
    if task.pooled:
        assert scores["acc"] == 100.0


def test_vocabulary_comes_from_training_only(train):
    task = TASKS["pr"].from_cuts(train)
    assert task.vocabulary == ["<blank>", "<unk>", "a", "b", "c"]
    assert task.target(cut(phonemes=["a", "zz"])).tolist() == [2, 1]
    assert task.reference(cut(phonemes="a zz")) == ["a", "zz"]  # the reference keeps it


def test_ctc_decoding_collapses_repeats_and_stops_at_the_length(train):
    task = TASKS["pr"].from_cuts(train)
    best = [[2, 2, 0, 2, 3, 1, 4, 4], [3, 3, 3, 0, 2, 2, 2, 2]]
    logits = one_hot(best, 5)
    assert task.decode(logits, torch.tensor([8, 4])) == [["a", "a", "b", "c"], ["b"]]
    assert task.decode(logits, None)[1] == ["b", "a"]


def test_ctc_loss_equals_the_definition_and_ignores_padding(train):
    task = TASKS["pr"].from_cuts(train)
    logits = torch.randn(2, 6, 5, dtype=torch.float16)
    lengths, targets = torch.tensor([2, 5]), [torch.tensor([2]), torch.tensor([3, 4])]
    p = logits[0].float().log_softmax(-1).exp()
    paths = p[0, 2] * p[1, 2] + p[0, 2] * p[1, 0] + p[0, 0] * p[1, 2]
    first = task.loss(logits[:1], lengths[:1], targets[:1])
    torch.testing.assert_close(first, -paths.log())
    noisy = logits.clone()
    noisy[0, 2:] = 9.0
    torch.testing.assert_close(
        task.loss(noisy, lengths, targets), task.loss(logits, lengths, targets)
    )


def test_targets_longer_than_their_frames_are_counted_and_not_nan(train):
    task = TASKS["pr"].from_cuts(train)
    targets = [torch.tensor([2, 2]), torch.tensor([2, 3])]
    assert task.unreachable([2, 2], targets) == 1  # a repeat needs a blank between
    assert task.unreachable([3, 1], targets) == 1
    logits = torch.randn(2, 2, 5, requires_grad=True)
    loss = task.loss(logits, torch.tensor([2, 2]), targets)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0].abs().sum() == 0
    assert logits.grad[1].abs().sum() > 0


def test_asr_text():
    task = TASKS["asr"].from_cuts([cut(text="It's  a co-op, née!")])
    assert task.reference(cut(text="It's  a co-op, née!")) == "IT'S A CO OP NÉE"
    assert "|" in task.vocabulary
    assert task.assemble(list("|A||B|")) == "A B"
    assert task.score(["A B"], ["A C"]) == {"wer": 50.0, "cer": pytest.approx(100 / 3)}
    assert normalise_text("Tab\there — ‘ok’ don’t") == "TAB HERE OK' DON'T"


def test_sf_marks_runs_of_equal_tags(train):
    task = TASKS["sf"].from_cuts(train)
    marked = "FLY TO B-city NEW YORK E-city B-time NOON E-time"
    assert task.reference(train[0]) == marked
    assert {"B-city", "E-city", "B-time", "E-time", " "} <= set(task.vocabulary)
    symbols = [task.vocabulary[i] for i in task.target(train[0]).tolist()]
    assert symbols == task.symbols(train[0])
    assert symbols[7:9] == ["B-city", "N"]
    assert task.assemble(symbols) == marked
    ends_with_slot = cut(word_tags=[["go", "O"], ["rome", "city"]])
    assert task.reference(ends_with_slot) == "GO B-city ROME E-city"
    perfect = task.score([marked], [marked])
    assert perfect == {"slot_type_f1": 100.0, "slot_value_cer": 0.0}


def test_classes_with_several_groups_need_all_right():
    cuts = [
        cut("a", intent={"object": "lamp", "action": "on"}),
        cut("b", intent={"action": "off", "object": "lamp"}),
        cut("c", intent={"action": "on", "object": "door"}),
    ]
    task = TASKS["ic"].from_cuts(cuts)
    assert task.groups == {"action": ["off", "on"], "object": ["door", "lamp"]}
    assert task.output_size == 4
    logits = torch.tensor([[0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0]])
    predictions = task.decode(logits, None)
    references = [task.reference(c) for c in cuts[:2]]
    assert predictions == [["on", "lamp"], ["off", "door"]]
    assert task.score(predictions, references) == {"acc": 50.0}
    expected = torch.nn.functional.cross_entropy(logits[:, :2], torch.tensor([1, 0]))
    expected += torch.nn.functional.cross_entropy(logits[:, 2:], torch.tensor([1, 1]))
    torch.testing.assert_close(
        task.loss(logits, None, [task.target(c) for c in cuts[:2]]), expected
    )


@pytest.mark.parametrize(
    ("name", "bad", "words"),
    [
        ("pr", cut("bad"), "phonemes"),
        ("asr", cut("bad", text=None), "transcript"),
        ("sid", cut("bad", speaker=None), "speaker"),
        ("er", cut("bad", intent="x"), "found: +intent, speaker, text"),
        ("ic", cut("bad"), "intent"),
        ("sf", cut("bad"), "slot tags"),
        ("sf", cut("bad", word_tags=[["fly"]]), "slot"),
        ("er", cut("bad", emotion="bored"), "does not occur in the training split"),
    ],
)
def test_unusable_cut_is_named(name, bad, words, train):
    with pytest.raises(DataError, match=words) as caught:
        TASKS[name].from_cuts(train).target(bad)
    assert "cut bad" in str(caught.value)


def test_empty_and_single_class_training_are_refused(train):
    with pytest.raises(DataError, match="empty"):
        TASKS["asr"].from_cuts([])
    with pytest.raises(DataError, match="two classes"):
        TASKS["er"].from_cuts(train[:1])
    with pytest.raises(CheckpointError):
        task_from_dict({})


def test_head_widths():
    sizes = {"superb": (1024, 1024, 2), "mini": (128, 128, 1)}
    task = TASKS["asr"].from_cuts([cut()])
    for size, (projection, hidden, layers) in sizes.items():
        head = task.build_head(16, purpose="probe", size=size)
        assert isinstance(head, RecurrentCTC)
        assert head.projection.out_features == projection
        assert head.layers[0].forwards.hidden_size == hidden
        assert len(head.layers) == layers
    tuned = task.build_head(16, purpose="finetune", size="superb")
    assert (
        tuned.projection.out_features,
        tuned.layers[0].forwards.hidden_size,
        len(tuned.layers),
    ) == (
        256,
        256,
        3,
    )
    pr = TASKS["pr"].from_cuts([cut(phonemes=["a"])])
    assert isinstance(pr.build_head(16, purpose="finetune", size="superb"), FrameLinear)
    sid = TASKS["sid"].from_cuts([cut(speaker="a"), cut(speaker="b")])
    assert isinstance(sid.build_head(16, purpose="finetune", size="mini"), PooledLinear)


def test_splits():
    both = ["train", "dev", "test", "sid_train", "sid_dev", "sid_test"]
    assert choose_splits(TASKS["sid"], both) == ("sid_train", "sid_dev", "sid_test")
    assert choose_splits(TASKS["sid"], both[:3]) == ("train", "dev", "test")
    assert choose_splits(TASKS["pr"], both) == ("train", "dev", "test")
    with pytest.raises(MissingSplitError, match="lacks the split 'dev'"):
        choose_splits(TASKS["pr"], ["train", "test"])

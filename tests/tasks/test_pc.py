"""PC: frame labels by hand, the loss over frames, accuracy, TIMIT."""

from __future__ import annotations

import json
import math

import pytest
import torch
from lhotse import MonoCut, SupervisionSegment
from lhotse.supervision import AlignmentItem

from speechft.core.errors import CheckpointError, DataError
from speechft.data.load import load_data
from speechft.tasks import TASKS, task_from_dict


def cut(name, seconds, *phones):
    items = [AlignmentItem(symbol, start, length) for symbol, start, length in phones]
    own = SupervisionSegment(name, name, 0.0, seconds, alignment={"phone": items})
    return MonoCut(name, 0.0, seconds, 0, supervisions=[own])


# Centres lie at 0.0125 s, 0.0325 s, 0.0525 s, …; 0.2 s are 3200 samples, 10 hops.
SPOKEN = cut("a", 0.2, ("b", 0.03, 0.03), ("a", 0.06, 0.06), ("b", 0.1325, 0.02))
BY_HAND = ["sil", "b", "b", "a", "a", "a", "b", "sil", "sil", "sil"]


@pytest.fixture
def task():
    return TASKS["pc"].from_cuts([SPOKEN])


def test_a_frame_is_labelled_by_the_phoneme_at_its_centre(task):
    assert task.classes == ["a", "b", "sil"]
    assert task.reference(SPOKEN) == BY_HAND
    assert task.target(SPOKEN).tolist() == [2, 1, 1, 0, 0, 0, 1, 2, 2, 2]


def test_frames_of_an_unknown_phoneme_do_not_train(task):
    other = cut("c", 0.08, ("zz", 0.03, 0.02))
    assert task.reference(other) == ["sil", "zz", "sil", "sil"]
    assert task.target(other).tolist() == [2, -100, 2, 2]


def test_silence_has_the_corpus_own_name():
    timit = TASKS["pc"].from_cuts([cut("t", 0.1, ("sil", 0.0, 0.03), ("a", 0.03, 0.05))])
    assert timit.classes == ["a", "sil"]
    arpabet = TASKS["pc"].from_cuts([cut("s", 0.1, ("SIL", 0.0, 0.03), ("AA", 0.05, 0.02))])
    assert arpabet.classes == ["AA", "SIL"]
    assert arpabet.reference(cut("e", 0.06, ("AA", 0.03, 0.02))) == ["SIL", "AA", "SIL"]


def test_loss_is_the_mean_over_frames_not_over_utterances(task):
    logits = torch.zeros(2, 10, 3)
    logits[0, :, 2] = 1.0
    short = torch.tensor([2, 2])
    chance, right, wrong = math.log(3), math.log(1 + 2 / math.e), math.log(math.e + 2)
    expected = (4 * right + 6 * wrong + 2 * chance) / 12
    lengths, targets = torch.tensor([10, 2]), [task.target(SPOKEN), short]
    found = task.loss(logits, lengths, targets)
    assert float(found) == pytest.approx(expected, rel=1e-6)
    logits[1, 2:] = torch.randn(8, 3)
    assert float(task.loss(logits, lengths, targets)) == pytest.approx(expected, rel=1e-6)
    assert task.loss(logits.half(), lengths, targets).dtype == torch.float32


def test_an_encoder_may_have_a_frame_less_but_not_another_rate(task):
    target = task.target(SPOKEN)
    assert torch.isfinite(task.loss(torch.zeros(1, 9, 3), torch.tensor([9]), [target]))
    with pytest.raises(DataError, match="frames of 320 samples") as caught:
        task.loss(torch.zeros(1, 5, 3), torch.tensor([5]), [target])
    assert "about 10 frames" in str(caught.value)


def test_frame_accuracy_counts_frames(task):
    logits = torch.nn.functional.one_hot(task.target(SPOKEN), 3).float()[None, :9]
    predictions = task.decode(logits, torch.tensor([9]))
    assert predictions == [BY_HAND[:9]]
    assert task.score(predictions, [BY_HAND]) == {"frame_acc": 100.0}
    flat = [["sil"] * 10, ["b"] * 2]
    assert task.score(flat, [BY_HAND, ["b", "zz"]]) == {"frame_acc": pytest.approx(100 * 5 / 12)}
    with pytest.raises(DataError):
        task.score([], [])


def test_survives_saving(task):
    again = task_from_dict(json.loads(json.dumps(task.to_dict())))
    assert again.classes == task.classes
    assert again.target(SPOKEN).tolist() == task.target(SPOKEN).tolist()
    with pytest.raises(CheckpointError):
        task_from_dict({"task": "pc"})


def test_a_cut_without_times_is_named(task):
    own = SupervisionSegment("x", "x", 0.0, 1.0, custom={"phonemes": ["a"]})
    with pytest.raises(DataError, match="times of the phonemes") as caught:
        task.target(MonoCut("x", 0.0, 1.0, 0, supervisions=[own]))
    assert "cut x" in str(caught.value)


def test_timit_is_data_for_it(corpus_tree):
    data = load_data(f"timit:{corpus_tree('timit')}")
    (_, train), _, (_, test) = TASKS["pc"].arrange(data)
    task = TASKS["pc"].from_cuts(train)
    assert task.silence == "sil"
    assert 10 < task.output_size <= 39
    labels = task.reference(test[0])
    assert labels[0] == labels[-1] == "sil"  # h# at both ends
    assert abs(len(labels) - test[0].duration * 50) <= 1


def test_synthetic_frames_agree_with_the_phonemes_in_order(synthetic_splits):
    cuts = list(synthetic_splits["train"])
    task = TASKS["pc"].from_cuts(cuts)
    for one in cuts:
        labels = task.reference(one)
        order = [a for a, b in zip(labels, [None, *labels], strict=False) if a != b and a != "sil"]
        phonemes = one.supervisions[0].custom["phonemes"]
        # phonemes shorter than a frame may be missed, nothing may be added or swapped
        rest = iter(phonemes)
        assert all(symbol in rest for symbol in order)
        assert len(order) > 0.8 * len(phonemes)

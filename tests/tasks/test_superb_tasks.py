from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from lhotse import MonoCut, SupervisionSegment
from torch.nn import functional

from speechft.core.errors import DataError, SettingsError
from speechft.data.cuts import effects_of, heard_samples
from speechft.tasks import TASKS, speaker_trials
from speechft.tasks.dtw import normalise, search, z_norm
from speechft.tasks.pr import ARPABET
from speechft.tasks.speaker_trials import am_softmax, trials_of, with_drawn_trials
from speechft.tasks.speaker_turns import (
    best_order,
    chunks,
    decide,
    frame_labels,
    permutation_free,
    turns_of,
)


def cut(name, seconds=1.0, text=None, speaker=None, **custom):
    own = SupervisionSegment(name, name, 0.0, seconds, text=text, speaker=speaker, custom=custom)
    return MonoCut(name, 0.0, seconds, 0, supervisions=[own])


def mixture(name, seconds, *turns):
    own = [
        SupervisionSegment(f"{name}-{i}", name, begin, end - begin, speaker=speaker)
        for i, (speaker, begin, end) in enumerate(turns)
    ]
    return MonoCut(name, 0.0, seconds, 0, supervisions=own)


# losses


def test_am_softmax_by_hand():
    cosines = torch.tensor([[0.5, 0.1]])
    right, wrong = math.exp(30 * (0.5 - 0.4)), math.exp(30 * 0.1)
    expected = -math.log(right / (right + wrong))
    assert float(am_softmax(cosines, torch.tensor([0]))) == pytest.approx(expected, rel=1e-5)


def test_permutation_free_loss_by_hand():
    logits = torch.tensor([[[2.0, -2.0], [2.0, -2.0], [0.0, 9.0]], [[0.0, 0.0]] * 3])
    labels = [torch.tensor([[0, 1], [0, 1], [1, 1]]), torch.tensor([[1, 0], [1, 0], [1, 0]])]
    # the first recording fits swapped; of both, two and three frames count
    first = 2 * math.log(1 + math.exp(-2.0))
    expected = (first + 3 * math.log(2)) / 5
    assert float(permutation_free(logits, [2, 3], labels)) == pytest.approx(expected, rel=1e-5)


# QbE: DTW


def plain_cost(query, document):
    """Asymmetric DTW with open begin and end, cell by cell."""

    def unit(x):
        return x / np.linalg.norm(x)

    distance = np.array([[math.exp(1 - unit(q) @ unit(d)) - 1 for d in document] for q in query])
    low, high = distance.min(1, keepdims=True), distance.max(1, keepdims=True)
    distance = (distance - low) / np.maximum(high - low, 1e-9)
    cost = np.full(distance.shape, np.inf)
    for i in range(len(query)):
        for j in range(len(document)):
            before = [cost[i - 1, j - k] for k in range(3) if j >= k] if i else [0.0]
            cost[i, j] = min(before) + distance[i, j]
    return cost[-1].min() / len(query)


DTW_PYTHON = [[0.0, 0.068417, 0.084517], [0.140814, 0.052703, 0.052689]]


def test_search_equals_plain_dtw_whatever_else_is_searched():
    random = np.random.default_rng(0)
    queries = [random.normal(size=(n, 4)).astype(np.float32) for n in (6, 9)]
    documents = [random.normal(size=(n, 4)).astype(np.float32) for n in (5, 30, 12)]
    found = search([torch.from_numpy(q) for q in queries], [torch.from_numpy(d) for d in documents])
    expected = [[-plain_cost(q, d) for d in documents] for q in queries]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)
    # dtw-python 1.9.0, dtw(x=…, step_pattern="asymmetric", open_begin=True, open_end=True)
    np.testing.assert_allclose(-found.numpy(), DTW_PYTHON, rtol=1e-4, atol=1e-5)


def test_a_query_is_found_where_it_is_said_at_another_speed():
    random = np.random.default_rng(1)
    query = torch.from_numpy(random.normal(size=(8, 6)).astype(np.float32))
    slow, fast = query.repeat_interleave(2, dim=0)[:15], query[::2]
    noise = torch.from_numpy(random.normal(size=(20, 6)).astype(np.float32))
    documents = [torch.cat([noise, query, noise]), torch.cat([noise, noise]),
                 torch.cat([noise, slow, noise])]  # fmt: skip
    scores = search([query, query[:4]], documents)
    assert scores[0, 0] == pytest.approx(0.0, abs=1e-5)
    assert scores[0, 1] < scores[0, 2] < 1e-5
    assert scores[0, 2] > -0.15  # two document frames per query frame
    assert scores[1].tolist() == [0.0, 0.0, 0.0]  # under five frames nothing is searched
    assert len(fast) == 4
    normal = z_norm(scores)
    assert normal[0].mean() == pytest.approx(0.0, abs=1e-6)
    assert normal[0].std(correction=0) == pytest.approx(1.0, abs=1e-5)
    assert normal[1].tolist() == [0.0, 0.0, 0.0]


def test_frames_are_normalised_over_queries_and_documents_together():
    one, two = torch.randn(5, 3) + 4, torch.randn(7, 3) * 2
    (left,), (right,) = normalise([[one], [two]])
    both = torch.cat([one, two])
    expected = (both - both.mean(0)) / both.std(0)
    torch.testing.assert_close(torch.cat([left, right]), expected, rtol=1e-4, atol=1e-5)


def test_qbe_task():
    documents = [cut("d1"), cut("d2"), cut("d3")]
    queries = [cut("q1", matches=["d2"]), cut("q2", matches=[])]
    data = {"docs": documents, "dev_queries": queries, "eval_queries": queries}
    arranged = TASKS["qbe"].arrange(data)
    assert [name for name, _ in arranged] == ["docs@qbe", "dev_queries@qbe", "eval_queries@qbe"]
    assert effects_of(arranged[0][1][0]) == ["gain:-3"]
    task = TASKS["qbe"].from_cuts(documents)
    references = [task.reference(query) for query in queries]
    answers = [np.array([0.0, 3.0, 1.0]), np.array([0.0, 0.0, 0.0])]
    assert task.score(answers, references) == {"mtwv": pytest.approx(100.0)}
    assert task.rows(queries, references, answers)[0]["prediction"] == [["d2", 3.0]]
    listed = [
        cut("q1", matches=["d2"], listed=[4, 10, 2]),
        cut("q2", matches=[], listed=[4, 10, 0]),
    ]
    both = task.score(answers, [task.reference(query) for query in listed])
    assert both == {"mtwv": pytest.approx(12.5), "mtwv_language": pytest.approx(100.0)}
    with pytest.raises(SettingsError, match="trains no head"):
        task.build_head(4, purpose="probe", size="mini")
    with pytest.raises(DataError, match="not there"):
        task.reference(cut("q", matches=["d9"]))
    with pytest.raises(DataError, match="matches"):
        task.reference(cut("q"))


# KS, SID: crops


def keywords():
    words = [cut(f"w{i}", label=("yes", "no", "_unknown_")[i % 3]) for i in range(6)]
    return [*words, cut("noise", 60.0, label="_silence_")]


def test_ks_cuts_background_noise_into_fixed_seconds():
    data = {"train": keywords(), "dev": keywords(), "test": keywords()[:6]}
    (name, train), (_, dev), (_, test) = TASKS["ks"].arrange(data)
    noise = [c for c in train if c.id.startswith("noise")]
    assert name == "train@ks"
    assert (len(train), len(noise), len(dev), len(test)) == (106, 100, 16, 6)
    assert len({c.id for c in noise}) == len({c.start for c in noise}) == 100
    assert all(0 <= c.start <= 59 and heard_samples(c) == 16000 for c in noise)
    assert all(effects_of(c) == ["gain:-3"] for c in [*train, *dev, *test])
    assert {c.start for c in noise}.isdisjoint(c.start for c in dev if c.id.startswith("noise"))
    again = TASKS["ks"].arrange(data)[0][1]
    assert [c.start for c in again] == [c.start for c in train]
    task = TASKS["ks"].from_cuts(train)
    assert task.groups == {"keyword": ["_silence_", "_unknown_", "no", "yes"]}
    assert task.scheme == "balanced"
    assert not task.balanced_dev
    assert TASKS["ks"].from_cuts(train, "s3prl").balanced_dev


def test_sid_crops_long_training_utterances_once():
    data = {
        s: [cut(f"{s}{n}", n, speaker="a") for n in (3.0, 20.0)] for s in ("train", "dev", "test")
    }
    (name, train), (dev_name, dev), _ = TASKS["sid"].arrange(data)
    assert (name, dev_name) == ("train@sid", "dev")
    assert train[0] is data["train"][0]
    assert heard_samples(train[1]) == 128_000
    assert 0 < train[1].start <= 12
    assert dev == data["dev"]
    short = {s: data[s][:1] for s in data}
    assert TASKS["sid"].arrange(short)[0][0] == "train"


def test_er_takes_all_folds_where_there_are_some():
    plain = {s: [cut(s, emotion="x")] for s in ("train", "dev", "test")}
    assert [n for n, _ in TASKS["er"].arrange(plain)] == ["train", "dev", "test"]
    folds = {f"fold{k}_{s}": plain[s] for k in (2, 1) for s in plain}
    names = [n for n, _ in TASKS["er"].arrange(plain | folds)]
    assert names == [f"fold{k}_{s}" for k in (1, 2) for s in ("train", "dev", "test")]


# ASV


def test_trials_are_balanced_distinct_and_the_same_each_time(monkeypatch):
    monkeypatch.setattr(speaker_trials, "PAIRS", 30)
    cuts = [cut(f"u{i:02d}", speaker=f"s{i % 4}") for i in range(20)]
    drawn = with_drawn_trials(cuts)
    pairs = list(trials_of({"id": c.id, "trials": c.supervisions[0].custom.get("trials", [])}
                           for c in drawn))  # fmt: skip
    assert len(pairs) == len({(a, b) for a, b, _ in pairs}) == 30
    assert sum(label for _, _, label in pairs) == 15
    speaker = {c.id: c.supervisions[0].speaker for c in cuts}
    assert all((speaker[a] == speaker[b]) == bool(label) for a, b, label in pairs)
    again = with_drawn_trials(cuts[::-1])
    assert [c.to_dict() for c in again] == [c.to_dict() for c in drawn]
    with pytest.raises(DataError, match="pairs"):
        with_drawn_trials(cuts[:4])


def test_asv_does_not_fall_back_on_the_splits_of_identification():
    splits = {name: [cut("a", speaker="x")] for name in ("train", "dev", "test", "asv_train")}
    with pytest.raises(DataError, match="asv_test"):
        TASKS["asv"].arrange(splits)


def test_asv_scores_trials_by_cosine():
    task = TASKS["asv"].from_cuts([cut("a", speaker="x"), cut("b", speaker="y")])
    references = [{"id": "1", "trials": [["2", 1], ["3", 0]]}, {"id": "2", "trials": [["3", 0]]},
                  {"id": "3", "trials": [["2", 1]]}]  # fmt: skip
    logits = torch.tensor([[2.0, 0.0], [1.0, 0.1], [0.0, 5.0]])
    found = task.decode(logits, None)
    assert all(float(v.norm()) == pytest.approx(1.0) for v in found)
    # targets 1-2 at 0.995 and 3-2 at 0.0995, others 1-3 at 0 and 2-3 at 0.0995: at that score one
    # target and one other meet, and half of each counts as wrong.
    assert task.score(found, references) == {
        "eer": pytest.approx(25.0),
        "min_dcf": pytest.approx(50.0),  # above 0.5: half of the targets missed, no false alarm
    }
    rows = task.rows([], references, found)
    assert [row["label"] for row in rows] == [1, 0, 0, 1]
    assert rows[0]["score"] == pytest.approx(1 / math.hypot(1, 0.1), abs=1e-5)
    assert task.target(cut("c", speaker="nobody")).tolist() == [-1]
    with pytest.raises(DataError, match="not in the split"):
        task.score(found[:2], references[:2])
    with pytest.raises(DataError, match="two speakers"):
        TASKS["asv"].from_cuts([cut("a", speaker="x")])


# SD


def test_frame_labels_and_turns():
    turns = [("b", 0.0, 0.05), ("a", 0.03, 0.1)]
    # 20 ms frames; ends are rounded, the half to the even number: 0.05 s is frame 2.5 -> 2
    assert frame_labels(turns, 6, 2).tolist() == [[0, 1], [0, 1], [1, 0], [1, 0], [1, 0], [0, 0]]
    assert frame_labels(turns, 3, 3).tolist() == [[0, 1, 0], [0, 1, 0], [1, 0, 0]]
    found = decide(np.array([[0.9, 0.2], [0.6, 0.8], [0.1, 0.8]], dtype=np.float32), 0.5, 1)
    assert found == [("0", 0.0, 0.04), ("1", 0.02, 0.06)]
    flicker = np.zeros((40, 1), dtype=np.float32)
    flicker[5:30], flicker[12], flicker[38] = 1.0, 0.0, 1.0
    assert decide(flicker, 0.5, 11) == [("0", pytest.approx(0.1), pytest.approx(0.6))]
    assert len(decide(flicker, 0.5, 1)) == 3


def test_long_recordings_are_cut_up_and_s3prl_loses_what_spans_a_chunk():
    long = mixture("m", 100.0, ("a", 10.0, 95.0), ("b", 41.0, 42.0))
    assert chunks(long, 6000, drop_spanning=False) == [long]
    parts = chunks(long, 2000, drop_spanning=False)
    assert [(c.start, c.duration) for c in parts] == [(0.0, 40.0), (40.0, 40.0), (80.0, 20.0)]
    assert [turns_of(c) for c in parts] == [
        [("a", 10.0, 40.0)], [("a", 0.0, 40.0), ("b", 1.0, 2.0)], [("a", 0.0, 15.0)],
    ]  # fmt: skip
    quirk = chunks(long, 2000, drop_spanning=True)
    assert [turns_of(c) for c in quirk][1] == [("b", 1.0, 2.0)]
    assert [turns_of(c) for c in quirk][2] == turns_of(parts[2])


def test_s3prl_hears_recordings_of_diarization_without_a_part_of_a_frame_at_the_end():
    cut = mixture("m", 2.013, ("a", 0.0, 2.013), ("b", 0.5, 1.0))
    heard = {
        (part, protocol): TASKS["sd"].heard(cut, part, protocol)[0].duration
        for part in ("train", "dev", "test")
        for protocol in ("clean", "s3prl")
    }
    short = {("train", "s3prl"): 2.0, ("dev", "s3prl"): 2.0}
    assert heard == dict.fromkeys(heard, 2.013) | short


def diarization():
    cuts = [mixture("m", 2.0, ("a", 0.0, 1.0), ("b", 0.5, 2.0))]
    labels = frame_labels(turns_of(cuts[0]), 100, 2).float().numpy()
    return cuts, labels


def test_sd_fixes_its_operating_point_on_dev_and_s3prl_takes_the_best_on_test():
    cuts, labels = diarization()
    swapped = labels[:, ::-1].copy()
    dev = [0.25 + 0.1 * swapped]  # right at 0.3 only, speakers swapped
    test = [0.45 + 0.1 * labels]  # right at 0.5 only
    tasks = {p: TASKS["sd"].from_cuts(cuts, p) for p in ("clean", "s3prl")}
    references = [tasks["clean"].reference(c) for c in cuts]
    for name, task in tasks.items():
        assert task.score(dev, references) == {"der": 0.0}
        chosen = task.choose(dev, references)
        assert next(iter(chosen)) == {"clean": "der", "s3prl": "frame_acc"}[name]
        task.tune(dev, references)
    clean = tasks["clean"].score(test, references)["der"]
    assert clean == pytest.approx(100 * (2 * 2.0 - 2.5) / 2.5)  # everybody speaks always
    assert tasks["s3prl"].score(test, references) == {"der": 0.0}
    assert tasks["clean"].frame_accuracy([labels], references) == pytest.approx(100.0)
    assert tasks["clean"].frame_accuracy([swapped], references) == pytest.approx(100.0)


def test_sd_refuses_data_without_segments_of_several_speakers():
    with pytest.raises(DataError, match="several speakers"):
        TASKS["sd"].from_cuts([cut("a", speaker="x")])


# protocol s3prl: vocabularies and targets


def test_published_vocabularies():
    words = [["go", "O"], ["&", "O"], ["rome", "city"], [",", "O"]]
    pr = TASKS["pr"].from_cuts([cut("a", phonemes=["AH0", "B"])], "s3prl")
    asr = TASKS["asr"].from_cuts([cut("a", text="a b")], "s3prl")
    sf = TASKS["sf"].from_cuts([cut("a", words_tags=words)], "s3prl")
    assert (len(ARPABET), pr.output_size, asr.output_size) == (71, 74, 32)
    assert sf.output_size == 31 + 2
    with_39 = sf.published_symbols({f"B-s{i}" for i in range(39)} | set("AB"))
    assert 2 + len(with_39) == 109

    def spelled(task, example):
        return [task.vocabulary[i] for i in task.target(example).tolist()]

    assert spelled(pr, cut("a", phonemes=["B", "AH0"])) == ["B", "AH0", "<eos>"]
    assert spelled(asr, cut("a", text="a b")) == ["A", "|", "B", "|", "</s>"]
    spoken = "".join(
        s if len(s) == 1 else f"<{s}>" for s in spelled(sf, cut("a", words_tags=words))
    )
    assert spoken == "GO AND <B-city>ROME<E-city> "  # the last word is a comma: no end
    assert spelled(sf, cut("a", words_tags=words[:1])) == ["G", "O", "<eos>"]
    clean = TASKS["pr"].from_cuts([cut("a", phonemes=["AH0", "B"])])
    assert spelled(clean, cut("a", phonemes=["B", "AH0"])) == ["B", "AH0"]
    with pytest.raises(DataError, match="ARPAbet"):
        TASKS["pr"].from_cuts([cut("a", phonemes=["ɑ"])], "s3prl")


S3PRL_SPELLS = [
    # words with tags, S3PRL's tokens (marks in angle brackets, ~ for the end)
    ([["r&b", "genre"]], "<B-genre>R?B<E-genre>~"),  # only a word of its own becomes AND
    ([["rome", "city"], [",", "city"]], "<B-city>ROME "),  # the end of the slot is at the comma
    ([["-", "city"], ["rome", "city"]], "ROME<E-city>~"),
    ([["go", "O"], [".", "O"], ["on", "O"]], "GO ON~"),
    ([["a", "x"], ["b", "x"], ["c", "y"]], "<B-x>A B<E-x> <B-y>C<E-y>~"),
]


@pytest.mark.parametrize(("words", "tokens"), S3PRL_SPELLS)
def test_slot_filling_spells_as_s3prl_does(words, tokens):
    known = [[w, t] for t in ("city", "genre", "x", "y") for w in ("a", "b")]
    task = TASKS["sf"].from_cuts([cut("a", words_tags=known)], "s3prl")
    example = cut("b", words_tags=words)
    spelled = [task.vocabulary[i] for i in task.target(example).tolist()]
    shown = {"<unk>": "?", "<eos>": "~"}
    assert "".join(s if len(s) == 1 else shown.get(s, f"<{s}>") for s in spelled) == tokens


def test_unknown_symbols_are_part_of_what_s3prl_compares():
    words = [["r&b", "genre"], ["now", "O"]]
    for protocol, expected in (
        ("s3prl", "B-genre R<unk>B E-genre"),
        ("clean", "B-genre RB E-genre"),
    ):
        task = TASKS["sf"].from_cuts([cut("a", words_tags=words)], protocol)
        assert task.reference(cut("a", words_tags=words)) == f"{expected} NOW"
        index = [task.vocabulary.index(s) for s in ("B-genre", "R", "<unk>", "B", "E-genre")]
        logits = torch.nn.functional.one_hot(torch.tensor([index]), task.output_size).float()
        assert task.decode(logits, torch.tensor([5])) == [expected]
    pr = TASKS["pr"].from_cuts([cut("a", phonemes=["AH0"])], "s3prl")
    assert pr.reference(cut("b", phonemes=["AH0", "?"])) == ["AH0", "<unk>"]


def test_ends_of_sentences_are_trained_but_never_predicted():
    task = TASKS["asr"].from_cuts([cut("a", text="a")], "s3prl")
    index = [task.vocabulary.index(s) for s in ("A", "|", "</s>")]
    logits = torch.nn.functional.one_hot(torch.tensor([index]), 32).float()
    assert task.decode(logits, torch.tensor([3])) == ["A"]


def test_frame_accuracy_takes_the_order_of_the_least_cross_entropy():
    task = TASKS["sd"](3)
    random = np.random.default_rng(0)
    turns = [(s, b / 10, b / 10 + 0.7) for s in "abc" for b in random.integers(0, 30, 3).tolist()]
    found = random.random((200, 3), dtype=np.float32)
    labels = frame_labels(turns, 200, 3)
    best, _ = best_order(torch.logit(torch.from_numpy(found)), labels.float())
    expected = 100 * float(((torch.from_numpy(found) > 0.5) == best.bool()).float().mean())
    assert task.frame_accuracy([found], [{"turns": turns, "frames": 200}]) == pytest.approx(
        expected
    )


def test_the_best_order_of_many_speakers_is_found_without_trying_all():
    """Eight speakers took 21 s and 3 GB: every order of them was tried."""
    torch.manual_seed(0)
    labels = (torch.rand(300, 4) > 0.7).float()
    logits = torch.randn(300, 4)
    tried = torch.stack(
        [
            functional.binary_cross_entropy_with_logits(logits, labels[:, order], reduction="sum")
            for order in map(list, permutations(range(4)))
        ]
    )
    assert torch.equal(best_order(logits, labels)[1], tried.min() / 4)
    many = (torch.rand(300, 20) > 0.7).float()
    order = torch.randperm(20)
    found, _ = best_order(4 * many[:, order] - 2, many)
    assert torch.equal(found, many[:, order])
    assert torch.isnan(best_order(logits * torch.nan, labels)[1])
    window = torch.randn(50, 20)
    task = TASKS["sd"](20)
    assert torch.equal(task.lined_up(window[:, order], window[:9], window[:9, order]), window)


def test_der_chooses_the_head_where_it_is_asked_for():
    """`select` counted for nothing under S3PRL's protocol."""
    found, truth = np.zeros((100, 2)), {"turns": [("a", 0.0, 1.0)], "frames": 100}
    for select, metric in (("", "frame_acc"), ("der", "der")):
        task = TASKS["sd"](2, "s3prl").selecting(select)
        assert list(task.choose([found], [truth])) == [metric]

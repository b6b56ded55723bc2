"""Keywords cut out of sentences: the right word, the right times, the right numbers."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from speechft.core.artifact import hash_values
from speechft.core.errors import DataError
from speechft.data.audio import load_waveform
from speechft.data.synthetic.keywords import MARGIN, SPLITS, keyword_splits, pronunciations

KEYWORDS = pronunciations()
WORDS = KEYWORDS | pronunciations("others")


@pytest.fixture(scope="module")
def spotted(synthetic_splits):
    return keyword_splits(synthetic_splits)


def sentences(splits):
    return {cut.id: cut for name in SPLITS for cut in splits[name]}


def label(cut):
    return cut.supervisions[0].custom["label"]


def is_word(cut):
    return "-word-" in cut.id


def phones_inside(cut, sentence):
    inside = [
        phone
        for phone in sentence.supervisions[0].alignment["phone"]
        if phone.start > cut.start - 1e-3 and phone.end < cut.end + 1e-3
    ]
    return inside


def test_a_word_is_heard_from_its_first_phoneme_to_its_last(spotted, synthetic_splits):
    whole = sentences(synthetic_splits)
    words = [cut for cuts in spotted.values() for cut in cuts if is_word(cut)]
    assert len(words) > 10
    for cut in words:
        sentence, word = whole[cut.recording.id], cut.supervisions[0].text
        assert word in sentence.supervisions[0].text.split()
        inside = phones_inside(cut, sentence)
        spoken = [phone.symbol for phone in inside]
        places = [i for v in WORDS[word] for i in range(len(spoken)) if spoken[i:][: len(v)] == v]
        assert len(places) == 1
        middle = next(v for v in WORDS[word] if spoken[places[0] :][: len(v)] == v)
        first, last = inside[places[0]], inside[places[0] + len(middle) - 1]
        assert cut.start == pytest.approx(max(0.0, first.start - MARGIN), abs=1e-4)
        assert cut.end == pytest.approx(min(sentence.duration, last.end + MARGIN), abs=1e-4)
        assert label(cut) == (word if word in KEYWORDS else "_unknown_")


def test_a_word_sounds_as_its_part_of_the_sentence(spotted, synthetic_splits):
    whole = sentences(synthetic_splits)
    for cut in spotted["ks_dev"]:
        first = round(cut.start * 16000)
        heard = load_waveform(cut)
        assert len(heard) == round(cut.duration * 16000)
        sentence = load_waveform(whole[cut.recording.id])
        assert torch.equal(heard, sentence[first : first + len(heard)])
        assert not torch.equal(heard, sentence[first + 1 :][: len(heard)])


def test_words_come_in_the_order_of_the_sentence(spotted, synthetic_splits):
    """A place found by mistake, inside another word, would break the order."""
    whole = sentences(synthetic_splits)
    several = 0
    for cuts in spotted.values():
        by_sentence = {}
        for cut in filter(is_word, cuts):
            by_sentence.setdefault(cut.recording.id, []).append(cut)
        for name, items in by_sentence.items():
            found = [c.supervisions[0].text for c in sorted(items, key=lambda c: c.start)]
            rest = iter(whole[name].supervisions[0].text.split())
            assert all(word in rest for word in found)
            several += len(found) > 1
    assert several > 2


def test_silence_holds_no_phoneme_and_is_less_loud(spotted, synthetic_splits):
    whole = sentences(synthetic_splits)
    pauses = [c for cuts in spotted.values() for c in cuts if label(c) == "_silence_"]
    assert pauses
    for cut in pauses:
        sentence = whole[cut.recording.id]
        assert not phones_inside(cut, sentence)
        assert load_waveform(cut).std() < load_waveform(sentence).std()


def test_other_words_and_pauses_are_as_many_as_a_keyword_on_average(spotted):
    counts = Counter(label(cut) for cut in spotted["ks_train"])
    keywords = [n for name, n in counts.items() if name in KEYWORDS]
    assert (
        counts["_unknown_"] == counts["_silence_"] == max(1, round(sum(keywords) / len(keywords)))
    )
    every = Counter(
        word for cut in spotted["ks_train"] if (word := cut.supervisions[0].text) in KEYWORDS
    )
    assert every == {name: n for name, n in counts.items() if name in KEYWORDS}


def test_every_keyword_of_the_sentences_is_found(spotted, synthetic_splits):
    said = Counter(
        word
        for cut in synthetic_splits["train"]
        for word in cut.supervisions[0].text.split()
        if word in KEYWORDS
    )
    found = Counter(label(cut) for cut in spotted["ks_train"] if label(cut) in KEYWORDS)
    assert found == said


def test_splits_share_no_speaker_and_no_class_beyond_training(spotted):
    speakers = [{cut.supervisions[0].speaker for cut in cuts} for cuts in spotted.values()]
    assert not speakers[0] & speakers[1]
    assert not speakers[0] & speakers[2]
    assert not speakers[1] & speakers[2]
    known = {label(cut) for cut in spotted["ks_train"]}
    assert {label(cut) for cuts in spotted.values() for cut in cuts} <= known


def test_the_same_each_time_and_the_sentences_stay_as_they_were(spotted, synthetic_splits):
    before = hash_values([cut.to_dict() for cut in sentences(synthetic_splits).values()])
    again = keyword_splits(synthetic_splits)
    for name, cuts in spotted.items():
        assert [cut.to_dict() for cut in again[name]] == [cut.to_dict() for cut in cuts]
        assert len({cut.id for cut in cuts}) == len(cuts)
    assert hash_values([cut.to_dict() for cut in sentences(synthetic_splits).values()]) == before


def test_sentences_without_a_keyword_are_refused(synthetic_splits):
    with pytest.raises(DataError, match="no keyword is spoken in the split 'train'"):
        keyword_splits({"train": synthetic_splits["sid_train"]})

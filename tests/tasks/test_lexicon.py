from __future__ import annotations

import sys

import pytest
import torch

from speechft.core.errors import DataError, SettingsError
from speechft.tasks.lexicon import LexiconDecoder

VOCABULARY = ["<blank>", "<unk>", "|", *"ABCDEST"]
BIGRAMS = """\\data\\
ngram 1=6
ngram 2=4

\\1-grams:
-1.0\t<s>\t-0.3
-1.0\t</s>
-3.0\t<unk>
-1.0\tSEA\t-0.3
-1.0\tSEE\t-0.3
-1.0\tBED\t-0.3

\\2-grams:
-0.1\t<s> BED
-0.05\tBED SEE
-2.5\tBED SEA
-0.1\tSEE </s>

\\end\\
"""


@pytest.fixture
def files(tmp_path):
    model, lexicon = tmp_path / "lm.arpa", tmp_path / "lexicon.txt"
    model.write_text(BIGRAMS)
    lexicon.write_text("SEA\tS E A |\nSEE\nBED B E D |\nZOO Z O O |\n")
    return lexicon, model


def said(text, doubt=None, ending=True):
    """Logits of symbols frame by frame; `doubt`: (frame, symbol, how much more likely)."""
    rows = torch.zeros(len(text) + ending, len(VOCABULARY))
    for frame, symbol in enumerate(text):
        rows[frame, VOCABULARY.index(symbol)] = 12.0
    if ending:
        rows[-1, 0] = 12.0
    if doubt is not None:
        frame, symbol, more = doubt
        rows[frame, VOCABULARY.index(symbol)] = 12.0 + more
    return rows[None]


def test_the_language_model_corrects_what_greedy_decoding_says(files):
    pytest.importorskip("flashlight.lib.text.decoder")
    decode = LexiconDecoder(VOCABULARY, *files)
    sounds = [*"BED|SE", "<blank>", "E"]
    # the last letter sounds a little more like A than E: "BED SEA"
    logits = said(sounds, doubt=(7, "A", 1.0))
    assert "".join(VOCABULARY[i] for i in logits[0].argmax(-1) if i) == "BED|SEA"
    assert decode(logits, None) == ["BED SEE"]
    # control: without the model's weight the letters decide
    assert LexiconDecoder(VOCABULARY, *files, weight=0.0)(logits, None) == ["BED SEA"]
    # only words of the lexicon come out, and what lies behind the length does not count
    padded = torch.cat([said(list("BAD"), ending=False), torch.randn(1, 9, 10)], dim=1)
    assert decode(padded, torch.tensor([3])) == ["BED"]


@pytest.mark.parametrize(
    ("lexicon", "case"),
    [
        ("\ufeffBED B E D |\r\nSEA\r\nSEE\r\n", str),  # as editors of Windows write it
        ("\ufeffBED\nSEA\nSEE\n<unk> T |\n", str),
        ("bed\tB E D |\nsea\tS E A |\nsee\tS E E |\n", str.lower),
        ("bed\nsea\nsee\n", str.lower),
    ],
)
def test_words_come_out_as_references_are(files, lexicon, case):
    """A mark before the first word, or small letters, made each of these words an error."""
    pytest.importorskip("flashlight.lib.text.decoder")
    files[0].write_bytes(lexicon.encode())
    names = ("BED", "SEA", "SEE")
    text = BIGRAMS
    for name in names:
        text = text.replace(name, case(name))
    files[1].write_text(text)
    decode = LexiconDecoder(VOCABULARY, *files)
    assert decode(said([*"BED|SE", "<blank>", "E"], doubt=(7, "A", 1.0)), None) == ["BED SEE"]


def test_a_language_model_of_other_words_is_said(files, caplog):
    """All its words in small letters: it would say nothing, and `wer_lm` would be greedy's."""
    pytest.importorskip("flashlight.lib.text.decoder")
    text = BIGRAMS
    for name in ("BED", "SEA", "SEE"):
        text = text.replace(name, name.lower())
    files[1].write_text(text)
    LexiconDecoder(VOCABULARY, *files)
    assert "scores all 3 words of the lexicon, such as 'SEA', as an unknown one" in caplog.text
    caplog.clear()
    files[1].write_text(BIGRAMS)
    LexiconDecoder(VOCABULARY, *files)
    assert "unknown" not in caplog.text


def test_mistakes_are_named(files, monkeypatch):
    pytest.importorskip("flashlight.lib.text.decoder")
    lexicon, model = files
    with pytest.raises(SettingsError, match="no such file"):
        LexiconDecoder(VOCABULARY, lexicon, model.with_name("other"))
    with pytest.raises(DataError, match="no space"):
        LexiconDecoder(["<blank>", "<unk>", "A"], lexicon, model)
    model.write_text("not a model")
    with pytest.raises(DataError, match="cannot be read"):
        LexiconDecoder(VOCABULARY, lexicon, model)
    lexicon.write_text("zoo\n")
    with pytest.raises(DataError, match="no word of the lexicon can be written"):
        LexiconDecoder(VOCABULARY, lexicon, model)
    lexicon.write_bytes(b"caf\xe9\n")
    with pytest.raises(DataError, match="UTF-8"):
        LexiconDecoder(VOCABULARY, lexicon, model)


def test_without_flashlight_it_is_said_what_to_install(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "flashlight", None)
    monkeypatch.setitem(sys.modules, "flashlight.lib.text", None)
    with pytest.raises(SettingsError, match="flashlight-text") as caught:
        LexiconDecoder(VOCABULARY, *files)
    assert "flashlight-text>=0.0.7" in str(caught.value)

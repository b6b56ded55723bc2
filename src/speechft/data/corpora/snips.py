"""Audio SNIPS: synthesised requests with slots, for slot filling.

Lai et al., "Semi-supervised spoken language understanding via self-supervised speech and language
model pretraining", 2021; the speakers of each split are SUPERB's.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from speechft.core.errors import DataError
from speechft.data.corpora import Corpus, register
from speechft.data.corpus_tree import read_lines, tree
from speechft.data.utterances import Loaded, Utterance, load_splits, tags_to_slots

SPEAKERS = {
    "train": ["Ivy", "Joanna", "Joey", "Justin", "Kendra", "Kimberly", "Matthew", "Salli"],
    "valid": ["Aditi", "Amy", "Geraint", "Nicole"],
    "test": ["Brian", "Emma", "Raveena", "Russell"],
}
_NAMES = {"train": "train", "valid": "dev", "test": "test"}
_TEXT = "all.iob.snips.txt"
_HINT = (
    "make or get Audio SNIPS as https://github.com/aws-samples/aws-lex-noisy-spoken-language-"
    "understanding describes: train/, valid/, test/ with SPEAKER-snips-SPLIT-N.wav, and "
    f"{_TEXT} beside them"
)


@register(
    "snips",
    partial(
        Corpus,
        find=tree(
            ("SNIPS", "audio_snips"),
            (*SPEAKERS, _TEXT),
            [f"{split}/*-snips-{split}-*.wav" for split in SPEAKERS],
        ),
        hours=107,
        source=_HINT,
        counts={"train": 104672, "dev": 2800, "test": 2800},
    ),
)
def snips(base: Path, _variant: str) -> Loaded:
    """Read `ROOT/{train,valid,test}/SPEAKER-snips-SPLIT-N.wav` and `ROOT/all.iob.snips.txt`.

    `custom["words_tags"]` holds [WORD, slot or "O"], the tags without `B-` and `I-`. Audio of other
    speakers is left out, as is audio without a line of text.

    Raises:
        DataError: a folder or the text is missing, or a split has no audio.
    """
    texts, problems = _read_text(base / _TEXT)
    parts: dict[str, list[Utterance]] = {}
    silent = []
    for folder, speakers in SPEAKERS.items():
        wavs = sorted((base / folder).glob("[!.]*.wav"))
        wavs = [path for path in wavs if path.stem.partition("-")[0] in speakers]
        part = [_utterance(path, *texts[path.stem]) for path in wavs if path.stem in texts]
        silent += [f"{folder}/{path.name}" for path in wavs if path.stem not in texts]
        parts[_NAMES[folder]] = part
        if not part:
            raise DataError(
                f"no audio of the speakers of {folder!r}",
                where=base / folder,
                expected=f"wav files of {', '.join(speakers)} with a line in {_TEXT}",
            )
    read = {utterance.id for part in parts.values() for utterance in part}
    unheard = [name for name in texts if name not in read and _belongs(name)]
    found = {
        f"audio files have no line in {_TEXT}": silent,
        f"lines of {_TEXT} have no audio": unheard,
    }
    notes = [f"{len(own)} {what}: {', '.join(own[:5])}" for what, own in found.items() if own]
    return load_splits(parts, problems, notes)


def _belongs(name: str) -> bool:
    """Tell whether SPEAKER-snips-SPLIT-N is of a split's own speakers."""
    speaker, _, split, *_ = [*name.split("-"), "", ""]
    return speaker in SPEAKERS.get(split, ())


def _read_text(path: Path) -> tuple[dict[str, tuple[list[list[str]], str]], list[str]]:
    """Give utterance → (words with tags, intent), and the lines that cannot be read.

    A line is `UID BOS WORD … EOS<tab>O TAG … INTENT`: as many words as tags, BOS and EOS included.
    """
    texts: dict[str, tuple[list[list[str]], str]] = {}
    problems = []
    for number, line in read_lines(path):
        left, _, right = line.partition("\t")
        (name, *words), tags = left.split() or [""], right.split()
        if len(words) != len(tags) or len(words) < 3 or words[0] != "BOS" or words[-1] != "EOS":
            problems.append(f"{path.name}, line {number}: {len(words)} words, {len(tags)} tags")
            continue
        pairs = zip(words[1:-1], tags[1:-1], strict=True)
        tagged = [[word.upper(), tag.removeprefix("B-").removeprefix("I-")] for word, tag in pairs]
        texts[name] = (tagged, tags[-1])
    return texts, problems


def _utterance(path: Path, tagged: list[list[str]], intent: str) -> Utterance:
    where, speaker = f"{path.parent.name}/{path.name}", path.stem.partition("-")[0]
    labels = {"words_tags": tagged, "slots": tags_to_slots(tagged), "intent": intent}
    text = " ".join(word for word, _ in tagged)
    return Utterance(path.stem, path, where, text, speaker, "en", labels)

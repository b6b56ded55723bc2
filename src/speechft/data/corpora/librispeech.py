"""LibriSpeech: read English, 16 kHz, by speaker and chapter (https://www.openslr.org/12)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from speechft.core.errors import DataError
from speechft.data.corpora import Corpus, register
from speechft.data.corpus_tree import not_here, read_lines, refuse_unfilled
from speechft.data.utterances import Loaded, Utterance, load_splits

NEEDED = {"train-clean-100": "train", "dev-clean": "dev", "test-clean": "test"}
# Part → its number of utterances.
COUNTS = {
    "train-clean-100": 28539, "train-clean-360": 104014, "train-other-500": 148688,
    "dev-clean": 2703, "dev-other": 2864, "test-clean": 2620, "test-other": 2939,
}  # fmt: skip
# In the order in which they are read: the first pronunciation of a word counts.
LEXICONS = ("librispeech-lexicon-200k-g2p.txt", "librispeech-lexicon-allothers-g2p.txt")
_HINT = "get it from https://www.openslr.org/12 and unpack all archives in one folder"
_LEXICON_HINT = (
    "for phoneme recognition put it beside the parts; it is in the folder 'lexicon' of "
    "https://huggingface.co/datasets/s3prl/g2p"
)


def _find(root: Path, _variant: str) -> Path:
    """Give the folder with the parts; each that is there holds something."""
    base = root / "LibriSpeech" if (root / "LibriSpeech").is_dir() else root
    present = _parts(base)
    if not present:
        expected = f"folders {', '.join(COUNTS)}"
        raise not_here("LibriSpeech", expected, root, lambda place: bool(_parts(place)), base)
    kinds = ("*/*/*.trans.txt", "*/*/*.flac")
    return refuse_unfilled(base, [f"{part}/{kind}" for part in present for kind in kinds])


def _lack(base: Path, task: str) -> list[str]:
    """Say which parts a task lacks, and which lexicons."""
    absent = [f"there is no {part}" for part in NEEDED if not (base / part).is_dir()]
    return absent + (_Lexicon(base).notes() if task == "pr" else [])


@register(
    "librispeech",
    partial(
        Corpus,
        find=_find,
        lack=_lack,
        hours=111.4,
        source=_HINT,
        counts={name: COUNTS[part] for part, name in NEEDED.items()},
    ),
)
def librispeech(base: Path, _variant: str) -> Loaded:
    """Read `ROOT[/LibriSpeech]/train-clean-100/SPEAKER/CHAPTER/*.flac` and `*.trans.txt`.

    `train` is train-clean-100, `dev` dev-clean and `test` test-clean; further parts, where
    present, keep their names. With the lexicons of the S3PRL project beside the parts
    (`librispeech-lexicon-200k-g2p.txt` and `librispeech-lexicon-allothers-g2p.txt`, Hugging Face
    dataset `s3prl/g2p`, folder `lexicon`), utterances carry phonemes with stress digits.

    Raises:
        DataError: a part holds no transcript.
    """
    present = _parts(base)
    lexicon = _Lexicon(base)
    lexicon.read()
    parts = {part: list(_utterances(base / part, lexicon)) for part in present}
    for part in present:
        if not parts[part]:
            raise DataError(
                "the part holds no transcript",
                where=base / part,
                expected="SPEAKER/CHAPTER/*.trans.txt",
            )
    named = {NEEDED.get(part, part): utterances for part, utterances in parts.items()}
    loaded = load_splits(named, lexicon.problems(), lexicon.notes())
    for part in [part for part in present if part not in NEEDED]:
        found = len(loaded.splits[part])
        if found != COUNTS[part]:
            loaded.notes.append(f"{part}: {found} utterances, the whole part has {COUNTS[part]}")
    return loaded


def _parts(folder: Path) -> list[str]:
    return [part for part in COUNTS if (folder / part).is_dir()]


class _Lexicon:
    """Words and their first pronunciations; remembers words that it does not know."""

    def __init__(self, base: Path) -> None:
        self.entries: dict[str, list[str]] = {}
        self.unknown: dict[str, str] = {}
        above = (base, base.parent)
        places = [*above, *(place / "lexicon" for place in above)]
        found = {name: [p / name for p in places if (p / name).is_file()] for name in LEXICONS}
        self.files = [paths[0] for paths in found.values() if paths]
        self.missing = [name for name, paths in found.items() if not paths]

    def read(self) -> None:
        """Read those that are there."""
        for path in self.files:
            for _, line in read_lines(path):
                word, *phonemes = line.split()
                if phonemes:
                    self.entries.setdefault(word.upper(), phonemes)

    def pronounce(self, text: str, where: str) -> list[str]:
        """Give the phonemes of a text; nothing where there is no lexicon."""
        if not self.entries:
            return []
        for word in text.split():
            if word not in self.entries:
                self.unknown.setdefault(word, where)
        return [phoneme for word in text.split() for phoneme in self.entries.get(word, ())]

    def problems(self) -> list[str]:
        """Say which words have no pronunciation: every word needs one."""
        if self.unknown and self.missing:
            word, where = next(iter(self.unknown.items()))
            return [
                f"{len(self.unknown)} words are in no lexicon, the first is {word!r} ({where}); "
                f"there is no {' and no '.join(self.missing)}: {_LEXICON_HINT}"
            ]
        return [
            f"{place}: the word {word!r} is in no lexicon" for word, place in self.unknown.items()
        ]

    def notes(self) -> list[str]:
        """Say which lexicon is missing."""
        return [f"there is no {name}: {_LEXICON_HINT}" for name in self.missing]


def _utterances(part: Path, lexicon: _Lexicon) -> Iterator[Utterance]:
    for transcript in sorted(part.glob("*/*/[!.]*.trans.txt")):
        for _, line in read_lines(transcript):
            name, _, text = line.strip().partition(" ")
            where = f"{transcript}, {name}"
            phonemes = lexicon.pronounce(text, where)
            labels = {"phonemes": phonemes} if phonemes else {}
            audio, speaker = transcript.parent / f"{name}.flac", name.partition("-")[0]
            yield Utterance(name, audio, where, text, speaker, "en", labels)

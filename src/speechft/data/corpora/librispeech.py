"""LibriSpeech: read English, 16 kHz, by speaker and chapter (https://www.openslr.org/12)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from speechft.core.errors import DataError
from speechft.data.corpora import register
from speechft.data.layout import describe, no_folder, read_lines, suggest_root
from speechft.data.utterances import Loaded, Utterance, load_splits

PARTS = {
    "train-clean-100": "train",
    "train-clean-360": "train-clean-360",
    "train-other-500": "train-other-500",
    "dev-clean": "dev",
    "dev-other": "dev-other",
    "test-clean": "test",
    "test-other": "test-other",
}
NEEDED = ("train", "dev", "test")
COUNTS = {
    "train": 28539,
    "train-clean-360": 104014,
    "train-other-500": 148688,
    "dev": 2703,
    "dev-other": 2864,
    "test": 2620,
    "test-other": 2939,
}
# In the order in which they are read: the first pronunciation of a word counts.
LEXICONS = ("librispeech-lexicon-200k-g2p.txt", "librispeech-lexicon-allothers-g2p.txt")
_HINT = "get it from https://www.openslr.org/12 and unpack all archives in one folder"
_LEXICON_HINT = (
    "for phoneme recognition put it beside the parts; it is in the folder 'lexicon' of "
    "https://huggingface.co/datasets/s3prl/g2p"
)


@register("librispeech", source=_HINT, counts={name: COUNTS[name] for name in NEEDED})
def librispeech(root: Path, _variant: str) -> Loaded:
    """Read `ROOT[/LibriSpeech]/train-clean-100/SPEAKER/CHAPTER/*.flac` and `*.trans.txt`.

    `train` is train-clean-100, `dev` dev-clean and `test` test-clean; further parts, where
    present, keep their names. With the lexicons of the S3PRL project beside the parts
    (`librispeech-lexicon-200k-g2p.txt` and `librispeech-lexicon-allothers-g2p.txt`, Hugging Face
    dataset `s3prl/g2p`, folder `lexicon`), utterances carry phonemes with stress digits.

    Raises:
        DataError: no part is there, or a part holds no transcript.
    """
    if not root.is_dir():
        raise no_folder(root, _HINT)
    base = root / "LibriSpeech" if (root / "LibriSpeech").is_dir() else root
    present = _parts(base)
    if not present:
        raise DataError(
            "no LibriSpeech here",
            where=base,
            expected=f"folders {', '.join(PARTS)}",
            found=describe(base).removeprefix("; ") or None,
            hint=suggest_root(root, lambda place: bool(_parts(place))) or _HINT,
        )
    places = [base, root, base / "lexicon", root / "lexicon"]
    lexicon = _Lexicon(places)
    parts = {}
    for part in present:
        parts[PARTS[part]] = list(_utterances(base / part, lexicon))
        if not parts[PARTS[part]]:
            raise DataError(
                "the part holds no transcript",
                where=base / part,
                expected="SPEAKER/CHAPTER/*.trans.txt",
                hint=_HINT,
            )
    loaded = load_splits(parts, lexicon.problems(), lexicon.notes())
    for name in set(parts) - set(NEEDED):
        if len(loaded.splits[name]) != COUNTS[name]:
            found = len(loaded.splits[name])
            loaded.notes.append(f"{name}: {found} utterances, the whole part has {COUNTS[name]}")
    return loaded


def _parts(folder: Path) -> list[str]:
    return [part for part in PARTS if (folder / part).is_dir()]


class _Lexicon:
    """Words and their first pronunciations; remembers words that it does not know."""

    def __init__(self, places: Sequence[Path]) -> None:
        self.entries: dict[str, list[str]] = {}
        self.unknown: dict[str, str] = {}
        self.missing = []
        for name in LEXICONS:
            path = next((place / name for place in places if (place / name).is_file()), None)
            if path is None:
                self.missing.append(name)
                continue
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
        found = list(self.unknown.items())
        if found and self.missing:
            word, where = found[0]
            return [
                f"{len(found)} words are in no lexicon, the first is {word!r} ({where}); "
                f"there is no {' and no '.join(self.missing)}: {_LEXICON_HINT}"
            ]
        return [
            f"{where}: the word {word!r} is in no lexicon" for word, where in self.unknown.items()
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
            yield Utterance(
                id=name,
                audio=transcript.parent / f"{name}.flac",
                where=where,
                text=text,
                speaker=name.partition("-")[0],
                language="en",
                custom={"phonemes": phonemes} if phonemes else {},
            )

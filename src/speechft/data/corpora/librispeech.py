"""LibriSpeech: read English, 16 kHz, by speaker and chapter (https://www.openslr.org/12)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lhotse import CutSet

from speechft.core.errors import DataError
from speechft.data.corpora import CORPORA
from speechft.data.utterances import Utterance, strict_cuts

PARTS = {
    "train-clean-100": "train",
    "train-clean-360": "train-clean-360",
    "train-other-500": "train-other-500",
    "dev-clean": "dev",
    "dev-other": "dev-other",
    "test-clean": "test",
    "test-other": "test-other",
}
# In the order in which they are read: the first pronunciation of a word counts.
LEXICONS = ("librispeech-lexicon-200k-g2p.txt", "librispeech-lexicon-allothers-g2p.txt")
_HINT = "get it from https://www.openslr.org/12 and unpack all archives in one folder"


@CORPORA.register("librispeech")
def librispeech(root: Path) -> dict[str, CutSet]:
    """Read `ROOT[/LibriSpeech]/train-clean-100/SPEAKER/CHAPTER/*.flac` and `*.trans.txt`.

    `train` is train-clean-100, `dev` dev-clean and `test` test-clean; further parts, where
    present, keep their names. With the lexicons of the S3PRL project beside the parts
    (`librispeech-lexicon-200k-g2p.txt` and `librispeech-lexicon-allothers-g2p.txt`, Hugging Face
    dataset `s3prl/g2p`, folder `lexicon`), utterances carry phonemes with stress digits.

    Raises:
        DataError: no part is there, a transcript and its audio do not match, or a word is in no
            lexicon.
    """
    base = root / "LibriSpeech" if (root / "LibriSpeech").is_dir() else root
    present = [part for part in PARTS if (base / part).is_dir()]
    if not present:
        raise DataError(
            "no LibriSpeech here", where=base, expected=f"folders {', '.join(PARTS)}", hint=_HINT
        )
    lexicon = _read_lexicon([base, root, base / "lexicon", root / "lexicon"])
    splits = {}
    for part in present:
        utterances = list(_utterances(base / part, lexicon))
        if not utterances:
            raise DataError(
                "the part holds no transcript",
                where=base / part,
                expected="SPEAKER/CHAPTER/*.trans.txt",
                hint=_HINT,
            )
        splits[PARTS[part]] = CutSet.from_cuts(strict_cuts(utterances, base / part).values())
    return splits


def _read_lexicon(places: Sequence[Path]) -> dict[str, list[str]]:
    """Give word → phonemes; nothing where there is no lexicon."""
    lexicon: dict[str, list[str]] = {}
    for name in LEXICONS:
        path = next((place / name for place in places if (place / name).is_file()), None)
        if path is None:
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            word, _, phonemes = line.partition("\t")
            if phonemes.strip():
                lexicon.setdefault(word.strip().upper(), phonemes.split())
    return lexicon


def _pronounce(text: str, lexicon: Mapping[str, list[str]], where: str) -> list[str]:
    unknown = [word for word in text.split() if word not in lexicon]
    if unknown:
        raise DataError(
            f"the word {unknown[0]!r} is in no lexicon",
            where=where,
            hint=f"give both {' and '.join(LEXICONS)}, or none",
        )
    return [phoneme for word in text.split() for phoneme in lexicon[word]]


def _utterances(part: Path, lexicon: Mapping[str, list[str]]) -> Iterator[Utterance]:
    for transcript in sorted(part.glob("*/*/*.trans.txt")):
        for line in transcript.read_text(encoding="utf-8").splitlines():
            name, _, text = line.strip().partition(" ")
            where = f"{transcript}, {name}"
            if name:
                phonemes = _pronounce(text, lexicon, where) if lexicon else None
                yield Utterance(
                    id=name,
                    audio=transcript.parent / f"{name}.flac",
                    where=where,
                    text=text,
                    speaker=name.partition("-")[0],
                    language="en",
                    custom={"phonemes": phonemes} if phonemes else {},
                )

"""LibriSpeech: read English, 16 kHz, by speaker and chapter (https://www.openslr.org/12)."""

from __future__ import annotations

from collections.abc import Iterator
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
_HINT = "get it from https://www.openslr.org/12 and unpack all archives in one folder"


@CORPORA.register("librispeech")
def librispeech(root: Path) -> dict[str, CutSet]:
    """Read `ROOT[/LibriSpeech]/train-clean-100/SPEAKER/CHAPTER/*.flac` and `*.trans.txt`.

    `train` is train-clean-100, `dev` dev-clean and `test` test-clean; further parts, where
    present, keep their names.

    Raises:
        DataError: no part is there, or a transcript and its audio do not match.
    """
    base = root / "LibriSpeech" if (root / "LibriSpeech").is_dir() else root
    present = [part for part in PARTS if (base / part).is_dir()]
    if not present:
        raise DataError(
            "no LibriSpeech here", where=base, expected=f"folders {', '.join(PARTS)}", hint=_HINT
        )
    splits = {}
    for part in present:
        utterances = list(_utterances(base / part))
        if not utterances:
            raise DataError(
                "the part holds no transcript",
                where=base / part,
                expected="SPEAKER/CHAPTER/*.trans.txt",
                hint=_HINT,
            )
        splits[PARTS[part]] = CutSet.from_cuts(strict_cuts(utterances, base / part).values())
    return splits


def _utterances(part: Path) -> Iterator[Utterance]:
    for transcript in sorted(part.glob("*/*/*.trans.txt")):
        for line in transcript.read_text(encoding="utf-8").splitlines():
            name, _, text = line.strip().partition(" ")
            if name:
                yield Utterance(
                    id=name,
                    audio=transcript.parent / f"{name}.flac",
                    where=f"{transcript}, {name}",
                    text=text,
                    speaker=name.partition("-")[0],
                    language="en",
                )

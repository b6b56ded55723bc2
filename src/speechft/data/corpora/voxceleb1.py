"""VoxCeleb1: interviews of 1251 celebrities, for speaker identification.

https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox1.html
"""

from __future__ import annotations

from pathlib import Path

from lhotse import CutSet

from speechft.core.errors import DataError
from speechft.data.corpora import CORPORA
from speechft.data.layout import find_root
from speechft.data.utterances import Utterance, problems_error, strict_cuts

LISTS = ("iden_split.txt", "veri_test_class.txt")
_SPLITS = {"1": "train", "2": "dev", "3": "test"}
_HINT = (
    "unpack the corpus as dev/wav/ID/VIDEO/*.wav and test/wav/ID/VIDEO/*.wav, and put "
    "iden_split.txt (https://www.robots.ox.ac.uk/~vgg/data/voxceleb/meta/iden_split.txt) beside dev"
)


@CORPORA.register("voxceleb1")
def voxceleb1(root: Path) -> dict[str, CutSet]:
    """Read `ROOT/{dev,test}/wav/ID/VIDEO/*.wav`, split by `ROOT/iden_split.txt`.

    All speakers are in all splits.

    Raises:
        DataError: a folder, the list or an audio file is missing, or a line cannot be read.
    """
    base = find_root(root, ("VoxCeleb1",), ("dev/wav", "test/wav"), _HINT)
    listing = next((base / name for name in LISTS if (base / name).is_file()), None)
    if listing is None:
        raise DataError("no list of splits", where=base, expected=" or ".join(LISTS), hint=_HINT)
    parts: dict[str, list[Utterance]] = {"train": [], "dev": [], "test": []}
    problems = []
    for number, line in enumerate(listing.read_text(encoding="utf-8").splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 2 or fields[0] not in _SPLITS or fields[1].count("/") != 2:
            problems.append(f"line {number}: expected '1|2|3 ID/VIDEO/FILE.wav', found {line!r}")
            continue
        parts[_SPLITS[fields[0]]].append(_utterance(base, fields[1]))
    if problems:
        raise problems_error(problems, listing)
    return {
        name: CutSet.from_cuts(strict_cuts(utterances, listing).values())
        for name, utterances in parts.items()
    }


def _utterance(base: Path, path: str) -> Utterance:
    audio = base / "dev" / "wav" / path
    if not audio.exists():
        audio = base / "test" / "wav" / path
    name = path.removesuffix(".wav").replace("/", "-")
    return Utterance(name, audio, path, speaker=path.partition("/")[0], language=None)

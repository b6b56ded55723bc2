"""Libri2Mix for diarization: two LibriSpeech speakers at once, with noise, 16 kHz.

Made by SUPERB's fork of LibriMix (https://github.com/s3prl/LibriMix; mode max, type mix_both), and
read from the Kaldi folders that its `scripts/prepare_diarization.py` writes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from speechft.core.errors import DataError
from speechft.data.corpora import Corpus, register
from speechft.data.corpus_tree import find_root, read_lines
from speechft.data.utterances import Loaded, Utterance, load_splits

if TYPE_CHECKING:
    from lhotse.cut import Cut

SPLITS = ("train", "dev", "test")
FILES = ("wav.scp", "segments", "utt2spk", "reco2dur")
# A recording whose header says otherwise is not the one that the labels were made for.
_TOLERANCE = 0.05
_HINT = (
    "make it with https://github.com/s3prl/LibriMix (generate_librimix_sd.sh, then "
    "scripts/prepare_diarization.py --target_dir ROOT); ROOT then holds train, dev and test"
)

Turn = tuple[str, float, float]


def _find(root: Path, _variant: str) -> Path:
    """Give the folder of the three Kaldi folders, each of whose first recording is there."""
    needed = [f"{split}/{name}" for split in SPLITS for name in FILES]
    base = find_root(root, ("data", "diarization/data", "Libri2Mix"), needed)
    for split in SPLITS:
        first = next(iter(_fields(base / split / "wav.scp", 1)), [])
        if len(first) == 2 and not _locate(Path(first[1]), base).exists():
            raise DataError("there is no such audio file", where=first[1], found=f"{split}/wav.scp")
    return base


@register(
    "libri2mix",
    partial(
        Corpus,
        find=_find,
        hours=80,
        source=_HINT,
        counts={"train": 13900, "dev": 3000, "test": 3000},
    ),
)
def libri2mix(base: Path, _variant: str) -> Loaded:
    """Read `ROOT/{train,dev,test}/{wav.scp,segments,utt2spk,reco2dur}`.

    A cut is one recording, with `custom["diarization"]` and one supervision per stretch of speech
    (speaker, start, duration). Where two stretches have one name (both speakers at the same
    times), each keeps its own speaker; a plain Kaldi reader gives both to the last.

    If the audio has moved since, it is looked for below ROOT and beside it from the folder
    `Libri2Mix` on.

    Raises:
        DataError: a folder or a file is missing.
    """
    problems: list[str] = []
    parts = {split: _read(base / split, problems) for split in SPLITS}
    loaded = load_splits(parts, problems)
    for split in SPLITS:
        expected = _durations(base / split, loaded.problems)
        loaded.notes += _odd_turns(split, loaded.splits[split])
        loaded.problems += [
            f"{split}, {cut.id}: lasts {cut.duration:.2f} s, but {wanted:.2f} s in reco2dur"
            for cut in loaded.splits[split]
            if abs((wanted := expected.get(cut.id, cut.duration)) - cut.duration) > _TOLERANCE
        ]
    return loaded


def _durations(folder: Path, problems: list[str]) -> dict[str, float]:
    """Give recording → seconds that it should last."""
    found = {}
    for name, *rest in _fields(folder / "reco2dur"):
        try:
            found[name] = float(rest[0])
        except (IndexError, ValueError):
            problems.append(f"{folder.name}/reco2dur, {name}: expected 'RECORDING SECONDS'")
    return found


def _odd_turns(split: str, cuts: Iterable[Cut]) -> list[str]:
    """Say where speech lies behind the end of the audio, and which mixtures are not of two."""
    known = list(cuts)
    behind = [c.id for c in known if any(s.end > c.duration + _TOLERANCE for s in c.supervisions)]
    alone = [c.id for c in known if len({s.speaker for s in c.supervisions}) != 2]
    found = {
        "have speech behind the end of their audio, which is cut off": behind,
        "are not of two speakers": alone,
    }
    return [
        f"{split}: {len(names)} recordings {what}: {', '.join(names[:5])}"
        for what, names in found.items()
        if names
    ]


def _read(folder: Path, problems: list[str]) -> list[Utterance]:
    turns = _turns(folder, problems)
    utterances = []
    for name, *rest in _fields(folder / "wav.scp", 1):
        where = f"{folder.name}/wav.scp, {name}"
        if not rest or rest[0].endswith("|"):
            problems.append(f"{where}: expected a path, found {rest[0] if rest else 'nothing'!r}")
        elif name not in turns:
            problems.append(f"{where}: no speech in segments")
        else:
            audio = _locate(Path(rest[0]), folder.parent)
            utterances.append(Utterance(name, audio, where, turns=turns[name]))
    return utterances


def _turns(folder: Path, problems: list[str]) -> dict[str, list[Turn]]:
    """Give recording → its stretches of speech, in order of time."""
    speakers: dict[str, list[str]] = defaultdict(list)
    for name, *rest in _fields(folder / "utt2spk"):
        speakers[name] += rest
    turns: dict[str, list[Turn]] = defaultdict(list)
    seen: dict[str, int] = defaultdict(int)
    for name, *rest in _fields(folder / "segments"):
        where = f"{folder.name}/segments, {name}"
        number = seen[name]
        seen[name] += 1
        try:
            recording, start, end = rest[0], float(rest[1]), float(rest[2])
        except (IndexError, ValueError):
            problems.append(f"{where}: expected 'NAME RECORDING START END'")
            continue
        if number >= len(speakers[name]):
            problems.append(f"{where}: no speaker in utt2spk")
        elif not 0 <= start < end:
            problems.append(f"{where}: start {start:g} and end {end:g} leave nothing")
        else:
            turns[recording].append((speakers[name][number], start, end - start))
    return {name: sorted(those, key=lambda turn: turn[1]) for name, those in turns.items()}


def _locate(path: Path, base: Path) -> Path:
    if path.exists():
        return path
    parts = path.parts
    tails: list[Sequence[str]] = [parts] if not path.is_absolute() else []
    if "Libri2Mix" in parts:
        start = len(parts) - 1 - parts[::-1].index("Libri2Mix")
        tails += [parts[start:], parts[start + 1 :]]
    places = [top.joinpath(*tail) for top in (base, *list(base.parents)[:3]) for tail in tails]
    return next((place for place in places if place.is_file()), path)


def _fields(path: Path, splits: int = -1) -> list[list[str]]:
    return [line.split(None, splits) for _, line in read_lines(path)]

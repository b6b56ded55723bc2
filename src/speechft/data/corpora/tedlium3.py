"""TED-LIUM 3: English talks, 452 hours, for speech recognition (https://www.openslr.org/51).

Hernandez et al., "TED-LIUM 3: twice as much data and corpus repartition for experiments on speaker
adaptation", SPECOM 2018. The filters and the 10 hours are those of the Speech-FT release.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from speechft.core.errors import DataError
from speechft.data.corpora import Corpus, register
from speechft.data.corpus_tree import not_all, read_lines, tree
from speechft.data.utterances import Loaded, Utterance, load_splits

SPLITS = ("train", "dev", "test")
TALKS = {"train": 2351, "dev": 8, "test": 11}
SHORTEST_SECONDS, LONGEST_SECONDS = 1.0, 60.0
TRAIN_SECONDS = 36_000.0
UNKNOWN = "<unk>"
IGNORED = "ignore_time_segment_in_scoring"
FULL = "full"
_HINT = (
    "get https://www.openslr.org/resources/51/TEDLIUM_release-3.tgz and unpack it; "
    "TEDLIUM_release-3 holds legacy/train, legacy/dev and legacy/test"
)


_KINDS = ("stm", "sph")


@register(
    "tedlium3",
    partial(
        Corpus,
        find=tree(
            ("TEDLIUM_release-3", "TEDLIUM_release3"),
            [f"legacy/{split}/{kind}" for split in SPLITS for kind in _KINDS],
            [f"legacy/{split}/{kind}/*.{kind}" for split in SPLITS for kind in _KINDS],
        ),
        hours=14,
        source=_HINT,
        variants={FULL: "all of train, not its first 10 hours"},
    ),
)
def tedlium3(base: Path, variant: str) -> Loaded:
    """Read `ROOT/legacy/{train,dev,test}/{stm/*.stm,sph/*.sph}`.

    Utterances of less than 1 s or more than 60 s and those with `<unk>` are left out. `train` is
    the first 10 hours of the rest, talks in the order of their names: from the first utterance to
    the one that crosses 36,000 s. (The release takes the talks in the order in which its file
    system lists them.) Then what has no words goes too: empty texts and stretches that the corpus
    says are not to be scored, which the release keeps as one odd word.

    Text is upper case with apostrophes; hyphens are spaces, all other signs are dropped.

    Raises:
        DataError: a folder is missing, or a split holds no utterance.
    """
    problems: list[str] = []
    notes: list[str] = []
    parts = {}
    for split in SPLITS:
        folder = base / "legacy" / split
        talks = sorted((folder / "stm").glob("[!.]*.stm"))
        notes += not_all(f"{split}: {len(talks)} talks", len(talks), TALKS[split])
        utterances = (u for path in talks for u in _utterances(path, folder / "sph", problems))
        chosen = list(utterances if split != "train" or variant == FULL else _first(utterances))
        parts[split] = [u for u in chosen if u.text]
        if not parts[split]:
            raise DataError(
                f"no utterance for the split {split!r}",
                where=folder / "stm",
                expected="*.stm with lines 'TALK CHANNEL SPEAKER START END LABEL TEXT'",
            )
        seconds = sum(_seconds(u) for u in chosen)
        if split == "train" and variant != FULL and seconds <= TRAIN_SECONDS:
            notes.append(f"train: {seconds / 3600:.2f} hours instead of 10")
    return load_splits(parts, problems, notes)


def normalise(text: str) -> str:
    """Give the text as the release has it: A to Z, apostrophes, single spaces."""
    text = text.upper().replace(" '", "'").replace("-", " ")
    return " ".join(re.sub(r"[^A-Z' ]", "", text).split())


def _first(utterances: Iterator[Utterance]) -> Iterator[Utterance]:
    """Give utterances until they last more than 10 hours, the crossing one included."""
    seconds = 0.0
    for utterance in utterances:
        seconds += _seconds(utterance)
        yield utterance
        if seconds > TRAIN_SECONDS:
            return


def _seconds(utterance: Utterance) -> float:
    return (utterance.end or 0.0) - utterance.start


def _utterances(path: Path, sph: Path, problems: list[str]) -> Iterator[Utterance]:
    """Read lines "TALK CHANNEL SPEAKER START END LABEL TEXT" and leave out what the filters say."""
    for number, line in read_lines(path):
        fields = line.split(None, 6)
        where = f"{path.name}, line {number}"
        if line.startswith(";;"):
            continue
        try:
            talk, speaker, start, end = fields[0], fields[2], float(fields[3]), float(fields[4])
        except (IndexError, ValueError):
            problems.append(f"{where}: expected 'TALK CHANNEL SPEAKER START END LABEL TEXT'")
            continue
        text = _without_key(fields[6].split() if len(fields) > 6 else [])
        if SHORTEST_SECONDS <= end - start <= LONGEST_SECONDS and UNKNOWN not in text:
            name, audio = f"{talk}-{number:04d}", sph / f"{talk}.sph"
            text = "" if text == IGNORED else normalise(text)
            yield Utterance(name, audio, where, text, speaker, "en", start=start, end=end)


def _without_key(words: Sequence[str]) -> str:
    """Give the text without the key in brackets that ends a line of some releases."""
    return " ".join(words[:-1] if words and words[-1].startswith("(") else words)

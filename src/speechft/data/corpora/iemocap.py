"""IEMOCAP: acted dialogues in five sessions, four emotions as in SUPERB, five folds.

https://sail.usc.edu/iemocap/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from speechft.core.errors import DataError
from speechft.data.corpora import Corpus, register
from speechft.data.corpus_tree import read_lines, tree
from speechft.data.utterances import Loaded, Utterance, load_splits

SESSIONS = (1, 2, 3, 4, 5)
# Excitement counts as happiness; other emotions are left out.
EMOTIONS = {"neu": "neu", "hap": "hap", "exc": "hap", "ang": "ang", "sad": "sad"}
TRAIN_SHARE = 0.8
_DIALOGUE = re.compile(r"Ses\d\d([FM])_(script|impro)(\d\d)(?:_(\d))?([a-z]?)")
_LINE = re.compile(r"\[[\d.]+ - [\d.]+\]\t(Ses\w+)\t(\w+)\t")
_HINT = (
    "ask for the corpus at https://sail.usc.edu/iemocap/iemocap_release.htm and give the folder "
    "that holds Session1 to Session5"
)
# Fold → utterances of train, dev, test.
FOLDS = {1: (3556, 890, 1085), 2: (3606, 902, 1023), 3: (3504, 876, 1151)}
FOLDS |= {4: (3600, 900, 1031), 5: (3432, 858, 1241)}
NAMES = ("train", "dev", "test")
COUNTS = {
    f"fold{k}_{name}": n for k, three in FOLDS.items() for name, n in zip(NAMES, three, strict=True)
}


VARIANTS = {f"fold{k}": f"train, dev and test of fold {k} alone" for k in SESSIONS}


_FOLDERS = {"sentences/wav": "*/*.wav", "dialog/EmoEvaluation": "*.txt"}


@register(
    "iemocap",
    partial(
        Corpus,
        find=tree(
            ("IEMOCAP", "IEMOCAP_full_release"),
            [f"Session{k}/{folder}" for k in SESSIONS for folder in _FOLDERS],
            [f"Session{k}/{folder}/{file}" for k in SESSIONS for folder, file in _FOLDERS.items()],
        ),
        hours=7,
        source=_HINT,
        counts=COUNTS,
        variants=VARIANTS,
    ),
)
def iemocap(base: Path, variant: str) -> Loaded:
    """Read `ROOT/SessionK/sentences/wav/` and the labels in `ROOT/SessionK/dialog/EmoEvaluation/`.

    Fold K tests on session K: `foldK_train`, `foldK_dev`, `foldK_test`; `train`, `dev` and `test`
    are those of fold 1. Of the other sessions, 80 % are `train` and the rest `dev`, drawn as in
    SUPERB (S3PRL 0.4.18: the same utterances; speakers overlap). The variant `foldK` gives `train`,
    `dev` and `test` of fold K alone: whoever is tuned on it is tested on no other fold.

    Raises:
        DataError: a session or its labels are missing.
    """
    sessions: dict[int, list[Utterance]] = {}
    for session in SESSIONS:
        folder = base / f"Session{session}"
        rank = {name: place for place, name in enumerate(orders()[session])}
        utterances = list(_utterances(folder))
        utterances.sort(key=lambda u: (rank.get(_short(u.id), len(rank)), u.id))
        if not utterances:
            raise DataError(
                "no label of the four emotions",
                where=folder / "dialog" / "EmoEvaluation",
                expected="*.txt with lines such as '[6.29 - 8.23]<tab>Ses01F_impro01_F000<tab>neu'",
            )
        sessions[session] = utterances
    notes = [
        f"Session{session}/dialog/EmoEvaluation/{path.name} holds no label"
        for session in SESSIONS
        for path, text in _texts(base / f"Session{session}")
        if not _LINE.search(text)
    ]
    folds: dict[str, list[Utterance]] = {}
    for fold in SESSIONS:
        folds |= {f"fold{fold}_{name}": cuts for name, cuts in _fold(sessions, fold).items()}
    plain = {name: folds[f"{variant or 'fold1'}_{name}"] for name in NAMES}
    return load_splits(plain if variant else plain | folds, notes=notes)


def orders() -> dict[int, list[str]]:
    """Give session → its dialogues in the order of the list from which SUPERB draws dev.

    Each dialogue's utterances are in the order of their names there. "Fs022" is SesXXF_script02_2,
    "Mi05b" is SesXXM_impro05b.
    """
    lines = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    return {session: line.split() for session, line in zip(SESSIONS, lines, strict=True)}


def _fold(sessions: dict[int, list[Utterance]], fold: int) -> dict[str, list[Utterance]]:
    import torch

    rest = [u for session, utterances in sessions.items() if session != fold for u in utterances]
    order = torch.randperm(len(rest), generator=torch.Generator().manual_seed(0)).tolist()
    count = int(TRAIN_SHARE * len(rest))
    return {
        "train": [rest[index] for index in order[:count]],
        "dev": [rest[index] for index in order[count:]],
        "test": sessions[fold],
    }


def _short(name: str) -> str:
    """Give a dialogue's name as `iemocap.txt` has it."""
    found = _DIALOGUE.match(name)
    if found is None:
        return name
    who, kind, number, part, letter = found.groups(default="")
    return f"{who}{kind[0]}{number}{part}{letter}"


def _texts(session: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted((session / "dialog" / "EmoEvaluation").glob("[!.]*.txt")):
        yield path, "\n".join(line for _, line in read_lines(path, "replace"))


def _utterances(session: Path) -> Iterator[Utterance]:
    for path, text in _texts(session):
        for name, emotion in _LINE.findall(text):
            if emotion not in EMOTIONS:
                continue
            dialogue, _, turn = name.rpartition("_")
            audio = session / "sentences" / "wav" / dialogue / f"{name}.wav"
            where, speaker, label = f"{path.name}, {name}", name[:5] + turn[:1], EMOTIONS[emotion]
            yield Utterance(name, audio, where, None, speaker, "en", {"emotion": label})

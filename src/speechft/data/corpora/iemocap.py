"""IEMOCAP: acted dialogues in five sessions, four emotions as in SUPERB, five folds.

https://sail.usc.edu/iemocap/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import torch
from lhotse import CutSet
from lhotse.cut import Cut

from speechft.core.errors import DataError
from speechft.data.corpora import CORPORA
from speechft.data.layout import find_root
from speechft.data.utterances import Utterance, strict_cuts

SESSIONS = (1, 2, 3, 4, 5)
# Excitement counts as happiness; other emotions are left out.
EMOTIONS = {"neu": "neu", "hap": "hap", "exc": "hap", "ang": "ang", "sad": "sad"}
TRAIN_SHARE = 0.8
_LINE = re.compile(r"\[[\d.]+ - [\d.]+\]\t(Ses\w+)\t(\w+)\t")
_HINT = (
    "ask for the corpus at https://sail.usc.edu/iemocap/iemocap_release.htm and give the folder "
    "that holds Session1 to Session5"
)


@CORPORA.register("iemocap")
def iemocap(root: Path) -> dict[str, CutSet]:
    """Read `ROOT/SessionK/sentences/wav/` and the labels in `ROOT/SessionK/dialog/EmoEvaluation/`.

    Fold K tests on session K: `foldK_train`, `foldK_dev`, `foldK_test`; `train`, `dev` and `test`
    are those of fold 1. Of the other sessions, 80 % are `train` and the rest `dev`, drawn with
    seed 0 from the utterances in the order of their names (speakers overlap, as in SUPERB).

    Raises:
        DataError: a session, its labels or an audio file is missing.
    """
    parts = [f"Session{k}/{p}" for k in SESSIONS for p in ("sentences/wav", "dialog/EmoEvaluation")]
    base = find_root(root, ("IEMOCAP", "IEMOCAP_full_release"), parts, _HINT)
    sessions: dict[int, list[Cut]] = {}
    for session in SESSIONS:
        folder = base / f"Session{session}"
        utterances = sorted(_utterances(folder), key=lambda utterance: utterance.id)
        if not utterances:
            raise DataError(
                "no label of the four emotions",
                where=folder / "dialog" / "EmoEvaluation",
                expected="*.txt with lines such as '[6.29 - 8.23]<tab>Ses01F_impro01_F000<tab>neu'",
                hint=_HINT,
            )
        sessions[session] = list(strict_cuts(utterances, folder).values())
    folds: dict[str, CutSet] = {}
    for fold in SESSIONS:
        folds |= {f"fold{fold}_{name}": cuts for name, cuts in _fold(sessions, fold).items()}
    return {name: folds[f"fold1_{name}"] for name in ("train", "dev", "test")} | folds


def _fold(sessions: dict[int, list[Cut]], fold: int) -> dict[str, CutSet]:
    rest = [cut for session, cuts in sessions.items() if session != fold for cut in cuts]
    order = torch.randperm(len(rest), generator=torch.Generator().manual_seed(0)).tolist()
    count = int(TRAIN_SHARE * len(rest))
    return {
        "train": CutSet.from_cuts(rest[index] for index in order[:count]),
        "dev": CutSet.from_cuts(rest[index] for index in order[count:]),
        "test": CutSet.from_cuts(sessions[fold]),
    }


def _utterances(session: Path) -> Iterator[Utterance]:
    for path in sorted((session / "dialog" / "EmoEvaluation").glob("*.txt")):
        for name, emotion in _LINE.findall(path.read_text(encoding="utf-8", errors="replace")):
            if emotion not in EMOTIONS:
                continue
            dialogue, _, turn = name.rpartition("_")
            yield Utterance(
                id=name,
                audio=session / "sentences" / "wav" / dialogue / f"{name}.wav",
                where=f"{path.name}, {name}",
                speaker=name[:5] + turn[:1],
                language="en",
                custom={"emotion": EMOTIONS[emotion]},
            )

"""The trees that `benchmarks/superb.py` evaluates on: every corpus of SUPERB, of many utterances.

Synthetic speech, laid out by the makers of the tests and drawn out to lengths that are usual in the
corpus. A little noise, another one each time, makes no utterance the same as another: the store
would encode it once.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lhotse import CutSet

from speechft.data.load import load_data

sys.path.append(str(Path(__file__).parents[2] / "tests" / "support"))

from corpus_trees import MAKERS, Speech

LEAST = {"speakers": 6, "documents": 4}  # ASV holds some out for dev; QbE names the third
NOISE = 1e-3  # standard deviation, full scale is 1


@dataclass(frozen=True)
class Tree:
    """One corpus.

    Attributes:
        tasks: that read it.
        sizes: arguments of its maker, at scale 1.
        seconds: shortest and longest utterance; the makers cut words of one second themselves.
    """

    tasks: tuple[str, ...]
    sizes: Mapping[str, int]
    seconds: tuple[float, float]


# At scale 1 some 5,000 utterances, 9 hours.
TREES: dict[str, Tree] = {
    "librispeech": Tree(("pr", "asr"), {"per_chapter": 150}, (8.0, 17.0)),
    "voxceleb1": Tree(("sid", "asv"), {"each": 10, "speakers": 18}, (4.0, 12.0)),
    "speech_commands": Tree(("ks",), {"each": 10}, (1.0, 1.0)),
    "libri2mix": Tree(("sd",), {"each": 40}, (8.0, 16.0)),
    "fluent_speech_commands": Tree(("ic",), {"each": 100}, (1.3, 3.5)),
    "snips": Tree(("sf",), {"each": 100}, (2.0, 4.5)),
    "iemocap": Tree(("er",), {"each": 12}, (2.0, 7.0)),
    "quesst2014": Tree(("qbe",), {"documents": 200, "queries": 10}, (3.0, 5.0)),
}


class Drawn(Speech):
    """Gives utterances of lengths drawn evenly between two, none of them twice."""

    def __init__(
        self, splits: Mapping[str, CutSet], seconds: tuple[float, float], seed: int
    ) -> None:
        super().__init__(splits)
        self.seconds = seconds
        self.random = np.random.default_rng(seed)

    def take(self, voice: int = 0, seconds: float | None = None) -> tuple[np.ndarray, Any]:
        drawn = float(self.random.uniform(*self.seconds)) if seconds is None else seconds
        wave, said = super().take(voice, drawn)
        return wave + NOISE * self.random.standard_normal(len(wave)), said


def lay_out(root: Path, data: str, tasks: list[str], scale: float) -> dict[str, str]:
    """Lay out the corpora of some tasks; give task → what a user would write as DATA."""
    splits = load_data(data)
    commands = {
        name: [cut for cut in cuts if (cut.supervisions[0].custom or {}).get("words_tags")]
        for name, cuts in splits.items()
    }
    found = {}
    for seed, (name, tree) in enumerate(TREES.items()):
        own = [task for task in tree.tasks if task in tasks]
        if own:
            speech = Drawn(commands if name == "snips" else splits, tree.seconds, seed)
            sizes = {key: max(LEAST.get(key, 2), round(scale * n)) for key, n in tree.sizes.items()}
            place = MAKERS[name](root / name, speech, **sizes)
            found |= dict.fromkeys(own, f"{name}:{place}")
    return found

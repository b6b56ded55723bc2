"""The trees that `benchmarks/probe.py` probes on: Fluent Speech Commands, LibriSpeech, SNIPS.

Synthetic speech, laid out by the makers of the tests; no utterance lies in a tree twice. The three
labels of an utterance of Fluent Speech Commands tell which of 16 voices speaks: what is said can
hardly be learned from time means of a small encoder and a few hundred utterances.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lhotse.cut import Cut

from speechft.data.load import load_data

sys.path.append(str(Path(__file__).parents[2] / "tests" / "support"))

from corpus_trees import MAKERS, Speech

CORPORA = {"ic": "fluent_speech_commands", "pr": "librispeech", "sf": "snips"}


@dataclass(frozen=True)
class Sizes:
    """Utterances: per voice in each split of IC, per chapter of PR, per speaker of SF."""

    ic: dict[str, int]
    pr: int
    sf: int


class Once(Speech):
    """Gives every utterance once: asked for voice n, the next one of group n."""

    def __init__(self, groups: Iterable[Sequence[Cut]]) -> None:
        self.groups = [iter(group) for group in groups]

    def choose(self, voice: int) -> Cut:
        cut = next(self.groups[voice % len(self.groups)], None)
        if cut is None:
            raise SystemExit("the synthetic corpus has too few utterances for a tree of this size")
        return cut


def lay_out(task: str, root: Path, data: str, sizes: Sizes, seed: int = 0) -> str:
    """Lay out the corpus of a task below a folder; give what a user would write as DATA."""
    english = {k: v for k, v in load_data(data).items() if not k.startswith(("es_", "de_"))}
    cuts = sorted((cut for split in english.values() for cut in split), key=lambda cut: cut.id)
    random.Random(seed).shuffle(cuts)
    lay = MAKERS[CORPORA[task]]
    if task == "ic":
        heard = {cut.supervisions[0].speaker for cut in english["sid_train"]}
        voices = [[c for c in cuts if c.supervisions[0].speaker == own] for own in sorted(heard)]
        triples = tuple(f"action{n % 4},object{n // 4},place{n % 3}" for n in range(len(voices)))
        place = lay(root / task, Once(voices), each=sizes.ic, intents=triples)
    elif task == "pr":
        place = lay(root / task, Once([cuts]), per_chapter=sizes.pr)
    else:
        commands = [cut for cut in cuts if cut.supervisions[0].custom.get("intent")]
        place = lay(root / task, Once([commands]), each=sizes.sf, plain=True)
    return f"{CORPORA[task]}:{place}"

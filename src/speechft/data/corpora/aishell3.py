"""AISHELL-3: read Mandarin, 218 speakers, 85 hours (https://www.openslr.org/93).

Shi et al., "AISHELL-3: a multi-speaker Mandarin TTS corpus", Interspeech 2021.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from speechft.core.errors import DataError
from speechft.data.corpora import Corpus, register
from speechft.data.corpus_tree import not_all, read_lines, tree
from speechft.data.utterances import Loaded, Utterance, load_splits

PARTS = ("train", "test")
COUNTS = {"train": 63262, "test": 24773}
_DEV_SHARE = 0.05
_SYLLABLE = re.compile(r"[a-zü]+[0-9]")
_HINT = (
    "get https://www.openslr.org/resources/93/data_aishell3.tgz and unpack it; its folder holds "
    "train and test, with content.txt and wav/SPEAKER/*.wav in each"
)


@register(
    "aishell3",
    partial(
        Corpus,
        find=tree(
            ("data_aishell3", "AISHELL-3"),
            [f"{part}/{name}" for part in PARTS for name in ("content.txt", "wav")],
            [f"{part}/wav/*/*.wav" for part in PARTS],
        ),
        hours=85,
        source=_HINT,
    ),
)
def aishell3(base: Path, _variant: str) -> Loaded:
    """Read `ROOT/{train,test}/content.txt` and `ROOT/{train,test}/wav/SPEAKER/*.wav`.

    The text is in characters without spaces, `custom["pinyin"]` the list of syllables with tones.
    The corpus has no dev: about 5 % of the speakers of train are, by a hash of their names.

    Raises:
        DataError: a folder or a text is missing or empty.
    """
    problems: list[str] = []
    notes: list[str] = []
    parts: dict[str, list[Utterance]] = {"train": [], "dev": [], "test": []}
    for part in PARTS:
        utterances = list(_utterances(base / part, problems))
        if not utterances and not problems:
            raise DataError("the text is empty", where=base / part / "content.txt")
        found = len(utterances)
        notes += not_all(f"{part}: {found} utterances", found, COUNTS[part])
        for utterance in utterances:
            split = "dev" if part == "train" and _in_dev(str(utterance.speaker)) else part
            parts[split].append(utterance)
    return load_splits(parts, problems, notes)


def _in_dev(speaker: str) -> bool:
    digest = int(hashlib.sha256(speaker.encode()).hexdigest(), 16)
    return digest % 10_000 < _DEV_SHARE * 10_000


def _utterances(part: Path, problems: list[str]) -> Iterator[Utterance]:
    """Read lines "SSB00050001.wav<tab>广 guang3 州 zhou1 …": characters and syllables in turn."""
    content = part / "content.txt"
    for number, line in read_lines(content):
        file, _, rest = line.partition("\t")
        where = f"{part.name}/content.txt, line {number}"
        syllables = [token for token in rest.split() if _SYLLABLE.fullmatch(token)]
        characters = [token for token in rest.split() if not _SYLLABLE.fullmatch(token)]
        if not file.endswith(".wav") or not characters or not syllables:
            problems.append(f"{where}: expected 'FILE.wav<tab>CHARACTER SYLLABLE …'")
            continue
        name, speaker = file.removesuffix(".wav"), file[:7]
        audio, text = part / "wav" / speaker / file, "".join(characters)
        yield Utterance(name, audio, where, text, speaker, "zh", {"pinyin": syllables})

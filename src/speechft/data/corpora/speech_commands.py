"""Speech Commands v0.01: one-word commands of one second, for keyword spotting.

https://www.tensorflow.org/datasets/catalog/speech_commands; the split by a hash of the speaker and
the twelve classes are those of the corpus' paper (Warden, 2018) and of SUPERB.
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

from speechft.core.errors import DataError
from speechft.data.corpora import Corpus, register
from speechft.data.corpus_tree import tree
from speechft.data.utterances import Loaded, Utterance, load_splits

COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
UNKNOWN, SILENCE = "_unknown_", "_silence_"
_TRAIN, _TEST = "speech_commands_v0.01", "speech_commands_test_set_v0.01"
_NOISE = "_background_noise_"
_BUCKETS = 2**27 - 1
_HINT = (
    "get speech_commands_v0.01.tar.gz and speech_commands_test_set_v0.01.tar.gz from "
    "http://download.tensorflow.org/data/ and unpack each in a folder of its own name"
)


@register(
    "speech_commands",
    partial(
        Corpus,
        find=tree(
            (), (f"{_TRAIN}/{_NOISE}", _TEST), (f"{_TRAIN}/*/*_nohash_*.wav", f"{_TEST}/*/*.wav")
        ),
        hours=17.5,
        source=_HINT,
        counts={"train": 51094, "dev": 6804, "test": 3081},
    ),
)
def speech_commands(base: Path, _variant: str) -> Loaded:
    """Read `ROOT/speech_commands_v0.01/WORD/*.wav` and `ROOT/speech_commands_test_set_v0.01/…`.

    Labels (`custom["label"]`) are ten commands, `_unknown_` for other words, and `_silence_`: each
    file of background noise is one item, the same in `train` and `dev`. It lasts a minute or more;
    the task draws a second of it.

    Raises:
        DataError: a folder is missing, or holds no audio.
    """
    parts: dict[str, list[Utterance]] = {"train": [], "dev": [], "test": [], "discarded": []}
    noise = []
    for path in sorted((base / _TRAIN).glob("*/[!.]*.wav")):
        if path.parent.name == _NOISE:
            noise.append(_utterance(path, SILENCE))
        else:
            parts[split_of(path.name)].append(_utterance(path, path.parent.name))
    del parts["discarded"]
    parts["train"] += noise
    parts["dev"] += noise
    tests = sorted((base / _TEST).glob("*/[!.]*.wav"))
    parts["test"] = [_utterance(path, path.parent.name) for path in tests]
    for name, utterances in parts.items():
        if len(utterances) == (0 if name == "test" else len(noise)):
            raise DataError(f"no audio for the split {name!r}", where=base)
    problems, notes = _folders(base)
    return load_splits(parts, problems, notes)


def _folders(base: Path) -> tuple[list[str], list[str]]:
    """Say which folders of the test set have no meaning, and which classes have no folder."""
    classes = {*COMMANDS, UNKNOWN, SILENCE}
    tests, trains = (
        {path.name for path in (base / part).iterdir() if path.is_dir()} for part in (_TEST, _TRAIN)
    )
    strange = sorted(name for name in tests - classes if not name.startswith("."))
    problems = [f"{_TEST}/{n}: the folder's name is none of the twelve classes" for n in strange]
    notes = [f"{_TEST} has no folder {name!r}" for name in sorted(classes - tests)]
    notes += [f"{_TRAIN} has no folder {name!r}" for name in sorted(set(COMMANDS) - trains)]
    return problems, notes


def split_of(name: str) -> str:
    """Give "dev", "train" or "discarded" (the corpus' own test part, replaced by the test set)."""
    speaker = Path(name).name.partition("_nohash_")[0]
    digest = int(hashlib.sha1(speaker.encode()).hexdigest(), 16)
    percent = digest % (_BUCKETS + 1) * (100.0 / _BUCKETS)
    return "dev" if percent < 10 else "discarded" if percent < 20 else "train"


def _utterance(path: Path, word: str) -> Utterance:
    known = (*COMMANDS, UNKNOWN, SILENCE)
    speaker, sign, _ = path.name.partition("_nohash_")
    name, where = f"{path.parent.name}-{path.stem}", f"{path.parent.name}/{path.name}"
    text, label = None if word.startswith("_") else word, word if word in known else UNKNOWN
    return Utterance(name, path, where, text, speaker if sign else None, "en", {"label": label})

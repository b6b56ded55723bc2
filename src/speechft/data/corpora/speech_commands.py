"""Speech Commands v0.01: one-word commands of one second, for keyword spotting.

https://www.tensorflow.org/datasets/catalog/speech_commands; the split by a hash of the speaker and
the twelve classes are those of the corpus' paper (Warden, 2018) and of SUPERB.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import soundfile
from lhotse import CutSet

from speechft.core.errors import DataError
from speechft.data.corpora import CORPORA
from speechft.data.layout import find_root
from speechft.data.utterances import Utterance, strict_cuts

COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
UNKNOWN, SILENCE = "_unknown_", "_silence_"
_TRAIN, _TEST = "speech_commands_v0.01", "speech_commands_test_set_v0.01"
_NOISE = "_background_noise_"
_BUCKETS = 2**27 - 1
_HINT = (
    "get speech_commands_v0.01.tar.gz and speech_commands_test_set_v0.01.tar.gz from "
    "http://download.tensorflow.org/data/ and unpack each in a folder of its own name"
)


@CORPORA.register("speech_commands")
def speech_commands(root: Path) -> dict[str, CutSet]:
    """Read `ROOT/speech_commands_v0.01/WORD/*.wav` and `ROOT/speech_commands_test_set_v0.01/…`.

    Labels (`custom["label"]`) are ten commands, `_unknown_` for other words, and `_silence_`: the
    background noise in pieces of one second, the same in `train` and `dev`.

    Raises:
        DataError: a folder is missing, or holds no audio.
    """
    base = find_root(root, (), (f"{_TRAIN}/{_NOISE}", _TEST), _HINT)
    parts: dict[str, list[Utterance]] = {"train": [], "dev": [], "test": []}
    for path in sorted((base / _TRAIN).glob("*/*.wav")):
        split = split_of(path.name)
        if path.parent.name == _NOISE or split == "discarded":
            continue
        parts[split].append(_utterance(path, path.parent.name))
    for split in ("train", "dev"):
        for path in sorted((base / _TRAIN / _NOISE).glob("*.wav")):
            parts[split] += _pieces(path, split)
    parts["test"] = [
        _utterance(path, path.parent.name) for path in sorted((base / _TEST).glob("*/*.wav"))
    ]
    for name, utterances in parts.items():
        if not utterances:
            raise DataError(f"no audio for the split {name!r}", where=base, hint=_HINT)
    return {name: CutSet.from_cuts(strict_cuts(u, base).values()) for name, u in parts.items()}


def split_of(name: str) -> str:
    """Give "dev", "train" or "discarded" (the corpus' own test part, replaced by the test set)."""
    speaker = Path(name).name.partition("_nohash_")[0]
    digest = int(hashlib.sha1(speaker.encode()).hexdigest(), 16)
    percent = digest % (_BUCKETS + 1) * (100.0 / _BUCKETS)
    return "dev" if percent < 10 else "discarded" if percent < 20 else "train"


def _utterance(path: Path, word: str) -> Utterance:
    known = (*COMMANDS, UNKNOWN, SILENCE)
    speaker, sign, _ = path.name.partition("_nohash_")
    return Utterance(
        id=f"{path.parent.name}-{path.stem}",
        audio=path,
        where=str(path),
        text=None if word.startswith("_") else word,
        speaker=speaker if sign else None,
        language="en",
        custom={"label": word if word in known else UNKNOWN},
    )


def _pieces(path: Path, split: str) -> Iterator[Utterance]:
    try:
        seconds = int(soundfile.info(str(path)).duration)
    except soundfile.SoundFileError as error:
        raise DataError("the audio cannot be decoded", where=path, found=error) from None
    for second in range(seconds):
        name = f"{split}-{path.stem}-{second:03d}"
        label = {"label": SILENCE}
        yield Utterance(name, path, str(path), float(second), float(second + 1), custom=label)

"""The trees that `benchmarks/losses.py` trains on, and what S3PRL's preparation makes of them.

Synthetic speech, laid out by the makers of the tests. But for what measures just that, no utterance
exceeds 8 s and background noise lasts one second, so that nothing is cropped at random, and QUESST
is written at 16 kHz, so that nothing is resampled.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import yaml
from probing.superb_trees import Drawn

from speechft.core.lengths import SAMPLE_RATE
from speechft.data.load import load_data

sys.path.append(str(Path(__file__).parents[2] / "tests" / "support"))

from corpus_trees import MAKERS, Speech
from corpus_trees.voxceleb1 import TEST

Config = dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """One task, or what else is measured of it.

    Attributes:
        downstream: S3PRL's name of it.
        config: S3PRL's configuration, below its folder.
        corpus: that both sides read.
        sizes: of the tree.
        seconds: shortest and longest utterance.
        rate: learning rate, large enough that an update is seen in the next loss.
        updates: that are compared.
        about: what it measures, where that is not the task itself.
    """

    downstream: str
    config: str
    corpus: str
    sizes: Mapping[str, int]
    seconds: tuple[float, float]
    rate: float = 1e-2
    updates: int = 3
    about: str = ""


TASKS = {
    "pr": Comparison("ctc", "libriphone.yaml", "librispeech", {"per_chapter": 10}, (2.0, 5.0)),
    "asr": Comparison(
        "asr", "config.yaml", "librispeech", {"per_chapter": 16}, (1.4, 2.0), 1e-3, 2
    ),
    "ks": Comparison("speech_commands", "config.yaml", "speech_commands", {"each": 6}, (1.0, 1.0)),
    "ic": Comparison(
        "fluent_commands", "config.yaml", "fluent_speech_commands", {"each": 24}, (1.3, 3.5)
    ),
    "sid": Comparison(
        "voxceleb1", "config.yaml", "voxceleb1", {"each": 4, "speakers": 6}, (3.0, 7.0)
    ),
    "er": Comparison("emotion", "config.yaml", "iemocap", {"each": 2}, (2.0, 5.0)),
    "asv": Comparison(
        "sv_voxceleb1",
        "configs/amsoftmax.yaml",
        "voxceleb1",
        {"each": 4, "speakers": 6},
        (3.0, 5.0),
        1e-3,
        2,
    ),
    "sd": Comparison("diarization", "config.yaml", "libri2mix", {"each": 8}, (3.0, 6.0), 1e-3, 2),
    "sf": Comparison("ctc", "snips.yaml", "snips", {"each": 32}, (1.4, 2.0), 1e-3, 2),
    "qbe": Comparison(
        "quesst14_dtw", "config.yaml", "quesst2014", {"documents": 12, "queries": 6}, (2.0, 4.0)
    ),
}
CROPS = {"sizes": {"each": 2, "speakers": 6}, "seconds": (10.0, 14.0), "updates": 1}
TASKS |= {
    "qbe-8k": replace(TASKS["qbe"], about="QUESST's own 8 kHz, resampled by sox and by soxr"),
    "sid-crops": replace(TASKS["sid"], **CROPS, about="8 s of longer utterances"),
    "asv-crops": replace(TASKS["asv"], **CROPS, about="8 s of longer utterances"),
}


class Joined(Drawn):
    """Gives utterances that are made of several of one voice, where one is too short."""

    def take(self, voice: int = 0, seconds: float | None = None) -> tuple[np.ndarray, Any]:
        wanted = float(self.random.uniform(*self.seconds)) if seconds is None else seconds
        wave, said = Speech.take(self, voice)
        while len(wave) < wanted * SAMPLE_RATE:
            wave = np.concatenate([wave, Speech.take(self, voice)[0]])
        return wave[: int(wanted * SAMPLE_RATE)], said


def lay_out(name: str, root: Path, data: str, source: Path, seed: int = 0) -> tuple[str, Config]:
    """Lay out a task's corpus; give DATA for ours, and the configuration for S3PRL's side.

    Args:
        name: of `TASKS`.
        root: a new folder.
        data: the synthetic speech.
        source: a copy of S3PRL's repository, for its configurations and lists.
        seed: of lengths and noise.
    """
    own, task = TASKS[name], name.partition("-")[0]
    splits = load_data(data)
    if task == "sf":
        splits = {
            name: [cut for cut in cuts if (cut.supervisions[0].custom or {}).get("words_tags")]
            for name, cuts in splits.items()
        }
    further = {"plain": True} if task == "sf" else {}
    speech = (Joined if name.endswith("-crops") else Drawn)(splits, own.seconds, seed)
    place = MAKERS[own.corpus](root, speech, **own.sizes, **further)
    folder = source / "s3prl" / "downstream" / own.downstream
    config = yaml.safe_load((folder / own.config).read_text())
    _WRITERS[task](config["downstream_expert"], place, folder)
    if name == "qbe":
        for path in place.rglob("*.wav"):
            wave, rate = soundfile.read(path)
            soundfile.write(path, soxr.resample(wave, rate, SAMPLE_RATE), SAMPLE_RATE)
    return f"{own.corpus}:{place}", config


def speakers(place: Path) -> int:
    """Count VoxCeleb1's speakers for identification."""
    listed = (place / "iden_split.txt").read_text().split()[1::2]
    return len({name.partition("/")[0] for name in listed})


def _phonemes(expert: Config, place: Path, folder: Path) -> None:
    names = [Path(name).name for name in expert["corpus"]["lexicon"]]
    expert["corpus"] |= {"path": str(place), "lexicon": [str(place / name) for name in names]}
    expert["text"]["vocab_file"] = str(folder / "vocab" / "phoneme.txt")


def _letters(expert: Config, place: Path, folder: Path) -> None:
    """Write the lengths, as S3PRL's preparation does."""
    lengths = place.parent / "lengths"
    lengths.mkdir()
    for part in ("train-clean-100", "dev-clean", "test-clean"):
        files = sorted((place / part).rglob("*.flac"))
        rows = [f"{path.relative_to(place)},{soundfile.info(path).frames}\n" for path in files]
        (lengths / f"{part}.csv").write_text("file_path,length\n" + "".join(rows))
    expert["datarc"] |= {"libri_root": str(place), "bucket_file": str(lengths)}
    expert["datarc"]["dict_path"] = str(folder / "char.dict")


def _keywords(expert: Config, place: Path, _folder: Path) -> None:
    train, test = (place / f"speech_commands{part}_v0.01" for part in ("", "_test_set"))
    for path in (train / "_background_noise_").glob("*.wav"):
        wave, rate = soundfile.read(path)
        soundfile.write(path, wave[:SAMPLE_RATE], rate)
    roots = {"speech_commands_root": str(train), "speech_commands_test_root": str(test)}
    expert["datarc"] |= roots


def _intents(expert: Config, place: Path, _folder: Path) -> None:
    expert["datarc"]["file_path"] = str(place)


def _speakers(expert: Config, place: Path, _folder: Path) -> None:
    """Leave out the speakers of the trials, so that S3PRL's numbers of speakers have no gap."""
    listing = place / "iden_split.txt"
    lines = listing.read_text().splitlines(keepends=True)
    listing.write_text("".join(line for line in lines if line.split()[1][:7] not in TEST))
    expert["datarc"] |= {"file_path": str(place), "meta_data": str(listing)}


def _emotions(expert: Config, place: Path, folder: Path) -> None:
    lists = {"meta_data": str(place / "meta_data"), "published": str(folder / "meta_data")}
    expert["datarc"] |= {"root": str(place), **lists}


def _trials(expert: Config, place: Path, _folder: Path) -> None:
    trials = str(place / "voxceleb1_test_v2.txt")
    lists = {"train_meta_data": trials, "dev_meta_data": trials, "test_meta_data": trials}
    expert["datarc"] |= {"file_path": str(place), **lists}


def _turns(expert: Config, place: Path, _folder: Path) -> None:
    expert["loaderrc"] |= {f"{part}_dir": str(place / part) for part in ("train", "dev", "test")}


def _slots(expert: Config, place: Path, folder: Path) -> None:
    """Write the list of slots that occur in training, as in the corpus all of them do."""
    tags: set[str] = set()
    for line in (place / "all.iob.snips.txt").read_text().splitlines():
        name, _, rest = line.partition(" ")
        if name.startswith(tuple(expert["corpus"]["train_speakers"])):
            tags |= set(rest.partition("\t")[2].split()[1:-1])
    (place / "slots.txt").write_text("\n".join(["O", *sorted(tags - {"O"})]))
    expert["corpus"]["path"] = str(place)
    expert["text"]["vocab_file"] = str(folder / "vocab" / "character.txt")
    expert["text"]["slots_file"] = str(place / "slots.txt")


def _queries(expert: Config, place: Path, _folder: Path) -> None:
    expert["datarc"]["dataset_root"] = str(place)
    expert["max_workers"] = 1


_WRITERS = {
    "pr": _phonemes,
    "asr": _letters,
    "ks": _keywords,
    "ic": _intents,
    "sid": _speakers,
    "er": _emotions,
    "asv": _trials,
    "sd": _turns,
    "sf": _slots,
    "qbe": _queries,
}

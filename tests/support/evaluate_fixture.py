"""Data and encoders small enough for unit tests of evaluations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile
from tiny_configs import ONE_LAYER

from speechft.core.files import read_json
from speechft.core.settings import parse_settings
from speechft.probing.settings import EvaluateSettings

CONFIG = ONE_LAYER
SIZES = {"train": 12, "dev": 4, "test": 6}


def write_tones(folder: Path, seed: int = 0, length: tuple[float, float] = (0.3, 0.7)) -> Path:
    """A corpus small enough for unit tests: the pitch tells the speaker, the text is random."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    rows = []
    for split, count in SIZES.items():
        for i in range(count):
            seconds = random.uniform(*length)
            time = np.arange(int(16000 * seconds)) / 16000
            pitch = (150, 400)[i % 2]
            wave = 0.3 * np.sign(np.sin(2 * np.pi * pitch * time)) + 0.05 * random.normal(
                size=len(time)
            )
            name = f"{split}-{i}.wav"
            soundfile.write(folder / name, wave, 16000)
            words = [str(random.choice(["go", "stop"])) for _ in range(2)]
            rows.append(
                {
                    "audio": name,
                    "text": " ".join(words),
                    "speaker": ("low", "high")[i % 2],
                    "phonemes": " ".join(w[0] for w in words),
                    "emotion": ("calm", "angry")[i % 2],
                    "split": split,
                }
            )
    table = folder / "table.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return table


def relabel(table: Path, split: str) -> Path:
    """Give all utterances of a split the other speaker, and 30 phonemes in the place of two."""
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    for row in rows:
        if row["split"] == split:
            row["speaker"] = {"low": "high", "high": "low"}[row["speaker"]]
            row["phonemes"] = "g s " * 15
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return table


def evaluation(home: Path, out: Path, **values: object) -> EvaluateSettings:
    """Settings of an evaluation that takes a second: one encoder, one task, few updates."""
    base = {
        "encoders": (("encoder", home / "one"),),
        "data": str(home / "data" / "table.jsonl"),
        "out": out,
        "tasks": "sid",
        "steps": 4,
        "batch_size": 4,
        "checks": 2,
        "learning_rates": 0.01,
        "workers": 1,
    }
    return parse_settings(EvaluateSettings, {**base, **values}, where="test")


def passes(out: Path) -> dict[str, int]:
    """Give how many utterances each encoder has read in the last call."""
    encodings = read_json(out / "timing.json")["encoding"]
    return {name: about["encoder_passes"] for name, about in encodings.items()}

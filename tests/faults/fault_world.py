"""A small world for each fault, a command run in it, and what came out."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile

LIMIT: Final = 10.0
"""Seconds of computing that a fault may take before it is said."""
_HANGS: Final = 30
"""Seconds, by the clock on the wall, after which it is ended."""
TINY: Final[dict[str, Any]] = {
    "model_type": "hubert", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 32, "conv_dim": [16] * 7, "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4, "feat_extract_norm": "group", "mask_time_prob": 0.05,
}  # fmt: skip
ROWS: Final = tuple(
    (f"{split}{n}", split, f"s{n % 2}") for split in ("train", "dev", "test") for n in range(4)
)
RECIPE: Final = """name: small
encoder: enc
data: data.csv
finetune: {task: sid, steps: 1, head_size: mini}
evaluate: {tasks: [sid], steps: 1, workers: 1}
"""
STUDY: Final = """name: small
encoders: {enc: enc}
data: data.csv
tasks: [sid]
"""


def build(folder: Path) -> Path:
    """Make the world: two encoders, a table of speech, a run's results, files of the user's own."""
    import torch

    from speechft.encoders import build_encoder

    folder.mkdir(parents=True)
    encoder = build_encoder(dict(TINY), seed=0)
    encoder.save(folder / "enc")
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.mul_(1.01)
    encoder.save(folder / "tuned")
    (folder / "audio").mkdir()
    for number, (name, _split, _speaker) in enumerate(ROWS):
        generator = np.random.default_rng(number)
        soundfile.write(folder / "audio" / f"{name}.wav", generator.normal(0, 0.1, 8000), 16000)
    write_table(folder / "data.csv")
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "study.yaml").write_text(STUDY)
    (folder / "notes.txt").write_text("mine")
    (folder / "theirs").mkdir()
    (folder / "theirs" / "notes.txt").write_text("mine")
    (folder / "theirs" / "x.tmp").write_text("mine")
    return folder


def write_table(path: Path, **columns: str | None) -> Path:
    """Write a table of the world's speech, with other values in the first row, or a column less."""
    rows = [
        {"audio": f"audio/{name}.wav", "split": split, "speaker": speaker, "text": "one two"}
        for name, split, speaker in ROWS
    ]
    for key, value in columns.items():
        if value is None:
            for row in rows:
                row.pop(key)
        else:
            for number, row in enumerate(rows):
                row[key] = value if number == 0 else row.get(key, "")
    names = list(rows[0])
    lines = [",".join(names), *(",".join(row[n] for n in names) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogateescape")
    return path


class Hangs(BaseException):
    """Raised in a command that is still at work after half a minute."""


@dataclass(frozen=True)
class Outcome:
    """What a command did.

    Attributes:
        code: its exit code.
        text: what it printed, to both streams.
        seconds: of computing.
        lost: files that were there and are gone, or are not as they were.
    """

    code: int
    text: str
    seconds: float
    lost: tuple[str, ...]

    def faults(self, expects: frozenset[int]) -> list[str]:
        """Say all that is wrong with it."""
        found = [f"lost {name}" for name in self.lost]
        if self.code not in expects:
            found.append(f"exit code {self.code}, expected {sorted(expects)}")
        if "Traceback" in self.text or "something unexpected" in self.text:
            found.append("a traceback")
        if self.code in (2, 3, 4) and not re.search(r"\n  (next|expected): ", self.text):
            found.append("no next step")
        if "\x1b[31m" in self.text or "\x07" in self.text:
            found.append("a terminal escape of a file came out")
        if self.seconds > LIMIT:
            found.append(f"{self.seconds:.1f} s")
        return found


def run(arguments: Sequence[str]) -> Outcome:
    """Run a command in this process, in the folder that is current."""
    from speechft.cli.app import main

    before = _files(Path())
    printed = io.StringIO()
    started = time.process_time()
    code: Any = None
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), alarm():
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
        except Hangs:
            code = -1
    seconds = time.process_time() - started
    return Outcome(int(code or 0), printed.getvalue(), seconds, _lost(before))


def _lost(before: dict[str, str]) -> tuple[str, ...]:
    try:
        after = _files(Path())
    except FileNotFoundError:
        return ()
    return tuple(name for name, digest in before.items() if after.get(name) != digest)


def _files(folder: Path) -> dict[str, str]:
    found = {}
    for home, folders, names in os.walk(folder):
        for name in (*names, *folders):
            path = Path(home, name)
            if path.is_symlink():
                found[str(path)] = os.readlink(path)
            elif path.is_file() and not name.endswith(".lock"):
                found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@contextlib.contextmanager
def alarm(seconds: int = _HANGS) -> Iterator[None]:
    """Raise `Hangs` in what takes longer than some seconds by the clock on the wall."""

    def hang(*_: Any) -> None:
        raise Hangs

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def copy_of(world: Path, target: Path) -> Path:
    """Give a copy of the world."""
    shutil.copytree(world, target, symlinks=True)
    return target

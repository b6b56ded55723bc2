"""How many modules something passes on its way: a reader who follows it opens so many files.

    python benchmarks/modules.py

Two ways are followed, each counted as the modules of the package with a function that is executed:
a waveform from `speechft evaluate` to a number, and alpha from a recipe to the bytes of the merged
encoder (the recipe is planned and merges, everything else in it is done; what looks at the data
and at the results of other steps, and the report, are not on the way of alpha).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import soundfile

import speechft

ROOT = f"{Path(speechft.__file__).parent}{os.sep}"
# Other steps' rooms, and the folders that they had before.
ASIDE = {"data", "tasks", "heads", "metrics", "hidden", "probing", "training", "reporting"}
RECIPE = """
name: follow
seeds: [0]
encoder: tiny-hubert
data: data/table.jsonl
finetune: {task: sid, steps: 2, head_size: mini, seconds: 4}
merge: {alpha: 0.25}
evaluate: {tasks: [sid], steps: 3, workers: 1}
"""


def main() -> None:
    """Follow both and show the modules."""
    show = "--show" in sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["SPEECHFT_CACHE"] = folder
        write_tones(Path("data"))
        given = ("tiny-hubert", "--data", "data/table.jsonl", "--tasks", "sid", "--steps", "3")
        with followed() as waveform:
            run("evaluate", *given, "--workers", "1", "--out", "scores")
        Path("recipe.yaml").write_text(RECIPE)
        run("run", "recipe.yaml", "--out", "run")
        shutil.rmtree("run/seed-0/merge-sid")
        with followed() as alpha:
            run("run", "recipe.yaml", "--out", "run")
        alpha = {name for name in alpha if name.partition("/")[0] not in ASIDE}
    for what, modules in (("a waveform", waveform), ("alpha", alpha)):
        print(f"{what} passes {len(modules)} modules")
        if show:
            print("    " + "\n    ".join(sorted(modules)))


def run(*arguments: str) -> None:
    """Call the command line in this process."""
    from speechft.cli.app import main as command

    try:
        command(list(arguments))
    except SystemExit as end:
        if end.code:
            raise


@contextmanager
def followed() -> Iterator[set[str]]:
    """Collect the modules in which a function runs, and is not run by an import."""
    modules: set[str] = set()

    def look(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        function = code.co_flags & 1 and not code.co_name.startswith("<")
        if event != "call" or not function or not code.co_filename.startswith(ROOT):
            return
        module = code.co_filename[len(ROOT) :]
        if module not in modules and not _importing(frame):
            modules.add(module)

    sys.setprofile(look)
    threading.setprofile(look)
    try:
        yield modules
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def _importing(frame: FrameType) -> bool:
    above = frame.f_back
    while above is not None:
        if above.f_code.co_name == "<module>" and above.f_code.co_filename.startswith(ROOT):
            return True
        above = above.f_back
    return False


def write_tones(folder: Path) -> None:
    """Write a corpus of tones: the pitch tells the speaker."""
    folder.mkdir()
    rows = []
    for number in range(22):
        split = "train" if number < 12 else "dev" if number < 16 else "test"
        pitch = (150, 400)[number % 2]
        time = np.arange(8000 + 400 * number) / 16000
        soundfile.write(folder / f"{number}.wav", 0.3 * np.sin(2 * np.pi * pitch * time), 16000)
        speaker = ("low", "high")[number % 2]
        rows.append({"audio": f"{number}.wav", "speaker": speaker, "split": split, "text": "go"})
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "table.jsonl").write_text(lines)


if __name__ == "__main__":
    main()

"""What the tests of fine-tuning share: settings, tensors that moved, a stage that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import torch
from safetensors.torch import load_file

from speechft.stages.finetune import FinetuneSettings

SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from pathlib import Path
from speechft.stages.finetune import FinetuneSettings, finetune
finetune(FinetuneSettings.model_validate_json(Path(sys.argv[1]).read_text()))
"""


def settings(encoder, out, **more):
    values = {
        "task": "sid",
        "data": "synthetic:tiny",
        "steps": 20,
        "seconds": 12,
        "evaluate_every": 5,
        "save_every": 5,
        "head_size": "mini",
        "learning_rate": 1e-3,
        **more,
    }
    return FinetuneSettings(encoder=str(encoder), out=out, **values)


def tensors(folder):
    return load_file(folder / "model.safetensors")


def moved(folder, base):
    before, after = tensors(base), tensors(folder)
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def kill_after(chosen, lines):
    """Start the stage and kill it as soon as its metrics have so many lines; give its exit code."""
    file = chosen.out.with_suffix(".json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(chosen.model_dump_json())
    metrics = chosen.out / "metrics.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(file)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if metrics.exists() and len(metrics.read_bytes().splitlines()) >= lines:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.01)
    return process.wait(timeout=60)

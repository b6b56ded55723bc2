"""What the tests of fine-tuning share: settings, tensors that moved, a stage that is killed."""

from __future__ import annotations

import os
import signal

import torch
from kills import start_fork
from safetensors.torch import load_file

from speechft.training.finetune.settings import FinetuneSettings
from speechft.training.finetune.stage import finetune
from speechft.training.loop import Loop


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
        "threads": 1,
        **more,
    }
    return FinetuneSettings(encoder=str(encoder), out=out, **values)


def tensors(folder):
    return load_file(folder / "model.safetensors")


def moved(folder, base):
    before, after = tensors(base), tensors(folder)
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def kill_at(chosen, update, moment="_update"):
    """Run the stage in a process that ends itself by SIGKILL; give its exit code.

    The moment is a method of the loop: `_update`, when nothing of the update is written yet,
    `_evaluate`, when the best encoder is and the state is not, or `_save`.
    """
    method = getattr(Loop, moment)

    def last(loop, *args):
        result = method(loop, *args)
        if loop.progress.update == update:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    def run():
        setattr(Loop, moment, last)  # of the fork alone
        finetune(chosen)

    return os.waitstatus_to_exitcode(os.waitpid(start_fork(run), 0)[1])

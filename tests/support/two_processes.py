"""What each of two processes does that train together: `two_processes.py FOLDER SCENARIO…`.

Every scenario trains with two processes. `infinite` makes the loss of the second process
infinite at one update, its gradient finite; `kill` before a name ends it there by SIGKILL. What one
process shall equal trains in float64.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

COMMON: dict[str, Any] = {
    "data": "synthetic:tiny",
    "seconds": 8,
    "seed": 3,
    "threads": 1,
    "learning_rate": 1e-3,
    "evaluate_every": 4,
    "save_every": 2,
}
ALL = os.environ.get("SPEECHFT_FAULTS") == "all"
STEPS = 50 if ALL else 6
FINETUNE = {**COMMON, "head_size": "mini", "steps": STEPS, "keep_at": [0.5]}
MASKED = {"mask_share": 0.2, "mask_channels": 0.1}
CUT = {"micro_batch": 3.0, "checkpointing": True, "guard": "warn"}
AVERAGED = {"ema": 0.9, "average_last": 0.5}
SETTINGS: dict[str, dict[str, Any]] = {
    "one": {**FINETUNE, **MASKED, **AVERAGED, "task": "sid"},
    "two": {**FINETUNE, "task": "pr,sid"},
    "cut": {**FINETUNE, **CUT, "task": "pr"},
    "patient": {**COMMON, "task": "sid", "evaluate_every": 1, "patience": 1, "epochs": 2},
    "further": {"continued": "one", "steps": STEPS},
    "pieces": {**FINETUNE, **MASKED, **AVERAGED, **CUT, "task": "pr,sid", "shard": True},
    "lora-pieces": {**FINETUNE, "task": "sid", "method": "lora", "shard": True},
    "further-pieces": {"continued": "pieces", "steps": STEPS},
    "pretrain-pieces": {**COMMON, "steps": STEPS, "checkpointing": True, "shard": True},
    "infinite": {**FINETUNE, "task": "pr,sid", "steps": 6},
    "infinite-pretrain": {**COMMON, "steps": 4},
    "pretrain": {**COMMON, "steps": STEPS, "mixing": 0.5},
    "moved": {**FINETUNE, "task": "pr,sid", "steps": STEPS + 2},
    "moved-pieces": {**FINETUNE, **AVERAGED, "task": "pr,sid", "steps": STEPS + 2, "shard": True},
    "moved-pretrain": {**COMMON, "steps": STEPS + 2},
}
BAD_UPDATE = 3
MOVED = ("moved", "moved-pieces", "moved-pretrain") if ALL else ("moved-pieces",)
WHOLE = ("one", "two", "further", "pretrain")
PIECES = ("pieces", "pretrain-pieces")
# What they add to the others is in `make faults`.
FURTHER = ("cut", "patient", "lora-pieces", "further-pieces")
EQUAL = (*WHOLE, *PIECES, *MOVED, *(FURTHER if ALL else ()))
KILL = "kill "


def finished(
    folder: Path, *scenarios: str, timeout: float = 300
) -> list[subprocess.CompletedProcess[str]]:
    """Run scenarios in two processes; give how both ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    shared |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "LOCAL_WORLD_SIZE": "2"}
    command = [sys.executable, __file__, str(folder), *scenarios]
    both = [
        subprocess.Popen(
            command,
            env={**os.environ, **shared, "RANK": rank, "LOCAL_RANK": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    try:
        said = [process.communicate(timeout=timeout)[1] for process in both]
    finally:
        for process in both:
            process.kill()
    return [
        subprocess.CompletedProcess(command, process.returncode, "", text)
        for process, text in zip(both, said, strict=True)
    ]


def run(folder: Path, name: str, **more: Any) -> Path:
    """Train; give the run's folder."""
    from speechft.training.finetune.stage import FinetuneSettings, finetune
    from speechft.training.pretrain.settings import PretrainSettings
    from speechft.training.pretrain.stage import pretrain

    values = {**SETTINGS[name], "out": folder / name, **more}
    if "continued" in values:
        return finetune(FinetuneSettings(**values | {"continued": folder / values["continued"]}))
    if "task" in values:
        return finetune(FinetuneSettings(encoder=str(folder / "base"), **values))
    units = {"clusters": 8, "layer": 1, "steps": values.pop("steps")}
    units["learning_rate"] = values.pop("learning_rate")
    return pretrain(PretrainSettings(init=str(folder / "base"), iterations=(units,), **values))


@contextmanager
def in_float64() -> Iterator[None]:
    """Train in float64, in which the order of sums is no noise: float32 is what Adam grows."""
    import torch

    from speechft.encoders import SpeechEncoder
    from speechft.hidden import decode_ahead, front_end_cache
    from speechft.training.finetune import stage as finetuning
    from speechft.training.pretrain import stage as pretraining
    from speechft.training.pretrain import units

    with ExitStack() as stack:

        def doubled(module: Any, name: str, change: Callable[[Any], Any]) -> None:
            real = getattr(module, name)
            stack.callback(setattr, module, name, real)
            setattr(module, name, lambda *args, **more: change(real(*args, **more)))

        torch.set_default_dtype(torch.float64)
        stack.callback(torch.set_default_dtype, torch.float32)
        stack.callback(setattr, torch.Tensor, "float", torch.Tensor.float)
        torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
        doubled(decode_ahead, "load_waveform", torch.Tensor.double)
        doubled(finetuning, "load_encoder", torch.nn.Module.double)
        doubled(pretraining, "load_encoder", torch.nn.Module.double)
        real_forward = SpeechEncoder.forward
        stack.callback(setattr, SpeechEncoder, "forward", real_forward)
        SpeechEncoder.forward = lambda self, waves: self.from_front_end(  # type: ignore[method-assign]
            *front_end_cache.front_end_output(self, waves)
        )
        nearest = units.nearest_units
        stack.callback(setattr, units, "nearest_units", nearest)
        units.nearest_units = lambda frames, centres: nearest(frames, centres.double())
        yield


def _spoil(killed: bool, rank: int) -> None:
    """Let something happen to the second process at one update."""
    from speechft.training.loop import Loop

    real = Loop._update

    def update(loop: Loop, batches: Any) -> Any:
        if rank == 1 and loop.progress.update + 1 == BAD_UPDATE:
            if killed:
                (loop.folder / "killed-at").write_text(str(time.monotonic()))
                os.kill(os.getpid(), signal.SIGKILL)
            loss = loop.objective.loss
            loop.objective.loss = lambda *args: (loss(*args)[0] + float("inf"), {})  # type: ignore[method-assign]
            try:
                return real(loop, batches)
            finally:
                loop.objective.loss = loss  # type: ignore[method-assign]
        return real(loop, batches)

    Loop._update = update  # type: ignore[method-assign]


def main(folder: Path, scenarios: list[str]) -> None:
    """Do the scenarios one after another; note the weights that this process ends with."""
    from speechft.training.loop import Loop

    rank = int(os.environ["RANK"])
    ends: dict[str, str] = {}
    real_run, real_update = Loop.run, Loop._update

    def noted_run(loop: Loop) -> Any:
        import hashlib

        from speechft.training.pieces import whole

        result = real_run(loop)
        state = loop.objective.module.state_dict().values()
        digest = hashlib.sha256(b"".join(whole(t).detach().numpy().tobytes() for t in state))
        ends[name] = digest.hexdigest()
        return result

    Loop.run = noted_run  # type: ignore[method-assign]
    for scenario in scenarios:
        name = scenario.removeprefix(KILL)
        Loop._update = real_update  # type: ignore[method-assign]
        if name.startswith("infinite") or name != scenario:
            _spoil(name != scenario, rank)
        with in_float64() if name in EQUAL else nullcontext():
            run(folder, name)
    (folder / f"ends-{rank}.json").write_text(json.dumps(ends))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])

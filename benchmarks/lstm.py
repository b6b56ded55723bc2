"""The recurrent layers of an ASR probe on a CPU: float32 beside bfloat16.

    python benchmarks/lstm.py --threads 2 --out results/benchmarks/lstm.json

SUPERB's head of ASR (two bidirectional LSTM layers of 1024) on batches of hidden states, forwards
alone and a whole update (forwards, backwards, Adam), in float32, as it is, and with its LSTMs under
autocast, as oneDNN computes them in bfloat16. Both sides take turns, a median is over rounds.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import torch
from probe import machine
from torch import Tensor

from speechft.heads import rnn


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Give the seconds of each side, by what is done."""
    torch.manual_seed(0)
    head = rnn.RecurrentCTC(768, 32)
    optimiser = torch.optim.Adam(head.parameters(), lr=1e-4, fused=True)
    frames = torch.randn(options.batch, options.frames, 768)
    lengths = torch.full((options.batch,), options.frames)

    def forwards() -> Tensor:
        return head(frames, lengths)

    def update() -> None:
        forwards().float().log_softmax(-1).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()

    def timed(call: Callable[[], Any], half: bool) -> float:
        exact = rnn.full_precision
        if half:
            rnn.full_precision = nullcontext  # type: ignore[assignment]
        try:
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                start = time.perf_counter()
                call()
                return time.perf_counter() - start
        finally:
            rnn.full_precision = exact  # type: ignore[assignment]

    def still() -> None:
        with torch.no_grad():
            forwards()

    found: dict[str, dict[str, list[float]]] = {}
    for name, call in {"forwards": still, "update": update}.items():
        sides: dict[str, list[float]] = {"float32": [], "bfloat16": []}
        for number in range(options.rounds + 1):
            for side, seconds in sides.items():
                took = timed(call, side == "bfloat16")
                if number:  # the first finds kernels
                    seconds.append(round(took, 4))
        found[name] = sides
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = measure(options)
    for name, sides in found.items():
        exact, half = (median(seconds) for seconds in sides.values())
        print(f"{name:10} float32 {exact:.3f} s, bfloat16 {half:.3f} s: {exact / half:.2f} x")
    if options.out:
        about = {"machine": machine(options.threads), "torch": torch.__version__}
        about |= {"batch": options.batch, "frames": options.frames, "seconds": found}
        options.out.write_text(json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Memory of a fine-tuning's update by the encoder's size: measured to 300 M, computed above.

    python benchmarks/memory.py --out results/benchmarks/memory.json

Encoders of wav2vec 2.0's shapes get random weights and are fine-tuned for two updates by the
package's own stage (the second has weights, gradients, both moments and activations at once), in
float32 on the CPU. Every case is a process of its own; its figure is the peak of its resident
memory while it updates, beyond what it had when all libraries were imported (Linux alone).

An encoder of many layers needs what two of its layers need, and so much more for each further one.
So those that are too large for this machine are computed: the same is measured with two numbers of
their layers, at their own width, and extended in a straight line. How far that is off is said by
doing the same for encoders that are measured whole. What 8 bits save is computed, too: the bytes of
`MOMENTS` of the weights that move; it is checked on the smaller encoders.

What a record holds already is not measured again.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from finetune import make_data
from probe import machine, note

from speechft.core.files import read_json, write_json
from speechft.training.optimisers import MOMENTS

SHAPES: Final[dict[str, dict[str, Any]]] = {
    "quarter of Base": {"hidden_size": 384, "num_attention_heads": 6, "layers": 12},
    "Base": {"hidden_size": 768, "num_attention_heads": 12, "layers": 12},
    "XLS-R 0.3B": {"hidden_size": 1024, "num_attention_heads": 16, "layers": 24},
    "XLS-R 1B": {"hidden_size": 1280, "num_attention_heads": 16, "layers": 48},
    "XLS-R 2B": {"hidden_size": 1920, "num_attention_heads": 16, "layers": 48},
}
"""Of wav2vec 2.0 (Baevski et al. 2020) and XLS-R (Babu et al. 2021, table 2)."""
WHOLE: Final = ("quarter of Base", "Base", "XLS-R 0.3B")
FEW: Final = {"Base": (2, 6), "XLS-R 0.3B": (2, 6), "XLS-R 1B": (2, 4), "XLS-R 2B": (2, 4)}
"""Layers of the two encoders by which one of all layers is computed."""
LARGE: Final = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
CASES: Final[dict[str, dict[str, Any]]] = {
    "full": {},
    "full, checkpointing": {"checkpointing": True},
    "LoRA": {"method": "lora"},
    "LoRA, checkpointing": {"method": "lora", "checkpointing": True},
}
EIGHT: Final = "full, checkpointing, 8 bit"
UPDATES: Final = 2


def config(shape: str, layers: int) -> dict[str, Any]:
    """Give a transformers configuration of a shape with so many layers, without any dropout."""
    known = {name: value for name, value in SHAPES[shape].items() if name != "layers"}
    still = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout")
    return {
        "model_type": "wav2vec2",
        "intermediate_size": 4 * known["hidden_size"],
        "num_hidden_layers": layers,
        **known,
        **dict.fromkeys((*still, "layerdrop"), 0.0),
        **(LARGE if shape.startswith("XLS-R") else {}),
    }


def resident(name: str) -> int:
    """Give bytes of this process' resident memory: `VmRSS` now, `VmHWM` at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])


class _Done(Exception):
    """The updates that are measured are done."""


def measure_here(case: str, encoder: Path, work: Path, seconds: float, threads: int) -> None:
    """Fine-tune in this process until the updates are done; write what they took, and no more."""
    from speechft.training.finetune import stage
    from speechft.training.finetune.settings import FinetuneSettings
    from speechft.training.loop import Loop

    found: dict[str, Any] = {}
    load, update = stage.load_encoder, Loop._update

    def noted_load(*given: Any, **more: Any) -> Any:
        found["before"] = resident("VmRSS")
        loaded = load(*given, **more)
        found["encoder_parameters"] = sum(p.numel() for p in loaded.parameters())
        return loaded

    def noted_update(loop: Any, batches: Any) -> Any:
        if loop.progress.update == 0:
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        result = update(loop, batches)
        if loop.progress.update == UPDATES:
            found["bytes"] = resident("VmHWM") - found.pop("before")
            moving = [p for p in loop.parameters if p.requires_grad]
            found["moving_parameters"] = sum(p.numel() for p in moving)
            raise _Done
        return result

    stage.load_encoder, Loop._update = noted_load, noted_update  # type: ignore[assignment, method-assign]
    settings = FinetuneSettings(
        encoder=str(encoder),
        task="sid",
        data=str(work / "table.csv"),
        steps=10,
        seconds=seconds,
        head_size="superb",
        head_warmup=0.0,
        precision="no",
        threads=threads,
        log="none",
        out=work / case.replace(" ", "-"),
        **(CASES | {EIGHT: {"checkpointing": True, "optimiser": "adam-8bit"}})[case],
    )
    with suppress(_Done):
        stage.finetune(settings)
    write_json(work / "found.json", found)


def measure(
    options: argparse.Namespace, shape: str, layers: int, wanted: Iterable[str]
) -> dict[str, dict[str, int]]:
    """Measure cases, each in a fork of its own of a process that has imported all libraries."""
    import bitsandbytes  # noqa: F401
    import peft  # noqa: F401

    import speechft.training.finetune.stage  # noqa: F401
    from speechft.encoders import build_encoder

    found, forks = dict[str, dict[str, int]](), get_context("fork")
    with tempfile.TemporaryDirectory(dir=options.scratch) as name:
        work = Path(name)
        make_data(work, int(options.seconds // options.length) * 2, options.length)

        def make() -> None:
            build_encoder(config(shape, layers), 0).save(work / "base")

        given = work / "base", work, options.seconds, options.threads
        calls: dict[str, Callable[[], None]] = {"": make}
        calls |= {case: partial(measure_here, case, *given) for case in wanted}
        for case, call in calls.items():
            process = forks.Process(target=call)
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(f"{shape}, {layers} layers, {case}: exit code {process.exitcode}")
            if case:
                found[case] = read_json(work / "found.json")
                note(f"{shape}, {layers} layers, {case}: {found[case]['bytes'] / 1e9:.2f} GB")
    return found


def extended(few: Mapping[int, dict[str, int]], layers: int) -> dict[str, int]:
    """Extend figures of encoders of few layers to one of many, in a straight line."""
    (low, one), (high, two) = sorted(few.items())
    return {n: round(v + (two[n] - v) / (high - low) * (layers - low)) for n, v in one.items()}


def in_8_bits(case: dict[str, int]) -> dict[str, int]:
    """Give the figures of a case with the moments in 8 bits."""
    saved = 4 * (MOMENTS["adam"] - MOMENTS["adam-8bit"]) * case["moving_parameters"]
    return {**case, "bytes": round(case["bytes"] - saved)}


def tables(measured: dict[str, dict[str, dict[str, int]]]) -> dict[str, Any]:
    """Give what follows from what is measured so far: whole encoders, computed ones, and errors."""
    whole, computed, error = dict[str, Any](), dict[str, Any](), dict[str, Any]()
    for shape in SHAPES:
        layers = SHAPES[shape]["layers"]
        there = measured.get(f"{shape}, {layers} layers", {}) if shape in WHOLE else {}
        few = {n: measured.get(f"{shape}, {n} layers", {}) for n in FEW.get(shape, ())}
        made = {
            case: extended({n: one[case] for n, one in few.items()}, layers)
            for case in CASES
            if few and all(case in one for one in few.values())
        }
        eight = (there or made).get("full, checkpointing")
        if eight:
            made[EIGHT] = in_8_bits(eight)
        if there:
            whole[shape] = there
            error[shape] = {
                case: round(made[case]["bytes"] / one["bytes"] - 1, 4)
                for case, one in there.items()
                if case in made
            }
        computed[shape] = made
    return {"measured": whole, "computed": computed, "error": error}


def main() -> None:
    """Measure, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="of speech in an update")
    parser.add_argument("--length", type=float, default=8.0, help="seconds of an utterance")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--scratch", type=Path, help="where encoders are written meanwhile")
    parser.add_argument("--out", type=Path, required=True, help="the record")
    options = parser.parse_args()
    about = {
        "machine": machine(options.threads),
        "precision": "float32",
        "seconds_of_speech": options.seconds,
        "seconds_per_utterance": options.length,
        "updates": UPDATES,
    }
    record = read_json(options.out) if options.out.is_file() else {}
    if any(record.get(name, value) != value for name, value in about.items()):
        raise SystemExit(f"{options.out} was measured otherwise: write to another file")
    cells = record.get("cells", {})
    parts = [(shape, n) for shape, counts in FEW.items() for n in counts]
    parts += [(shape, SHAPES[shape]["layers"]) for shape in WHOLE]
    for shape, layers in parts:
        cell = f"{shape}, {layers} layers"
        small = shape in WHOLE[:2] and layers == SHAPES[shape]["layers"]
        left = [c for c in (*CASES, *([EIGHT] if small else [])) if c not in cells.get(cell, {})]
        if left:
            cells[cell] = cells.get(cell, {}) | measure(options, shape, layers, left)
        write_json(options.out, {**about, **tables(cells), "cells": cells})


if __name__ == "__main__":
    main()

"""Hidden states of many utterances: ours, in exact float32 and in bfloat16, against S3PRL's.

    python benchmarks/encode.py --s3prl-python s3prl-venv/bin/python --threads 2

How to build that environment is said in `benchmarks/s3prl_side.py`. All sides get the same random
weights at Base size and the same utterances of 1 to 15 s in the same order. S3PRL takes them in
padded batches of 8, as its runner does; ours batches by duration. Every side runs in a process of
its own, which reports its time (loading apart) and its peak memory; rounds alternate between
sides, so that other work on the machine hits all of them; `--processor-time` with one thread
counts only the time that the processor gave to each. Ours keeps a mean of the last state, so that
what is computed is used. Without `--s3prl-python` only ours is timed.

With `--device cuda` the waveforms are on the GPU before the clock starts, on all sides, and each
has passed over all of them once: a GPU picks its kernels anew for every new length. S3PRL computes
there as torch does unless told otherwise, its convolutions in TF32; `S3PRL, float32` is what it
would take for exact ones, as ours are.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch


def make_waveforms(count: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    seconds = 1.0 + 14.0 * torch.rand(count, generator=generator)
    return [0.1 * torch.randn(int(s * 16000), generator=generator) for s in seconds]


def run_ours(options: argparse.Namespace) -> None:
    """One side, in a process of its own: prints seconds and peak memory as JSON."""
    from speechft.data.batching import DurationBatches
    from speechft.encoders import load_encoder

    torch.set_num_threads(options.threads)
    encoder = load_encoder(options.checkpoint, device=options.device)
    waves = torch.load(options.waves, weights_only=True)
    durations = [len(wave) / 16000 for wave in waves]
    batches = DurationBatches(durations, options.batch_seconds, seed=0, shuffle=False).epoch(0)
    cuda = options.device.startswith("cuda")
    half = options.side == "bfloat16"
    waves = [wave.to(options.device) for wave in waves]
    device = torch.device(options.device).type
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=half):
        for batch in batches if cuda else [[0]]:
            encoder([waves[i] for i in batch])
        start_clock(cuda)
        start, cpu_start = time.perf_counter(), time.process_time()
        means = []
        for batch in batches:
            output = encoder([waves[i] for i in batch])
            means.append(output.hidden_states[-1].mean())
        total = float(torch.stack(means).sum())  # waits for the GPU
        seconds = time.perf_counter() - start
        cpu = time.process_time() - cpu_start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if cuda:
        peak = torch.cuda.max_memory_allocated() / 2**20
    result = {"seconds": seconds, "cpu_seconds": cpu, "peak_mib": peak, "sum": total}
    sys.stdout.write(json.dumps(result) + "\n")


def start_clock(cuda: bool) -> None:
    """Let nothing of what went before count, neither time nor memory."""
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()


def measure(name: str, command: list[object]) -> dict[str, float]:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {name}: {result['seconds']:.2f} s\n")
    return result


def compare(options: argparse.Namespace, work: Path) -> dict[str, object]:
    from speechft.encoders import build_encoder
    from speechft.encoders.convert import convert
    from speechft.encoders.settings import ConvertSettings

    build_encoder({"model_type": options.family}, seed=0).save(work / "hf")
    checkpoint = work / "s3prl.pt"
    convert(ConvertSettings(source=str(work / "hf"), target=checkpoint, to="s3prl"))
    waves = make_waveforms(options.utterances)
    torch.save(waves, work / "waves.pt")
    shared: list[object] = ["--family", options.family, "--checkpoint", checkpoint]
    shared += ["--waves", work / "waves.pt", "--threads", options.threads]
    shared += ["--device", options.device]
    here = Path(__file__)
    sides: dict[str, list[object]] = {}
    for side in ("float32", "bfloat16"):
        ours: list[object] = [sys.executable, here, "--side", side]
        sides[f"speechft {side}"] = [*ours, "--batch-seconds", options.batch_seconds, *shared]
    if options.s3prl_python:
        python = options.s3prl_python.absolute()
        theirs: list[object] = [python, here.parent / "s3prl_side.py", *shared]
        sides["S3PRL, batches of 8"] = theirs
        if options.device.startswith("cuda"):
            sides["S3PRL, float32"] = [*theirs, "--float32"]
    audio = sum(map(len, waves)) / 16000
    rounds = [{n: measure(n, c) for n, c in sides.items()} for _ in range(options.rounds)]
    clock = "cpu_seconds" if options.processor_time else "seconds"
    best = {
        name: {
            "times_real_time": round(audio / min(r[name][clock] for r in rounds), 2),
            "seconds": [round(r[name]["seconds"], 2) for r in rounds],
            "cpu_seconds": [round(r[name]["cpu_seconds"], 2) for r in rounds],
            "peak_mib": round(min(r[name]["peak_mib"] for r in rounds)),
        }
        for name in sides
    }
    from probe import machine  # here, since a side's memory counts

    from speechft.core.devices import has_matrix_units

    cuda = options.device.startswith("cuda")
    return {
        "family": options.family,
        "device": options.device,
        "processor": machine(options.threads)["processor"],
        "matrix_units": has_matrix_units() and not cuda,
        "threads": options.threads,
        "clock": clock,
        "gpu": torch.cuda.get_device_name() if cuda else "",
        "torch": torch.__version__,
        "utterances": len(waves),
        "audio_seconds": round(audio, 1),
        "batch_seconds": options.batch_seconds,
        "sides": best,
    }


def show(result: dict[str, object]) -> None:
    sides: dict[str, dict[str, float]] = result["sides"]  # type: ignore[assignment]
    baseline = sides.get("S3PRL, batches of 8", {}).get("times_real_time")
    sys.stdout.write(f"{'':24}{'x real time':>12}{'against S3PRL':>15}{'peak MiB':>10}\n")
    for name, side in sides.items():
        speed = side["times_real_time"]
        share = f"{speed / baseline:.2f} x" if baseline else ""
        sys.stdout.write(f"{name:24}{speed:12.1f}{share:>15}{side['peak_mib']:10.0f}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--s3prl-python", type=Path)
    parser.add_argument("--family", default="hubert")
    parser.add_argument("--utterances", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-seconds", type=float, default=40.0)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument(
        "--processor-time", action="store_true", help="for a machine that does other work too"
    )
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--checkpoint", help=argparse.SUPPRESS)
    parser.add_argument("--waves", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        run_ours(options)
        return
    with tempfile.TemporaryDirectory() as work:
        result = compare(options, Path(work))
    show(result)
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

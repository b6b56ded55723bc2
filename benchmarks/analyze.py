"""`speechft analyze` over much audio, beside encoding alone by the same encoders.

    python benchmarks/analyze.py --out results/benchmarks/analyze.json

θ0 is the packaged encoder, or one of random weights at Base size (`--family hubert`); the others
are θ0 with every tensor moved a little. All hear the same 10 s pieces: utterances of
synthetic:demo, drawn with replacement and joined. One side encodes them with every encoder, in the
batches that `analyze` takes, and keeps nothing; the other is `analyze` as a whole, with all its
measures of hidden states, but without points between (`alphas=[]`), each of which is one more
encoder pass. Every run is a process of its own with one thread, which reports processor time, wall
time and peak memory, both counted from after the imports; rounds alternate. The ratio is that of
the least processor times. A shorter length shows whether memory grows with the audio.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from probe import machine, note
from probing.figures import rounded
from probing.folder import working_folder

from speechft.analysis.settings import AnalyzeSettings
from speechft.analysis.stage import analyze
from speechft.core.files import write_json
from speechft.data.audio import load_waveform
from speechft.data.batching import DurationBatches
from speechft.data.cuts import heard_seconds
from speechft.data.load import load_data
from speechft.encoders import build_encoder, load_encoder

RATE, PIECE = 16000, 10
Figures = dict[str, Any]


def side(options: argparse.Namespace) -> None:
    """One run, in a process of its own: prints its figures as JSON."""
    torch.set_num_threads(1)
    start, cpu = time.perf_counter(), time.process_time()
    if options.side == "encode":
        encode(options.encoders, options.table)
    else:
        others = [(path.name, str(path)) for path in options.encoders[1:]]
        base, data = str(options.encoders[0]), str(options.table)
        own: Figures = {"alphas": (), "utterances": 10**6, "device": "cpu"}
        analyze(AnalyzeSettings(base=base, encoders=others, data=data, out=options.work, **own))
    figures = {
        "seconds": time.perf_counter() - start,
        "processor_seconds": time.process_time() - cpu,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
    }
    sys.stdout.write(json.dumps(figures) + "\n")


@torch.no_grad()
def encode(paths: list[Path], table: Path) -> None:
    """Pass every encoder over the audio, as `analyze` does by default."""
    encoders = [load_encoder(path).eval() for path in paths]
    cuts = list(load_data(str(table))["test"])
    durations = encoders[0].costs(heard_seconds(cut) for cut in cuts)
    for batch in DurationBatches(durations, 60.0, seed=0, shuffle=False).epoch(0):
        waveforms = [load_waveform(cuts[i]) for i in batch]
        for encoder in encoders:
            encoder(waveforms)


def write_audio(folder: Path, minutes: int) -> Path:
    """Write pieces of speech and their table; a shorter table is the beginning of a longer one."""
    cuts = list(load_data("synthetic:demo")["train"])
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    names = []
    for number in range(minutes * 60 // PIECE):
        spoken: list[np.ndarray] = []
        while sum(map(len, spoken)) < PIECE * RATE:
            spoken.append(load_waveform(cuts[random.integers(len(cuts))]).numpy())
        piece = np.concatenate(spoken)[: PIECE * RATE] * random.uniform(0.5, 0.9)
        names.append(f"{number}.wav")
        soundfile.write(folder / names[-1], piece, RATE, subtype="PCM_16")
    table = folder / "table.csv"
    table.write_text("audio,split\n" + "".join(f"{name},test\n" for name in names))
    return table


def write_encoders(options: argparse.Namespace, folder: Path) -> list[Path]:
    """Write θ0 and others near it."""
    paths = []
    for number in range(options.others + 1):
        if options.family:
            encoder = build_encoder({"model_type": options.family}, seed=0)
        else:
            encoder = load_encoder("tiny-hubert")
        generator = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for parameter in encoder.model.parameters() if number else ():
                noise = torch.randn(parameter.shape, generator=generator)
                parameter += 0.1 * parameter.std(correction=0) * noise
        paths.append(encoder.save(folder / f"encoder-{number}"))
    return paths


def run(kind: str, paths: list[Path], table: Path, out: Path) -> Any:
    command: list[object] = [sys.executable, __file__, "--side", kind, "--work", out]
    command += ["--table", table, "--encoders", *paths]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    figures = json.loads(done.stdout.splitlines()[-1])
    note(f"{table.parent.name} {kind}: {figures['processor_seconds']:.1f} s of the processor")
    return figures


def measure(options: argparse.Namespace, work: Path) -> Figures:
    paths = write_encoders(options, work)
    lengths: Figures = {}
    for minutes in options.minutes:
        table = write_audio(work / f"{minutes}-minutes", minutes)
        rounds = [
            {
                kind: run(kind, paths, table, work / f"out-{minutes}-{number}")
                for kind in ("encode", "analyze")
            }
            for number in range(options.rounds)
        ]
        least = {k: min(r[k]["processor_seconds"] for r in rounds) for k in rounds[0]}
        peak = {k: min(r[k]["peak_mb"] for r in rounds) for k in rounds[0]}
        ratio = least["analyze"] / least["encode"]
        lengths[str(minutes)] = {"rounds": rounds, "peak_mb": peak, "ratio": ratio}
    return {
        "machine": machine(1),
        "torch": torch.__version__,
        "encoder": options.family or "tiny-hubert",
        "encoders": len(paths),
        "minutes": lengths,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", nargs="+", type=int, default=[25, 100])
    parser.add_argument("--others", type=int, default=2, help="encoders beside θ0")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--family", help="random weights at Base size, such as hubert")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--keep", type=Path, help="folder for the work; else a temporary one")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--table", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--encoders", nargs="+", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        side(options)
        return
    with working_folder(options.keep) as work:
        result = rounded(measure(options, work))
    if options.out is not None:
        write_json(options.out, result)
    for minutes, one in result["minutes"].items():
        sys.stdout.write(f"{minutes} minutes: {one['ratio']} x, peak {one['peak_mb']} MB\n")


if __name__ == "__main__":
    main()

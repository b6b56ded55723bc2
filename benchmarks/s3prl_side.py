"""S3PRL's side of the comparisons; runs under a Python of its own, never under ours.

How to build that environment (S3PRL 0.4.18 does not run as it is on current libraries):

    python3 -m venv s3prl-venv
    s3prl-venv/bin/pip install torch==2.13.0
    s3prl-venv/bin/pip install --no-deps torchaudio==2.11.0 s3prl==0.4.18
    s3prl-venv/bin/pip install numpy omegaconf filelock librosa tqdm pyyaml requests packaging
    rm -f s3prl-venv/lib/python3*/site-packages/torchaudio/lib/*.so

The compiled parts of torchaudio need CUDA libraries; its Kaldi filter banks, all that S3PRL uses
here, are Python. This script puts back `torchaudio.set_audio_backend` and unpickles as torch 1 did
(only files that the comparison itself wrote).
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import resource
import sys
import time

import torch


def make_importable() -> None:
    """Put back what S3PRL needs of older libraries."""
    import torchaudio

    torchaudio.set_audio_backend = lambda *_, **__: None
    torch.load = functools.partial(torch.load, weights_only=False)


def load_expert(family: str, checkpoint: str):
    make_importable()
    expert = importlib.import_module(f"s3prl.upstream.{family}.expert")
    return expert.UpstreamExpert(checkpoint).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", required=True)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--waves", required=True, help="a torch file with a list of waveforms")
    parser.add_argument("--out", help="write the hidden states of each batch here")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--float32", action="store_true", help="no TF32 on a GPU")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    expert = load_expert(options.family, options.checkpoint).to(options.device)
    waves = [w.to(options.device) for w in torch.load(options.waves)]
    batches = [waves[i : i + options.batch] for i in range(0, len(waves), options.batch)]
    cuda = options.device.startswith("cuda")
    kept = []
    if options.float32:
        torch.backends.cudnn.allow_tf32 = False
    with torch.no_grad():
        for batch in batches if cuda else [batches[0][:1]]:  # a GPU picks kernels for each length
            expert(batch)
        if cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        start, cpu_start = time.perf_counter(), time.process_time()
        for batch in batches:
            states = expert(batch)["hidden_states"]
            if options.out:
                kept.append([state.cpu() for state in states])
        if cuda:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        cpu = time.process_time() - cpu_start
    if options.out:
        torch.save(kept, options.out)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if cuda:
        peak = torch.cuda.max_memory_allocated() / 2**20
    result = {"seconds": seconds, "cpu_seconds": cpu, "peak_mib": peak}
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()

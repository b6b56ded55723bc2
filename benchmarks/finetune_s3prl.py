"""S3PRL's side of `benchmarks/finetune.py`; runs under the Python that `s3prl_side.py` describes.

An update is what S3PRL's runner does with `--upstream_trainable -s last_hidden_state`: its expert
on a list of waveforms, the head, the loss, the gradient's norm clipped, AdamW. Its CNN front end is
frozen, as on the other sides.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import torch
from s3prl_side import load_expert
from torch import nn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--work", "--out"):
        parser.add_argument(name, type=Path)
    for name in ("--steps", "--threads", "--seed", "--batch"):
        parser.add_argument(name, type=int)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    expert = load_expert("hubert", str(options.work.parent / "s3prl.pt")).to(device).train()
    expert.model.feature_extractor.requires_grad_(False)
    noted = torch.load(options.work / "noted.pt")
    inner, width = noted["head"]["projection.weight"].shape
    classes = len(noted["head"]["output.weight"])
    head = nn.ModuleDict(
        {"projection": nn.Linear(width, inner), "output": nn.Linear(inner, classes)}
    ).to(device)
    head.load_state_dict(noted["head"])
    parameters = [*expert.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=noted["rate"], weight_decay=0.0)
    losses, seconds = [], []
    for batch in noted["batches"]:
        begin = time.perf_counter()
        states = expert([noted["waves"][i].to(device) for i in batch])["hidden_states"][-1]
        logits = head["output"](head["projection"](states).mean(dim=1))
        labels = torch.tensor([noted["labels"][i] for i in batch], device=device)
        loss = nn.functional.cross_entropy(logits, labels)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**20
    options.out.write_text(json.dumps({"loss": losses, "seconds": seconds, "peak_mib": peak}))


if __name__ == "__main__":
    main()

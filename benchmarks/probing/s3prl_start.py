"""How S3PRL's runner is made for a job, and how its side answers; read in its own environment."""

from __future__ import annotations

import argparse
import copy
import importlib.metadata
import json
import random
from pathlib import Path

import numpy
import torch

ARGUMENTS = {
    "upstream": "hubert_local",
    "upstream_model_config": None,
    "upstream_refresh": False,
    "upstream_trainable": False,
    "upstream_feature_selection": "hidden_states",
    "upstream_layer_selection": None,
    "upstream_feature_normalize": False,
    "downstream_variant": None,
    "device": "cpu",
    "evaluate_split": "test",
    "push_to_hf_hub": False,
    "local_rank": None,
    "cache_dir": None,
    "init_ckpt": None,
}


def start(runner, job: dict, folder: Path | str, **own):
    """Make a runner with the arguments that `run_downstream.py` would give it."""
    own |= {"downstream": job["downstream"], "upstream_ckpt": job["checkpoint"]}
    own |= {"expdir": str(folder), "seed": job["seed"]}
    random.seed(job["seed"])
    numpy.random.seed(job["seed"])
    torch.manual_seed(job["seed"])
    return runner(argparse.Namespace(**{**ARGUMENTS, **own}), copy.deepcopy(job["config"]))


def write_answer(out: str, results: list, *packages: str) -> None:
    """Write the results, with the versions of what made them."""
    packages = ("s3prl", "torch", "torchaudio", "numpy", *packages)
    versions = {name: importlib.metadata.version(name) for name in packages}
    with open(out, "w") as file:
        json.dump({"versions": versions, "results": results}, file)

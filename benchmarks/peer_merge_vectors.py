"""Record what mergekit makes of small tensors, for tests/fixtures/merging/mergekit.npz.

Run with a Python that has mergekit (its licence is LGPL; it is no dependency of this package):

    python -m venv VENV && VENV/bin/pip install torch==2.13.0 mergekit
    VENV/bin/python benchmarks/peer_merge_vectors.py tests/fixtures/merging
"""

from __future__ import annotations

import json
import platform
import sys
from importlib import metadata
from pathlib import Path

import mergekit.sparsify
import numpy as np
import torch
from mergekit.merge_methods.generalized_task_arithmetic import get_mask
from mergekit.merge_methods.karcher import karcher_merge_tensors
from mergekit.merge_methods.model_stock import model_stock_merge_method
from mergekit.merge_methods.multislerp import multislerp
from mergekit.merge_methods.slerp import slerp

SHAPES = {"matrix": (24, 16), "vector": (40,), "kernel": (8, 4, 5)}

"""Training took `mps` where there is one; nobody has tested that, and the pages denied it."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import torch
torch.backends.mps.is_available = torch.backends.mps.is_built = lambda: True
torch.cuda.is_available = lambda: False
from accelerate import Accelerator
from speechft.training.distributed import all_processes
all_processes()
print(Accelerator(mixed_precision="no").device.type)
"""


def test_training_is_on_the_cpu_where_there_is_no_cuda():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["cpu"]

"""A worker process: reads numbers of encoders, answers with what came of their jobs."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import torch

from speechft.core.line_worker import is_orphan
from speechft.core.logging import set_up_logging
from speechft.probing.job import Workplace


def main(setup: str, threads: str, device: str) -> None:
    """Work until standard input ends or the process that asked is gone."""
    set_up_logging(-1)
    torch.set_num_threads(int(threads))
    place: Workplace = pickle.loads(Path(setup).read_bytes())  # made by our own parent process
    place.device = device
    # Whatever a library prints must not come between us and the parent.
    answers, sys.stdout = sys.stdout, sys.stderr

    def stop_without_parent() -> None:
        if is_orphan():
            raise SystemExit(1)

    for line in sys.stdin:
        spec = place.settings.encoders[int(line)]
        outcome = place.run(spec, stop_without_parent)
        answers.write(json.dumps(outcome.to_dict()) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])

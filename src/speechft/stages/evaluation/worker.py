"""A worker process: reads numbers of encoders, answers with the keys of their finished cells."""

from __future__ import annotations

import json
import os
import pickle
import sys
import traceback
from pathlib import Path
from typing import Any

import torch

from speechft.core.errors import SpeechFTError
from speechft.core.logging import set_up_logging
from speechft.stages.evaluation.job import Workplace
from speechft.stages.evaluation.workers import error_values


def main(setup: str, threads: str) -> None:
    """Work until standard input ends or the process that asked is gone."""
    parent = os.getppid()
    set_up_logging(-1)
    torch.set_num_threads(int(threads))
    place: Workplace = pickle.loads(Path(setup).read_bytes())  # made by our own parent process
    # Whatever a library prints must not come between us and the parent.
    answers, sys.stdout = sys.stdout, sys.stderr

    def stop_without_parent() -> None:
        if os.getppid() != parent:
            raise SystemExit(1)

    for line in sys.stdin:
        spec = place.settings.encoders[int(line)]
        answer: dict[str, Any]
        try:
            answer = {"keys": place.run(spec, stop_without_parent)}
        except SpeechFTError as error:
            answer = error_values(error)
        except Exception:
            answer = {"crash": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])

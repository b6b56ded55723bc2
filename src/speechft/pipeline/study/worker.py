"""A worker process of a study: reads jobs as JSON lines, does them, answers with what came of them.

Everything a job says goes to a file beside its folder.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Final

import torch

from speechft.core.claims import lock_if_free
from speechft.core.errors import DivergedError, SpeechFTError
from speechft.core.files import remove_leftovers
from speechft.core.line_worker import end_as_orphan
from speechft.core.logging import set_up_logging
from speechft.core.provenance import processor
from speechft.core.settings import parse_settings
from speechft.hidden.front_end import KeptFeatures
from speechft.pipeline.study.jobs import VERBS
from speechft.probing.evaluate import evaluate
from speechft.training.finetune.stage import finetune
from speechft.training.pretrain.stage import pretrain

KEPT_BYTES: Final = 2 << 30  # of front-end features, which most of a study's jobs have in common


def main(threads: str) -> None:
    """Work until standard input ends or the process that asked is gone."""
    end_as_orphan()
    set_up_logging(0)
    torch.set_num_threads(int(threads))
    # Whatever a library prints must not come between us and the parent.
    answers, sys.stdout = sys.stdout, sys.stderr
    kept = KeptFeatures(KEPT_BYTES)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is for the parent, which says so
        for line in sys.stdin:
            answers.write(json.dumps(_answer(json.loads(line), kept)) + "\n")
            answers.flush()


def _answer(job: dict[str, Any], kept: KeptFeatures) -> dict[str, Any]:
    try:
        return _do(job, kept)
    except OSError as error:  # the log cannot be written: the disk is full
        return {"error": f"{type(error).__name__}: {error}"}


def _do(job: dict[str, Any], kept: KeptFeatures) -> dict[str, Any]:
    folder = Path(job["folder"])
    log = folder.parent / f"{folder.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    begin, clock = time.process_time(), time.perf_counter()
    with log.open("a", encoding="utf-8") as file, contextlib.redirect_stderr(file):
        try:
            with _alone(folder):
                remove_leftovers(folder)
                kind, verb = VERBS[job["verb"]]
                if verb in (finetune, pretrain):
                    job["settings"] = {"threads": torch.get_num_threads(), **job["settings"]}
                shared = {"kept": kept} if verb in (evaluate, finetune) else {}
                verb(parse_settings(kind, job["settings"], where=job["name"]), **shared)
        except SpeechFTError as error:
            file.write(f"{error}\n")
            return {"error": str(error), "diverged": isinstance(error, DivergedError)}
        except Exception as error:
            file.write(traceback.format_exc())
            return {"error": f"{type(error).__name__}: {error} (see {log})"}
    return {
        "seconds": round(time.process_time() - begin, 1),  # what else the machine does is left out
        "elapsed": round(time.perf_counter() - clock, 1),
        "processor": processor(),
    }


@contextlib.contextmanager
def _alone(folder: Path) -> Any:
    """Wait for a process that a killed study left behind and that still works in the folder."""
    while True:
        with lock_if_free(folder.parent / f".{folder.name}.lock") as free:
            if free:
                yield
                return
        time.sleep(1.0)


if __name__ == "__main__":
    main(sys.argv[1])

"""Jobs of SLURM's whose time is up, or whose place another job takes, go back into the queue."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kills import faults
from worker_jobs import wait_and_note

from speechft.core.files import read_jsonl
from speechft.pipeline.do_job import do_apart
from speechft.pipeline.slurm import SlurmExecutor
from speechft.training.finetune.stage import FinetuneSettings, finetune

# submitit counts a job as out of time from 80 % of its minutes on, or ten before their end.
TIMES_OUT, IS_PREEMPTED = {"timeout_min": 5}, {"timeout_min": 60}


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def signal_job(slurm: Path, *, again: bool = True) -> None:
    """Send what SLURM sends before the time is up, to the step of the only job."""
    (file,) = slurm.glob("*.pid")
    shell = file.read_text()
    (step,) = Path("/proc", shell, "task", shell, "children").read_text().split()
    os.kill(int(step), signal.SIGUSR2)
    if again:
        wait_for(lambda: file.read_text() != shell)  # it was queued again


@faults
@pytest.mark.parametrize("options", [TIMES_OUT, IS_PREEMPTED])
def test_a_training_keeps_its_state_and_goes_on_in_the_same_job(
    tmp_path: Path, slurm: Path, options: dict[str, int]
) -> None:
    given = {"encoder": "tiny-hubert", "task": "sid", "data": "synthetic:tiny", "steps": 40}
    given |= {"seconds": 4, "threads": 1, "log": "none"}
    whole, out = tmp_path / "whole", tmp_path / "runs" / "out"
    finetune(FinetuneSettings(**given, out=whole))
    order = {"name": "finetune", "verb": "finetune", "key": "k", "replace": False}
    order["settings"] = {**given, "out": str(out)}
    with SlurmExecutor(tmp_path / "jobs", options) as workers:
        ended = workers.submit(do_apart, order, 1)
        wait_for((out / "metrics.jsonl").is_file)
        signal_job(slurm)
        assert ended.result(120) == {}
    said = out.with_name("out.log").read_text()
    assert "resuming at update" in said
    assert len(list(slurm.glob("*.job"))) == 1  # nothing was submitted again
    plain = [
        [{n: v for n, v in r.items() if n != "seconds"} for r in read_jsonl(run / "metrics.jsonl")]
        for run in (whole, out)
    ]
    assert plain[0] == plain[1]
    weights = [(run / "encoder" / "model.safetensors").read_bytes() for run in (whole, out)]
    assert weights[0] == weights[1]


def test_what_keeps_no_state_of_a_moment_is_called_again(tmp_path: Path, slurm: Path) -> None:
    note, go = tmp_path / "note", tmp_path / "go"
    with SlurmExecutor(tmp_path / "jobs", TIMES_OUT) as workers:
        ended = workers.submit(wait_and_note, str(note), str(go))
        wait_for(note.is_file)
        signal_job(slurm)
        wait_for(lambda: len(note.read_text()) == 2)
        go.touch()
        assert ended.result(120) == 2


def test_what_may_not_go_back_any_more_has_died_and_is_tried_once_more(
    tmp_path: Path, slurm: Path
) -> None:
    note, go = tmp_path / "note", tmp_path / "go"
    with SlurmExecutor(tmp_path / "jobs", {**TIMES_OUT, "max_num_timeout": 0}) as workers:
        ended = workers.submit(wait_and_note, str(note), str(go))
        wait_for(note.is_file)
        signal_job(slurm, again=False)
        wait_for(lambda: len(note.read_text()) == 2)
        go.touch()
        assert ended.result(120) == 2
    assert len(list(slurm.glob("*.job"))) == 2

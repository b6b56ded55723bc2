"""A job that was stopped and went on had the processor time of its last part alone."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from speechft.core.errors import DataError
from speechft.core.files import read_json
from speechft.core.stopping import Stopped
from speechft.pipeline import do_job
from speechft.pipeline.graph import note_of


def test_all_parts_of_a_job_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "process_time", lambda: now[0])
    folder = tmp_path / "job"
    order = {"name": "job", "key": "k", "settings": {"out": str(folder)}}

    def work(ends: BaseException | None) -> Any:
        def attempt(_: Any) -> bool:
            now[0] += 100
            if ends is not None:
                raise ends
            return True

        return attempt

    for ends in (Stopped("all of it", 15), DataError("no disk"), None):
        monkeypatch.setattr(do_job, "_do", work(ends))
        with suppress(Stopped):
            do_job.do_apart(order, 1)
    assert read_json(note_of(folder))["seconds"] == 300
    # What was done with other settings in this folder is another job's.
    monkeypatch.setattr(do_job, "_do", work(None))
    do_job.do_apart({**order, "key": "other"}, 1)
    assert read_json(note_of(folder))["seconds"] == 100

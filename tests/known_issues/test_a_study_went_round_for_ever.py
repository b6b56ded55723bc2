"""Data that changed while a study ran: its jobs ended, were not those asked for, and began anew."""

from __future__ import annotations

import pytest
from study_fixture import written

from speechft.core.errors import SpeechFTError
from speechft.core.launch_settings import LaunchSettings
from speechft.pipeline.execution import Crew
from speechft.pipeline.study.stage import study
from speechft.pipeline.study.study_file import load_study


def test_a_job_that_ends_and_is_not_done_is_an_error(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(Crew, "do", lambda _self, jobs, **_: calls.append(len(jobs)))
    rows = [{"name": "theta0", "title": "θ0", "encoder": "theta0"}]
    one = load_study(written(tmp_path, rows=rows, findings=[]))
    with pytest.raises(SpeechFTError, match="has ended, and what it left is of something else"):
        study([one], tmp_path / "out", LaunchSettings(workers=1))
    assert len(calls) == 1

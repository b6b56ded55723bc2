"""What a worker process does: it speaks some utterances and writes their audio.

eSpeak has global state, so that processes are fresh ones and no forks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import soundfile

from speechft.data.synthetic.effects import RATE
from speechft.data.synthetic.render import Job, render


def speak_jobs(jobs: Iterable[Job], folder: Path) -> Iterator[dict[str, Any]]:
    """Render jobs into FOLDER/SPLIT/ID.flac; give for each its id, samples and timed phonemes."""
    for job in jobs:
        utterance = render(job)
        path = audio_path(folder, job.id)
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, utterance.samples, RATE, subtype="PCM_16", format="FLAC")
        yield {"id": job.id, "samples": len(utterance.samples), "phones": utterance.phones}


def speak_some(jobs: Iterable[Job], folder: Path) -> list[dict[str, Any]]:
    """Do what `speak_jobs` does, all at once."""
    return list(speak_jobs(jobs, folder))


def audio_path(folder: Path, name: str) -> Path:
    """Give the file of an utterance: one folder per split."""
    return folder / name.rpartition("-")[0] / f"{name}.flac"

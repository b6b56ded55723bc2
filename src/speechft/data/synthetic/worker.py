"""The process that speaks: reads jobs from a file, writes audio, reports on standard output.

`python -m speechft.data.synthetic.worker JOBS FOLDER`: JOBS holds one JSON job per line; every
utterance becomes FOLDER/SPLIT/ID.flac and one line of JSON. A process of its own, rather than
a fork or `multiprocessing`, because eSpeak has global state and because a caller's script then
needs no `__main__` guard. It ends when its reader is gone.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import soundfile

from speechft.data.synthetic.effects import RATE
from speechft.data.synthetic.render import Job, render


def speak_jobs(jobs: Iterable[dict[str, Any]], folder: Path) -> Iterator[dict[str, Any]]:
    """Render jobs into `folder`; give for each its id, number of samples and timed phonemes."""
    for values in jobs:
        job = Job(**values)
        utterance = render(job)
        path = audio_path(folder, job.id)
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, utterance.samples, RATE, subtype="PCM_16", format="FLAC")
        yield {"id": job.id, "samples": len(utterance.samples), "phones": utterance.phones}


def audio_path(folder: Path, name: str) -> Path:
    """Give the file of an utterance: one folder per split."""
    return folder / name.rpartition("-")[0] / f"{name}.flac"


def main() -> None:
    """Speak the jobs of a file."""
    jobs, folder = Path(sys.argv[1]), Path(sys.argv[2])
    parent = os.getppid()
    with jobs.open(encoding="utf-8") as lines:
        for record in speak_jobs((json.loads(line) for line in lines), folder):
            try:
                sys.stdout.write(json.dumps(record) + "\n")
                sys.stdout.flush()
            except BrokenPipeError:
                os._exit(1)
            if os.getppid() != parent:  # killed: nobody wants the rest
                os._exit(1)


if __name__ == "__main__":
    main()

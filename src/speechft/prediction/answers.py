"""Predictions as lines: text, JSON, or RTTM for who speaks when."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from speechft.core.files import write_text
from speechft.core.paths import said_place
from speechft.prediction.settings import Form, PredictSettings
from speechft.tasks import TASKS


def form_of(settings: PredictSettings) -> Form:
    """Give the form that is asked for, or that the output's name says."""
    suffix = settings.out.suffix.lower() if settings.out is not None else ""
    named: dict[str, Form] = {".jsonl": "jsonl", ".rttm": "rttm"}
    return settings.format or named.get(suffix, "text")


def write_answers(out: Path, records: Sequence[Mapping[str, Any]], form: Form) -> None:
    """Write a file of predictions, atomically."""
    with said_place(out, "choose another --out"):
        write_text(out, "".join(f"{line}\n" for line in lines(records, form)))


def lines(records: Sequence[Mapping[str, Any]], form: Form) -> Iterator[str]:
    """Give the lines of a form; what has no prediction has one in JSON alone."""
    if form == "rttm":
        yield from _rttm([record for record in records if "error" not in record])
        return
    for record in records:
        if form == "jsonl":
            yield json.dumps(record, ensure_ascii=False)
        elif "error" not in record:
            yield _text(record)


def _text(record: Mapping[str, Any]) -> str:
    """Give file and prediction, with tabs between; a class with its probability."""
    name = str(record["file"])
    if "id" in record:
        name += f" ({record['id']})"
    answer = record[TASKS[record["task"]].answer]
    likely = record.get("probabilities", {})
    shares = [f"{likely[answer]:.3f}"] if isinstance(answer, str) and answer in likely else []
    return "\t".join([name, _plain(answer), *shares])


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{key}={_plain(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        apart = "; " if value and isinstance(value[0], list | tuple) else " "
        return apart.join(map(_plain, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _rttm(records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Give a line per turn, in seconds of the file.

    Files of one name are told by their folders, too, and speakers of several utterances of a file
    by the utterance: nothing says that they are the same.
    """
    parts = Counter(record["file"] for record in records)
    names = Counter(Path(file).stem for file in parts)
    for record in records:
        path = Path(record["file"])
        name = path.stem if names[path.stem] == 1 else path.with_suffix("").as_posix()
        name = re.sub(r"[\s/]+", "_", name.strip("/"))
        of = f"{record['id']}-" if parts[record["file"]] > 1 and "id" in record else ""
        for speaker, begin, end in record["turns"]:
            times = f"{record['start'] + begin:.3f} {end - begin:.3f}"
            said = re.sub(r"\s+", "_", f"{of}speaker{speaker}")
            yield f"SPEAKER {name} 1 {times} <NA> <NA> {said} <NA> <NA>"

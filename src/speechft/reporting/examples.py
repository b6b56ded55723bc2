"""What the encoders' probes wrote of single utterances, beside what was said."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from speechft.core.errors import DataError
from speechft.core.escaping import printable, task_heading
from speechft.metrics.measures import edits
from speechft.reporting.comparison import Comparison, Row
from speechft.reporting.contrasts import read_rows
from speechft.reporting.findings import label, symbol

PLACES: Final = (0.25, 0.5, 0.9)  # of the utterances, by the errors of the last row
_LONGEST: Final = 12.0  # seconds that a page plays


@dataclass(frozen=True)
class Example:
    """One utterance.

    Attributes:
        name: its id.
        reference: what was said.
        lines: (name, what its probe wrote, edit errors) per encoder.
        audio: the utterance as a `data:` URL, or nothing.
    """

    name: str
    reference: str
    lines: list[tuple[str, str, int]]
    audio: str = ""


@dataclass(frozen=True)
class Examples:
    """Some utterances of one task."""

    heading: str
    found: list[Example]


def examples(comparison: Comparison, *, audio: bool = False) -> list[Examples]:
    """Give three utterances of every task that writes sequences: θ0, θ' and θ̂ of the first seed.

    They stand at a quarter, a half and nine tenths of all utterances, ordered by the errors that
    the last of the encoders makes, so that none is picked for its result.

    Args:
        comparison: the table.
        audio: put the audio into the page, where its file is still there.
    """
    trio = comparison.trios[:1]
    rows = [trio[0].pretrained, trio[0].finetuned, trio[0].merged] if trio else comparison.rows[:3]
    found = []
    for task in dict.fromkeys(column.task for column in comparison.columns):
        written = {index: _written(row, task) for index, row in enumerate(rows)}
        chosen = _chosen([one for one in written.values() if one])
        if not chosen:
            continue
        found.append(
            Examples(
                task_heading(task),
                [_example(name, rows, written, audio=audio) for name in chosen],
            )
        )
    return found


def _written(row: Row, task: str) -> dict[str, dict[str, Any]]:
    """Give id → what is kept of an utterance, of the first seed; nothing for other tasks."""
    for one in sorted((m for m in row.measurements if m.task == task), key=lambda m: m.seed):
        rows = read_rows(one.predictions)
        if rows and one.metric in {"per", "wer", "cer", "ter"} and all(map(_whole, rows)):
            return {str(kept["id"]): kept for kept in rows}
    return {}


def _whole(kept: Mapping[str, Any]) -> bool:
    both = (kept.get("reference"), kept.get("prediction"))
    return "id" in kept and all(isinstance(one, str | list) for one in both)


def _chosen(written: Sequence[Mapping[str, Mapping[str, Any]]]) -> list[str]:
    if not written:
        return []
    names = set.intersection(*(set(one) for one in written))
    last = written[-1]
    order = sorted(names, key=lambda name: (_errors(last[name]), name))
    places = (round(share * (len(order) - 1)) for share in PLACES)
    return list(dict.fromkeys(order[place] for place in places)) if order else []


def _errors(kept: Mapping[str, Any]) -> int:
    reference, guess = (_tokens(kept[key]) for key in ("reference", "prediction"))
    return int(edits([reference], [guess])[0])


def _tokens(text: Any) -> list[str]:
    return text.split() if isinstance(text, str) else [str(token) for token in text]


def _example(
    name: str, rows: Sequence[Row], written: Mapping[int, Mapping[str, Any]], *, audio: bool
) -> Example:
    kept = {index: own[name] for index, own in written.items() if own}
    lines = [
        (
            f"{symbol(rows[index].encoder)} {label(rows[index].encoder, short=True)}".strip(),
            printable(" ".join(_tokens(one["prediction"]))),
            _errors(one),
        )
        for index, one in kept.items()
    ]
    first = next(iter(kept.values()))
    reference = printable(" ".join(_tokens(first["reference"])))
    return Example(printable(name), reference, lines, _audio(first) if audio else "")


def _audio(kept: Mapping[str, Any]) -> str:
    """Give an utterance as FLAC in a `data:` URL; nothing where it cannot be read or is long."""
    import soundfile

    from speechft.data.decoding import decode

    try:
        start, end = float(kept["start"]), float(kept["end"])
        if not 0 < end - start <= _LONGEST:
            return ""
        samples, rate = decode(Path(str(kept["file"])), start, end - start)
    except (KeyError, TypeError, ValueError, OSError, DataError):
        return ""
    packed = io.BytesIO()
    soundfile.write(packed, samples, rate, format="FLAC")
    return "data:audio/flac;base64," + base64.b64encode(packed.getvalue()).decode("ascii")

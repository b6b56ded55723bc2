"""Fluent Speech Commands: spoken commands with action, object and location, for intents.

https://fluent.ai/fluent-speech-commands-a-dataset-for-spoken-language-understanding-research/
"""

from __future__ import annotations

import csv
from pathlib import Path

from speechft.core.errors import DataError
from speechft.data.corpora import register
from speechft.data.layout import find_root
from speechft.data.utterances import Loaded, Utterance, load_splits

PARTS = {"train": "train_data.csv", "dev": "valid_data.csv", "test": "test_data.csv"}
SLOTS = ("action", "object", "location")
COLUMNS = ("path", "speakerId", "transcription", *SLOTS)
_HINT = (
    "ask for the corpus at https://fluent.ai/fluent-speech-commands-a-dataset-for-spoken-language-"
    "understanding-research and unpack it; fluent_speech_commands_dataset holds data/ and wavs/"
)


@register(
    "fluent_speech_commands", source=_HINT, counts={"train": 23132, "dev": 3118, "test": 3793}
)
def fluent_speech_commands(root: Path, _variant: str) -> Loaded:
    """Read `ROOT/data/{train,valid,test}_data.csv` and `ROOT/wavs/speakers/`.

    `custom["intent"]` is a mapping with action, object and location; a prediction is right only if
    all three are.

    Raises:
        DataError: a table or a column is missing, or a table is empty.
    """
    tables = [f"data/{name}" for name in PARTS.values()]
    base = find_root(root, ("fluent_speech_commands_dataset",), (*tables, "wavs"), _HINT)
    return load_splits({n: _read(base, base / "data" / table) for n, table in PARTS.items()})


def _read(base: Path, table: Path) -> list[Utterance]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise DataError(
                f"the table has no column {missing[0]!r}",
                where=table,
                expected=", ".join(COLUMNS),
                found=", ".join(reader.fieldnames or ["nothing"]),
                hint=_HINT,
            )
        rows = list(reader)
    if not rows:
        raise DataError("the table has no rows", where=table, hint=_HINT)
    return [
        Utterance(
            id=row["path"].removeprefix("wavs/speakers/").removesuffix(".wav").replace("/", "-"),
            audio=base / row["path"],
            where=f"{table.name}, row {number}",
            text=row["transcription"],
            speaker=row["speakerId"],
            language="en",
            custom={"intent": {name: row[name] for name in SLOTS}},
        )
        for number, row in enumerate(rows, start=2)
    ]

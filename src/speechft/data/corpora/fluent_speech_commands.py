"""Fluent Speech Commands: spoken commands with action, object and location, for intents.

https://fluent.ai/fluent-speech-commands-a-dataset-for-spoken-language-understanding-research/
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from speechft.data.corpora import Corpus, register
from speechft.data.corpus_tree import read_rows, tree
from speechft.data.utterances import Loaded, Utterance, load_splits

PARTS = {"train": "train_data.csv", "dev": "valid_data.csv", "test": "test_data.csv"}
SLOTS = ("action", "object", "location")
COLUMNS = ("path", "speakerId", "transcription", *SLOTS)
_HINT = (
    "ask for the corpus at https://fluent.ai/fluent-speech-commands-a-dataset-for-spoken-language-"
    "understanding-research and unpack it; fluent_speech_commands_dataset holds data/ and wavs/"
)


@register(
    "fluent_speech_commands",
    partial(
        Corpus,
        find=tree(
            ("fluent_speech_commands_dataset",),
            (*(f"data/{name}" for name in PARTS.values()), "wavs"),
            ("wavs/speakers/*/*.wav",),
        ),
        hours=19,
        source=_HINT,
        counts={"train": 23132, "dev": 3118, "test": 3793},
    ),
)
def fluent_speech_commands(base: Path, _variant: str) -> Loaded:
    """Read `ROOT/data/{train,valid,test}_data.csv` and `ROOT/wavs/speakers/`.

    `custom["intent"]` is a mapping with action, object and location; a prediction is right only if
    all three are.

    Raises:
        DataError: a table or a column is missing, or a table is empty.
    """
    problems: list[str] = []
    parts = {name: _read(base, base / "data" / table, problems) for name, table in PARTS.items()}
    return load_splits(parts, problems)


def _read(base: Path, table: Path, problems: list[str]) -> list[Utterance]:
    utterances = []
    for number, row in read_rows(table, COLUMNS, problems):
        path, where = row["path"], f"{table.name}, row {number}"
        empty = [name for name in SLOTS if not row[name].strip()]
        if empty:
            problems.append(f"{where}: no {' and no '.join(empty)}")
        name = path.removeprefix("wavs/speakers/").removesuffix(".wav").replace("/", "-")
        text, speaker = row["transcription"], row["speakerId"]
        intent = {"intent": {slot: row[slot] for slot in SLOTS}}
        utterances.append(Utterance(name, base / path, where, text, speaker, "en", intent))
    return utterances

"""From a table of a user's making to answers for new files: commands as typed, timed.

    python benchmarks/own_table.py --data FOLDER --runs runs/own-table \
        --out results/benchmarks/own_table.json

FOLDER is where the packages of the corpus `prompts` lie unpacked
(`speechft data prepare prompts FOLDER --download`). A table is made of it as a user has one: WAV
files, the columns audio, text, speaker, language and label, and no split; some 25 minutes of human
speech by ten voices, two for each of five languages. Text is there for Czech and Dutch; the label
is the language's name. Six more files of each voice are in no table: they are predicted.

Each command is a process of its own with its defaults, on two cores. Limit: ten minutes for all,
on two cores that nothing else uses; `load` says whether that was so. As the voices of the new files
are in the table, how many are right says that the chain works, not that languages are known.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import shutil
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import soundfile
from lhotse.cut import Cut
from probe import machine, note

from cli import timed
from speechft.core.files import read_json, read_jsonl, write_json
from speechft.data.audio import load_waveform
from speechft.data.load import load_data

CORES = 2
LIMIT = 600  # seconds
MINUTES = 2.7  # of a voice in the table, or all that it has
NEW = 6  # files of a voice beside the table
LABELS = {"cs": "Czech", "es": "Spanish", "fr": "French", "it": "Italian", "nl": "Dutch"}
COLUMNS = ("audio", "text", "speaker", "language", "label")
Row = dict[str, str]


def make_table(data: str, folder: Path) -> tuple[Path, dict[str, str], float]:
    """Write audio and table; give the table, the labels of new files, and the table's minutes."""
    texts = {cut.id: cut.supervisions[0].text for cut in _cuts(f"fillets:{data}")}
    voices: dict[str, list[Cut]] = defaultdict(list)
    for cut in _cuts(f"prompts:{data}"):
        voices[str(cut.supervisions[0].speaker)].append(cut)
    rows: list[Row] = []
    new: list[Row] = []
    seconds = 0.0
    for every in voices.values():
        own = list({hash(load_waveform(cut).numpy().tobytes()): cut for cut in every}.values())
        random.Random(0).shuffle(own)
        new += [_row(cut, texts, folder, "new") for cut in own[:NEW]]
        end = seconds + 60 * MINUTES
        for cut in own[NEW:]:
            if seconds + cut.duration <= end:
                rows.append(_row(cut, texts, folder, "clips"))
                seconds += cut.duration
    table = folder / "my.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return table, {Path(row["audio"]).name: row["label"] for row in new}, seconds / 60


def _cuts(data: str) -> list[Cut]:
    """Give the labelled cuts of a corpus, each once, in one order."""
    splits = load_data(data)
    found = {cut.id: cut for name in ("train", "dev", "test") for cut in splits[name]}
    return [found[name] for name in sorted(found)]


def _row(cut: Cut, texts: dict[str, str | None], folder: Path, place: str) -> Row:
    audio = folder / place / f"{cut.id}.wav"
    audio.parent.mkdir(exist_ok=True)
    soundfile.write(audio, load_waveform(cut).numpy(), 16_000)
    said, language = cut.supervisions[0], str(cut.supervisions[0].language)
    values = (f"{place}/{audio.name}", texts.get(cut.id) or "", str(said.speaker), language)
    return dict(zip(COLUMNS, (*values, LABELS[language]), strict=True))


def commands(encoder: str, table: Path, runs: Path) -> dict[str, tuple[object, ...]]:
    """Give what a user types, in order."""
    tuned, merged, scores = (runs / name for name in ("tuned", "merged", "scores"))
    task, data = ("classify", "--label", "label"), ("--data", table)
    return {
        "data check": (table,),
        "finetune": ("--encoder", encoder, "--task", *task, *data, "--out", tuned),
        "merge": (encoder, tuned, "--out", merged),
        "predict": (tuned, runs / "new", "--out", runs / "new.jsonl"),
        "evaluate": (encoder, tuned, merged, "--tasks", "classify:label", *data, "--out", scores),
        "report": (scores, "--out", runs / "report"),
    }


def measure(data: str, encoder: str, runs: Path) -> dict[str, Any]:
    """Make the table, run the commands, and give the record."""
    table, labels, minutes = make_table(data, runs)
    load = os.getloadavg()[0]
    seconds = {}
    for name, typed in commands(encoder, table, runs).items():
        note(" ".join(map(str, ("speechft", name, *typed))))
        seconds[name] = timed(sys.executable, "-m", "speechft", *name.split(), *typed)
        note(f"  {seconds[name]}")
    heard = {Path(row["file"]).name: row.get("label") for row in read_jsonl(runs / "new.jsonl")}
    scored = [row for row in read_jsonl(runs / "scores" / "results.jsonl")]
    confusion = (runs / "report" / "confusion.csv").read_text(encoding="utf-8")
    return {
        "encoder": encoder,
        "minutes": round(minutes, 1),
        "updates": read_json(runs / "tuned" / "speechft.json")["settings"]["steps"],
        "seconds": seconds,
        "all": {k: round(sum(s[k] for s in seconds.values()), 1) for k in ("clock", "processor")},
        "limit": LIMIT,
        "new_files": len(labels),
        "right": sum(heard.get(name) == label for name, label in labels.items()),
        "accuracy": {r["encoder"]: r["value"] for r in scored if r["metric"] == "acc"},
        "confusion": confusion.splitlines(),
        "load": round(load, 2),
        "machine": machine(CORES),
    }


def main() -> None:
    """Measure, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder with the packages of prompts")
    parser.add_argument("--encoder", default="tiny-hubert", help="ENCODER")
    parser.add_argument(
        "--runs", type=Path, required=True, help="folder of table and runs: replaced"
    )
    parser.add_argument("--out", type=Path, required=True, help="the record")
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    shutil.rmtree(options.runs, ignore_errors=True)
    options.runs.mkdir(parents=True)
    record = measure(options.data, options.encoder, options.runs)
    write_json(options.out, record)
    note(f"{record['all']} of {LIMIT} s; {record['right']} of {record['new_files']} right")


if __name__ == "__main__":
    main()

"""A CTC model of a user's layout in, a merged recogniser out: WER and CER on human Czech.

    python benchmarks/recogniser.py --data fillets:FOLDER@cs --runs runs/recogniser \
        --out results/benchmarks/recogniser.json

The packaged tiny-hubert is fine-tuned on Czech with a linear CTC head and written as transformers'
`HubertForCTC`; nothing of speechft stays in that folder, so that it is a model as a user has one.
It is merged with its base, the head kept (`--heads tuned`) or trained anew (`--heads refit`).
Every model is run by `transformers.pipeline("automatic-speech-recognition")`. The dev levels choose
alpha by CER; the test levels are scored once, with intervals over their utterances. What is done in
the folder of --runs is not done again.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lhotse.cut import Cut
from probe import machine, note

import speechft
from speechft.core.files import read_json, read_jsonl, write_json, write_jsonl
from speechft.data.audio import load_waveform
from speechft.data.load import load_data
from speechft.metrics.measures import TITLES
from speechft.metrics.per_item import drawn_anew, item_parts, metric_of
from speechft.metrics.statistics import percentile_interval
from speechft.tasks.transcripts import normalise_text

BASE = "tiny-hubert"
ALPHAS = (0.25, 0.5, 0.75, 0.9)
STEPS = 1500
METRICS = ("wer", "cer")
# What only speechft reads in a folder of its own.
OURS = ("speechft.json", "head.safetensors", "heard.gz", "README.md")
Rows = list[dict[str, Any]]


def users_model(data: str, runs: Path) -> Path:
    """Fine-tune, and give the model as transformers alone knows it."""
    tuned = speechft.finetune(
        encoder=BASE, task="asr", data=data, steps=STEPS, head_size="linear", seconds=32,
        learning_rate=2e-4, head_learning_rate=1e-3, threads=1, out=runs / "tuned",
    )  # fmt: skip
    model = runs / "users-model"
    if not model.exists():
        written = speechft.convert(source=str(tuned), target=runs / "written", to="hf-head")
        shutil.copytree(written, model, ignore=shutil.ignore_patterns(*OURS))
    return model


def merged(runs: Path, model: Path, alpha: float, data: str | None = None) -> Path:
    """Merge the user's model with its base; with DATA the head is trained anew on the result."""
    out = runs / f"merged-{alpha:g}{'-refit' if data else ''}"
    ways: dict[str, Any] = {"heads": "tuned"}
    if data is not None:
        refit = {"head_size": "linear", "threads": 1, "seconds": 32}
        ways = {"heads": "refit", "data": data, "task": "asr", "refit": refit}
    place = speechft.merge(base=BASE, tuned=[model], alpha=alpha, dtype="float32", out=out, **ways)
    written = runs / f"{out.name}-hf"
    if data is not None and not written.exists():
        speechft.convert(source=str(place), target=written, to="hf-head")
    return place if data is None else written


def heard(model: Path, cuts: Sequence[Cut], kept: Path) -> Rows:
    """Give reference and prediction of every utterance, by transformers' pipeline."""
    if kept.exists():
        return read_jsonl(kept)
    from transformers import pipeline

    recogniser = pipeline("automatic-speech-recognition", str(model), device="cpu")
    rows = []
    for cut in cuts:
        raw = load_waveform(cut).numpy()
        said = recogniser({"raw": raw, "sampling_rate": 16_000})["text"]
        reference = normalise_text(cut.supervisions[0].text)
        rows.append({"id": cut.id, "reference": reference, "prediction": normalise_text(said)})
    kept.parent.mkdir(exist_ok=True)
    write_jsonl(kept, rows)
    return rows


def figures(rows: Rows, before: Rows) -> dict[str, Any]:
    """Give WER and CER, and their differences to those before, with intervals over utterances."""
    found: dict[str, Any] = {}
    for metric in METRICS:
        (value, drawn), (was, base) = (measured(metric, side) for side in (rows, before))
        found[metric] = round(value, 2)
        found[f"{metric}_interval"] = interval(drawn)
        if rows is not before:
            found[f"{metric}_difference"] = round(value - was, 2)
            found[f"{metric}_difference_interval"] = interval(drawn - base)
    return found


def measured(metric: str, rows: Rows) -> tuple[float, Any]:
    """Give a metric in percent, and of the same utterances drawn anew."""
    parts = item_parts(metric, rows)
    assert parts is not None
    return metric_of(metric, parts, [0] * len(rows)), drawn_anew(metric, parts)


def interval(drawn: Any) -> list[float]:
    """Give the bounds of 95 %."""
    found = percentile_interval(drawn)
    assert found is not None
    return [round(found.low, 2), round(found.high, 2)]


def measure(data: str, runs: Path) -> dict[str, Any]:
    """Do all, and give the record."""
    begun = time.perf_counter()
    model = users_model(data, runs)
    splits = {name: list(cuts) for name, cuts in load_data(data).items()}
    models = {alpha: merged(runs, model, alpha) for alpha in ALPHAS} | {1.0: model}
    dev: dict[str, float] = {}
    for alpha, place in models.items():
        rows = heard(place, splits["dev"], runs / "heard" / f"dev-{alpha:g}.jsonl")
        dev[f"{alpha:g}"] = round(measured("cer", rows)[0], 2)
        note(f"alpha {alpha:g}: dev CER {dev[f'{alpha:g}']}")
    chosen = min(ALPHAS, key=lambda alpha: dev[f"{alpha:g}"])
    wanted = {
        "tuned": model,
        f"merged, alpha {chosen:g}, head kept": models[chosen],
        f"merged, alpha {chosen:g}, head refit": merged(runs, model, chosen, data),
    }
    tested = {
        name: heard(place, splits["test"], runs / "heard" / f"test-{place.name}.jsonl")
        for name, place in wanted.items()
    }
    before = tested["tuned"]
    finetuning = read_json(runs / "tuned" / "speechft.json")
    return {
        "base": BASE,
        "data": data.partition(":")[0] + "@" + data.rpartition("@")[2],
        "updates": finetuning["settings"]["steps"],
        "hours": round(finetuning["hours"], 2),
        "utterances": {name: len(splits[name]) for name in ("train", "dev", "test")},
        "dev_cer_by_alpha": dev,
        "alpha": chosen,
        "test": {name: figures(rows, before) for name, rows in tested.items()},
        "wall_seconds_of_this_call": round(time.perf_counter() - begun, 1),
        "machine": machine(1),
    }


def main() -> None:
    """Measure, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="fillets:FOLDER@cs")
    parser.add_argument("--runs", type=Path, required=True, help="folder of models")
    parser.add_argument("--out", type=Path, required=True, help="the record")
    options = parser.parse_args()
    options.runs.mkdir(parents=True, exist_ok=True)
    record = measure(options.data, options.runs)
    write_json(options.out, record)
    for name, own in record["test"].items():
        said = [f"{TITLES[m]} {own[m]} {own[f'{m}_interval']}" for m in METRICS]
        note(f"{name}: " + ", ".join(said))


if __name__ == "__main__":
    main()

"""Realistic run folders for the report's tests, with numbers one can see through."""

from __future__ import annotations

import json
from pathlib import Path

from speechft.core.files import write_json, write_jsonl

METRICS = {
    "pr": [("per", "lower")],
    "sid": [("acc", "higher")],
    "er": [("acc", "higher")],
    "sf": [("slot_type_f1", "higher"), ("slot_value_cer", "lower")],
}
# alpha → values in the order of METRICS
VALUES = {
    0.0: {"pr": [31.2], "sid": [58.4], "er": [62.0], "sf": [71.3, 41.0]},
    0.1: {"pr": [31.0], "sid": [62.9]},
    0.25: {"pr": [31.6], "sid": [69.8], "er": [64.2], "sf": [71.9, 40.1]},
    0.5: {"pr": [34.0], "sid": [76.0]},
    0.75: {"pr": [38.1], "sid": [80.3]},
    1.0: {"pr": [43.5], "sid": [82.7], "er": [58.1], "sf": [62.4, 50.2]},
}


def about(alpha: float, tuned_on: str = "sid") -> dict[str, object]:
    role = {0.0: "pretrained", 1.0: "finetuned"}.get(alpha, "merged")
    record: dict[str, object] = {"encoder": f"a{alpha:g}", "role": role, "alpha": alpha}
    if role != "pretrained":
        record |= {"tuned_on": tuned_on, "method": "stable"}
    if role == "merged":
        record |= {"merge_method": "linear", "main": alpha == 0.25}
    return record


def write_run(
    folder: Path,
    seeds: tuple[int, ...] = (0, 1, 2),
    values: dict[float, dict[str, list[float]]] = VALUES,
    noise: float = 0.5,
    suite: str = "mini",
    curves: bool = True,
    protocol: str = "clean",
    **more: str,
) -> Path:
    for seed in seeds:
        home = folder / f"seed-{seed}" / "evaluate-sid"
        records = []
        for alpha, tasks in values.items():
            for task, numbers in tasks.items():
                for (metric, direction), value in zip(METRICS[task], numbers, strict=True):
                    shift = noise * (((seed * 7 + len(task) + int(alpha * 8)) % 5) - 2)
                    records.append(
                        {
                            "encoder": f"a{alpha:g}",
                            "encoder_hash": "0" * 64,
                            "task": task,
                            "metric": metric,
                            "value": round(value + shift, 4),
                            "direction": direction,
                            "split": "test",
                            "items": 240,
                            "seed": seed,
                            "suite": suite,
                            "protocol": protocol,
                            **more,
                        }
                    )
        write_jsonl(home / "results.jsonl", records)
        write_json(home / "encoders.json", [about(a) for a in values])
        if curves:
            _write_curve(folder / f"seed-{seed}" / "finetune-sid", seed)
    recipe = {"name": "fixture", "seeds": list(seeds), "data": "synthetic:demo"}
    run = {"name": "fixture", "data": "synthetic:demo", "recipe": recipe}
    write_json(folder / "run.json", run | {"command": "speechft run recipe.yaml --out again"})
    return folder


def _write_curve(folder: Path, seed: int) -> None:
    records = []
    for update in range(1, 601, 20):
        rate = 1e-4 * min(1, update / 60, (601 - update) / 300)
        loss = 3.4 * 0.995**update + 0.4 + 0.1 * ((update * 13 + seed) % 7) / 7
        records.append({"update": update, "loss": loss, "lr": rate})
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(r) + "\n" for r in records)
    (folder / "metrics.jsonl").write_text(text)
    settings = {"task": "sid", "method": "stable", "seed": seed}
    write_json(folder / "speechft.json", {"stage": "finetune", "settings": settings})

"""What a report draws and shows beyond its table, and the files that others can go on with."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors.numpy import save_file

from speechft.core.files import write_json, write_jsonl
from speechft.reporting.settings import ReportSettings
from speechft.reporting.stage import comparison_of, report
from speechft.reporting.tradeoff import planes

sys.path.insert(0, str(Path(__file__).parent))
from report_fixture import write_run

ROLES = {
    "before": {"role": "pretrained"},
    "tuned": {"role": "finetuned", "tuned_on": "sid", "method": "stable", "alpha": 1},
    "merged": {
        "role": "merged",
        "tuned_on": "sid",
        "method": "stable",
        "merge_method": "linear",
        "alpha": 0.25,
    },
    "lora": {"role": "finetuned", "tuned_on": "sid", "method": "lora", "alpha": 1},
}
# encoder → PER, accuracy on SID, accuracy on ER
VALUES = {
    "before": (20.0, 70.0, 60.0),
    "tuned": (50.0, 90.0, 50.0),
    "merged": (22.0, 80.0, 60.0),
    "lora": (40.0, 85.0, 55.0),
}


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Four encoders and two seeds, with predictions, audio and heads of PR."""
    folder = tmp_path / "run"
    cells = folder / "cells"
    wave = np.sin(np.arange(8_000) / 20).astype(np.float32) / 2
    (tmp_path / "audio").mkdir()
    soundfile.write(tmp_path / "audio" / "u.wav", wave, 16_000)
    records = []
    for seed in (0, 1):
        for name, (per, sid, er) in VALUES.items():
            cell = f"pr-{seed}-{name}"
            (cells / cell).mkdir(parents=True)
            shared = {"encoder": name, "seed": seed, "split": "test"}
            for task, metric, value in (("pr", "per", per), ("sid", "acc", sid), ("er", "acc", er)):
                record = {"task": task, "metric": metric, "value": value + seed, "cell": cell}
                record["direction"] = "lower" if metric == "per" else "higher"
                records.append(shared | record)
            wrong = {"before": 1, "tuned": 3, "merged": 1, "lora": 2}[name]
            write_jsonl(
                cells / cell / "predictions.jsonl",
                [
                    {
                        "id": f"u{k:02d}",
                        "file": str(tmp_path / "audio" / "u.wav"),
                        "start": 0.1,
                        "end": 0.3,
                        "reference": ["a", "b", "<c>", "d"],
                        "prediction": ["a", "b", "<c>", "d"][: 4 - min(wrong, k)],
                    }
                    for k in range(11)
                ],
            )
            weights = np.array([0.0, 1.0, 2.0], dtype=np.float32) * (name == "tuned")
            save_file({"weighted_sum.weights": weights}, cells / cell / "head.safetensors")
    write_jsonl(folder / "results.jsonl", records)
    write_json(folder / "encoders.json", [{"encoder": n, **about} for n, about in ROLES.items()])
    return folder


def test_the_plane_sets_the_own_task_against_the_mean_of_the_others(run: Path) -> None:
    (plane,) = planes(comparison_of((run,)))
    assert sorted(plane.lines) == ["lora", "stable"]
    places = {p.encoder.role: (p.own.mean, p.rest.mean) for p in plane.lines["stable"]}
    # Two seeds, of which the second has one more of everything: one more is worse for PER.
    assert places["pretrained"] == pytest.approx((70.5, (79.5 + 60.5) / 2))
    assert places["finetuned"] == pytest.approx((90.5, (49.5 + 50.5) / 2))
    assert [p.encoder.alpha for p in plane.lines["stable"][1:]] == [0.25, 1.0]
    assert [p.encoder.role for p in plane.lines["lora"]] == ["pretrained", "finetuned"]


def test_without_another_task_there_is_no_plane(run: Path) -> None:
    kept = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
    write_jsonl(run / "results.jsonl", [one for one in kept if one["task"] == "sid"])
    assert planes(comparison_of((run,))) == []


def test_every_figure_has_a_picture_a_vector_and_its_values(run: Path, tmp_path: Path) -> None:
    report(ReportSettings(runs=(run,), out=tmp_path / "out"))
    figures = tmp_path / "out" / "figures"
    names = {path.stem for path in figures.iterdir()}
    assert names == {"tasks", "tradeoff-sid", "layer-weights"}
    assert {p.name for p in figures.iterdir()} == {
        f"{name}.{end}" for name in names for end in ("png", "svg", "csv")
    }
    assert all((figures / f"{name}.svg").read_text().rstrip().endswith("</svg>") for name in names)
    weights = [r for r in rows(figures / "layer-weights.csv") if r["task"] == "pr"]
    tuned = [float(r["weight"]) for r in weights if "Stable" in r["encoder"]]
    assert tuned == pytest.approx(np.exp([0, 1, 2]) / np.exp([0, 1, 2]).sum(), abs=1e-5)
    others = [float(r["weight"]) for r in weights if r["encoder"] == "Pretrained"]
    assert others == pytest.approx([1 / 3] * 3, abs=1e-5)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "figures/tradeoff-sid</code> as .png, .svg and .csv" in page


def test_a_head_that_cannot_be_read_is_left_out(run: Path, tmp_path: Path) -> None:
    for path in run.rglob("head.safetensors"):
        path.write_bytes(b"no head")
    report(ReportSettings(runs=(run,), out=tmp_path / "out"))
    assert not (tmp_path / "out" / "figures" / "layer-weights.csv").exists()


def test_utterances_are_shown_by_rank_and_not_by_result(run: Path, tmp_path: Path) -> None:
    report(ReportSettings(runs=(run,), out=tmp_path / "out"))
    page = (tmp_path / "out" / "report.html").read_text()
    # Of eleven by the errors of θ̂, then by name: u00 alone has none.
    assert [f"<code>{name}</code>" in page for name in ("u02", "u05", "u09")] == [True] * 3
    assert page.count('class="example"') == 3
    assert "a b &lt;c&gt; <small>1 error</small>" in page
    assert "a <small>3 errors</small>" in page
    assert "<audio" not in page
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| PR | u02 | said | a b \\<c> d | |" in text


def test_audio_goes_into_the_page_only_if_asked(run: Path, tmp_path: Path) -> None:
    report(ReportSettings(runs=(run,), out=tmp_path / "out", audio=True))
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count('src="data:audio/flac;base64,') == 3
    (tmp_path / "audio" / "u.wav").write_text("no audio, a secret")
    report(ReportSettings(runs=(run,), out=tmp_path / "out", audio=True))
    assert "<audio" not in (tmp_path / "out" / "report.html").read_text()


def test_an_analysis_of_the_run_becomes_a_heat_map(run: Path, tmp_path: Path) -> None:
    found = [
        {"encoder": name, "measure": measure, "layer": layer, "value": value - 10 * layer}
        for name, value in (("tuned", 90.0), ("merged", 100.0))
        for measure in ("cka", "cosine")
        for layer in range(3)
    ]
    broken = {"encoder": "broken", "measure": "cka", "layer": 1, "value": 3.0}
    (run / "analysis").mkdir()
    write_jsonl(run / "analysis" / "analysis.jsonl", [*found, broken, {"measure": "cka"}])
    report(ReportSettings(runs=(run,), out=tmp_path / "out"))
    kept = rows(tmp_path / "out" / "figures" / "similarity.csv")
    assert [(r["encoder"], r["state"], float(r["cka"])) for r in kept] == [
        (name, str(layer), value - 10 * layer)
        for name, value in (("tuned", 90.0), ("merged", 100.0))
        for layer in range(3)
    ]


def test_the_table_for_a_paper(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    report(ReportSettings(runs=(tmp_path / "run",), out=tmp_path / "out"))
    lines = (tmp_path / "out" / "table.tex").read_text("utf-8").splitlines()
    body = [line for line in lines if line.endswith("\\\\")]
    assert len({line.count(" & ") for line in body}) == 1
    assert any("\\textbf{" in line and "$\\pm$" in line for line in body)
    table = rows(tmp_path / "out" / "table.csv")
    assert {"encoder", "task", "metric", "mean", "sd", "seeds"} <= set(table[0])
    assert {row["seeds"] for row in table} == {"3"}

from __future__ import annotations

import csv
import io
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from speechft.core.errors import DataError, SettingsError
from speechft.core.files import read_jsonl, write_json, write_jsonl
from speechft.core.settings import parse_settings
from speechft.metrics.superb import suite_score, superb_score
from speechft.reporting.comparison import compare
from speechft.reporting.encoder_roles import infer_roles
from speechft.reporting.findings import findings
from speechft.reporting.measurements import Encoder, Measurement
from speechft.reporting.page import cells, terminal_table
from speechft.reporting.read_results import read_evidence
from speechft.reporting.settings import ReportSettings
from speechft.reporting.stage import comparison_of, report

sys.path.insert(0, str(Path(__file__).parent))
from report_fixture import VALUES, write_run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_run(folder / "run")
    report(ReportSettings(runs=(folder / "run",), out=folder / "out"))
    return folder / "out"


def test_page_is_one_self_contained_file(made: Path) -> None:
    page = (made / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert not re.search(r'(src|href)="(?!data:|#)', page)  # nothing is loaded from elsewhere
    assert "@import" not in page
    assert "url(http" not in page
    assert page.count("<svg") == 2 * 4  # of each figure one for wide and one for narrow pages


def test_what_scrolls_can_be_reached_from_the_keyboard(made: Path) -> None:
    regions = re.findall(r'<div class="scroll"[^>]*>', (made / "report.html").read_text())
    assert len(regions) >= 2
    assert all('tabindex="0" role="region" aria-label="' in one for one in regions)


def test_page_warns_of_synthetic_speech(made: Path) -> None:
    assert "Synthetic speech." in (made / "report.html").read_text()
    assert "**Synthetic speech.**" in (made / "report.md").read_text()


def test_page_tells_how_to_repeat(made: Path) -> None:
    page = (made / "report.html").read_text()
    assert "speechft run recipe.yaml --out again" in page
    assert "name: fixture" in page
    assert "Seeds: 0, 1, 2" in page


def test_figures_and_markdown_belong_together(made: Path) -> None:
    names = re.findall(r"\(figures/(.*?\.png)\)", (made / "report.md").read_text())
    assert sorted(names) == sorted(p.name for p in (made / "figures").glob("*.png"))
    assert len(names) == 4
    for name in names:
        assert (made / "figures" / name).read_bytes().startswith(b"\x89PNG")


def test_markdown_table_is_whole(made: Path) -> None:
    lines = [x for x in (made / "report.md").read_text().splitlines() if x.startswith("|")]
    assert len(lines) == 5
    assert len({line.count("|") for line in lines}) == 1
    assert "**" in lines[4]  # Speech-FT is best somewhere


def test_same_input_same_bytes(made: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    report(ReportSettings(runs=(tmp_path / "run",), out=tmp_path / "out"))
    for file in (p for p in made.rglob("*") if p.is_file()):
        assert (tmp_path / "out" / file.relative_to(made)).read_bytes() == file.read_bytes()


def test_means_spread_best_and_order(tmp_path: Path) -> None:
    table = comparison_of((write_run(tmp_path, noise=0.5),))
    assert [r.encoder.role for r in table.rows] == ["pretrained", "finetuned", "merged"]
    assert [r.encoder.alpha for r in table.rows] == [0.0, 1.0, 0.25]  # the sweep stays out of it
    per = [r.cells["pr", "per"].values for r in table.rows]
    assert all(len(values) == 3 for values in per)
    assert ("pr", "per") in table.rows[0].best  # lower is better
    assert ("sid", "acc") in table.rows[1].best  # higher is better
    assert "score" in table.rows[2].best
    assert table.seeds == [0, 1, 2]
    assert table.items["pr"] == 240


def test_score_of_the_suite_is_what_its_text_says(tmp_path: Path) -> None:
    table = comparison_of((write_run(tmp_path, seeds=(0,), noise=0),))
    expected = 1000 * ((1 - 0.312) + 0.584 + 0.620 + (0.713 + (1 - 0.410)) / 2) / 4
    assert table.rows[0].score is not None
    assert table.rows[0].score.mean == pytest.approx(expected)
    assert table.score_name == "Suite score"
    assert "not SUPERB_S" in table.score_text
    assert suite_score({"pr": {"per": (0.0, "lower")}}) == 1000


def test_a_value_that_is_no_number_makes_no_score() -> None:
    found = suite_score({"sid": {"acc": (float("nan"), "higher")}, "pr": {"per": (10.0, "lower")}})
    assert found != found
    assert suite_score({"pr": {"per": (150.0, "lower")}}) == 0.0


def test_superb_suite_gets_superb_s(tmp_path: Path) -> None:
    table = comparison_of((write_run(tmp_path, seeds=(0,), noise=0, suite="paper4"),))
    scores = {
        "pr": {"per": 31.2},
        "sid": {"acc": 58.4},
        "er": {"acc": 62.0},
        "sf": {"slot_type_f1": 71.3, "slot_value_cer": 41.0},
    }
    assert table.score_name == "SUPERB_S"
    assert table.rows[0].score is not None
    assert table.rows[0].score.mean == pytest.approx(superb_score(scores))


def test_scores_of_two_suites_are_never_in_one_table(tmp_path: Path) -> None:
    runs = (
        write_run(tmp_path / "one", seeds=(0,), suite="paper4"),
        write_run(tmp_path / "two", seeds=(0,), suite="mini"),
    )
    with pytest.raises(DataError, match="different suites"):
        comparison_of(runs)
    assert comparison_of(runs[:1]).rows  # control


@pytest.mark.parametrize(
    ("way", "said"),
    [({"protocol": "s3prl"}, "protocol s3prl"), ({"precision": "bfloat16"}, "passes in bfloat16")],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_scores_that_were_measured_in_two_ways_are_never_in_one_table(
    tmp_path: Path, way: dict[str, str], said: str, seed: int
) -> None:
    runs = (
        write_run(tmp_path / "one", seeds=(0,)),
        write_run(tmp_path / "two", seeds=(seed,), **way),
    )
    with pytest.raises(DataError, match=said):
        comparison_of(runs)
    assert comparison_of(runs[1:]).rows  # control


def test_encoder_without_all_tasks_gets_no_score(tmp_path: Path) -> None:
    values = {a: dict(v) for a, v in VALUES.items()}
    del values[0.25]["sf"]
    table = comparison_of((write_run(tmp_path, values=values),))
    assert table.rows[2].score is None
    assert findings(table)[0].verdict == "none"


def scenario(
    before: float, tuned: float, merged: float, spread: float = 0.1, seeds: int = 3
) -> str:
    """Give the headline for three SID accuracies."""
    encoders = [
        Encoder("pretrained", alpha=0.0),
        Encoder("finetuned", "er", "stable", alpha=1.0),
        Encoder("merged", "er", "stable", "linear", 0.25),
    ]
    shifts = [(-1) ** i * i * spread for i in range(seeds)]
    measurements = [
        Measurement(e, s, "sid", "acc", v + shifts[s] * (1 if e.role == "merged" else -1), "higher")
        for e, v in zip(encoders, (before, tuned, merged), strict=True)
        for s in range(seeds)
    ]
    finding = findings(compare(measurements))[0]
    return f"{finding.verdict}: {finding.headline}"


@pytest.mark.parametrize(
    ("values", "verdict", "words"),
    [
        ((60, 50, 70), "better", "scores above the pretrained encoder and stable fine-tuning: "),
        ((60, 70, 65), "mixed", "above the pretrained encoder and scores below stable fine-tuning"),
        ((60, 40, 55), "mixed", "above stable fine-tuning and scores below the pretrained encoder"),
        ((60, 50, 45), "worse", "scores below the pretrained encoder and stable fine-tuning"),
        ((60, 60, 60), "none", "is not told apart from the pretrained encoder and stable fine-"),
    ],
)
def test_headline_is_honest(values: tuple[float, float, float], verdict: str, words: str) -> None:
    text = scenario(*values, spread=0.1)
    assert text.startswith(f"{verdict}: ")
    assert words in text


def test_headline_claims_only_what_the_seeds_bear() -> None:
    open_ones = "scores above stable fine-tuning and is not told apart from the pretrained encoder"
    assert f"{open_ones} (too few seeds to tell)" in scenario(60, 30, 60.4, spread=1)
    assert "scores above the pretrained encoder" in scenario(60, 30, 60.4, spread=0.01)
    assert "there is no interval" in scenario(60, 30, 90, spread=0)  # seeds that do not vary


def test_headline_says_when_there_is_one_seed() -> None:
    assert "One seed only" in scenario(60, 50, 70, seeds=1)
    assert "One seed only" not in scenario(60, 50, 70, seeds=2)


def test_details_count_what_merging_gave_back(tmp_path: Path) -> None:
    def details(**more: Any) -> tuple[str, ...]:
        found = findings(comparison_of((write_run(tmp_path / str(more), **more),)))[0].details
        return found[-5:]  # a line per task and metric behind those of the score

    per, acc, *_ = details(noise=0.5)
    before, tuned, merged = (float(x) for x in re.findall(r"\d+\.\d", per))
    share = 100 * (tuned - merged) / (tuned - before)
    assert (before, tuned) == (pytest.approx(31.2, abs=1), pytest.approx(43.5, abs=1))
    assert abs(int(re.findall(r"(\d+) % of the loss made good", per)[0]) - share) <= 1
    before, tuned, merged = (float(x) for x in re.findall(r"\d+\.\d", acc))
    share = 100 * (merged - before) / (tuned - before)
    assert abs(int(re.findall(r"(\d+) % of the gain kept", acc)[0]) - share) <= 1
    assert "the task it was tuned on" in acc
    # One seed and no predictions bear nothing: the headline says so, and so do these.
    alone = details(noise=0, seeds=(0,))
    assert all("not told apart" in text for text in alone)
    assert not any(word in text for text in alone for word in ("better", "worse", "made good"))


def test_cells_show_the_change_and_its_sign(tmp_path: Path) -> None:
    table = comparison_of((write_run(tmp_path, seeds=(0,), noise=0),))
    tuned = cells(table, table.rows[1])
    assert (tuned[0].change, tuned[0].good) == ("+12.3", False)  # an error rate that rose
    assert (tuned[1].change, tuned[1].good, tuned[1].own) == ("+24.3", True, True)
    assert cells(table, table.rows[0])[0].change == ""


def terminal(folder: Path) -> list[str]:
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(terminal_table(comparison_of((folder,))))
    return console.export_text().splitlines()


def test_terminal_table_fits_80_columns(tmp_path: Path) -> None:
    lines = terminal(write_run(tmp_path))
    assert max(map(cell_len, lines)) <= 80
    assert "…" not in "".join(lines)
    assert len(lines) == 5  # two of heading, one per encoder
    assert lines[4].split()[-1] == "671±2"


def test_terminal_table_turns_where_there_are_many_metrics(tmp_path: Path) -> None:
    write_run(tmp_path, seeds=(0,))
    file = tmp_path / "seed-0" / "evaluate-sid" / "results.jsonl"
    records = read_jsonl(file)
    more = [r | {"task": f"x{i}"} for i in range(4) for r in records if r["task"] == "er"]
    write_jsonl(file, records + more)
    lines = terminal(tmp_path)
    assert max(map(cell_len, lines)) <= 80
    assert lines[1].startswith("PR PER ↓")
    assert len(lines) == 1 + 5 + 4 + 1


@pytest.mark.parametrize("count", [2, 6])
def test_terminal_table_breaks_no_word(tmp_path: Path, count: int) -> None:
    names = [f"runs/encoder-number-{n}" for n in range(count)]
    metrics = {"acc": "higher", "uar": "higher", "macro_f1": "higher"}
    measurements = [
        Measurement(Encoder("other", name=name), 0, f"classify:{column}", metric, 71.4, way)
        for name in names
        for column in ("language", "intention")
        for metric, way in metrics.items()
    ]
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(terminal_table(compare(measurements)))
    text = console.export_text()
    assert max(map(cell_len, text.splitlines())) <= 80
    for word in [*names, "CLASSIFY:language", "CLASSIFY:intention", "macro", "UAR"]:
        assert word in text


def test_terminal_table_tells_the_points_of_a_sweep_apart() -> None:
    console = Console(width=80, file=io.StringIO(), record=True)
    measurements = [
        Measurement(Encoder("merged", alpha=alpha), 0, "sid", "acc", 71.4, "higher")
        for alpha in (0.25, 0.5)
    ]
    console.print(terminal_table(compare(measurements)))
    text = console.export_text()
    assert "α = 0.25" in text
    assert "α = 0.5" in text


def test_classes_lie_beside_the_report_as_csv(tmp_path: Path) -> None:
    home = tmp_path / "run"
    said = [("ja", "ja"), ("ja", "nein, danke"), ("nein, danke", "nein, danke")]
    rows = [{"id": str(n), "reference": r, "prediction": p} for n, (r, p) in enumerate(said)]
    write_jsonl(home / "cells" / "c" / "predictions.jsonl", rows)
    record = {"encoder": "mine", "task": "classify:answer", "seed": 0, "items": 3, "cell": "c"}
    about = {"split": "test", "direction": "higher", "suite": "own", "protocol": "clean"}
    write_jsonl(home / "results.jsonl", [record | about | {"metric": "acc", "value": 66.666667}])
    report(ReportSettings(runs=(home,), out=tmp_path / "out"))
    with (tmp_path / "out" / "confusion.csv").open(newline="") as file:
        confusion = list(csv.DictReader(file))
    found = {(r["reference"], r["prediction"]): int(r["items"]) for r in confusion}
    assert found == {("ja", "ja"): 1, ("ja", "nein, danke"): 1, ("nein, danke", "ja"): 0,
                     ("nein, danke", "nein, danke"): 1}  # fmt: skip
    with (tmp_path / "out" / "classes.csv").open(newline="") as file:
        classes = {r["class"]: r for r in csv.DictReader(file)}
    assert {r["task"] for r in classes.values()} == {"classify:answer"}
    assert (classes["ja"]["recall"], classes["ja"]["precision"]) == ("50.0", "100.0")
    assert classes["nein, danke"]["items"] == "1"


def test_roles_are_learnt_from_provenance(tmp_path: Path) -> None:
    write_run(tmp_path, seeds=(0,))
    home = tmp_path / "seed-0" / "evaluate-sid"
    (home / "encoders.json").unlink()
    tuned, merged = tmp_path / "tuned" / "encoder", tmp_path / "merged"
    tuned.mkdir(parents=True)
    made = {"task": "sid", "method": "stable"}
    write_json(
        tuned.parent / "speechft.json",
        {"stage": "finetune", "settings": made, "parents": {"encoder": "h0"}},
    )
    settings = {"method": "linear", "alpha": ["0.25"]}
    about = {"stage": "merge", "settings": settings, "alpha": "0.25"}
    write_json(merged / "speechft.json", about)
    paths = {"a0": ("anything", "h0"), "a1": (str(tuned), "h1"), "a0.25": (str(merged), "h2")}
    records = [r for r in read_jsonl(home / "results.jsonl") if r["encoder"] in paths]
    for record in records:
        record["encoder"], record["encoder_hash"] = paths[record["encoder"]]
    write_jsonl(home / "results.jsonl", records)
    trio = comparison_of((tmp_path,)).trios[0]
    assert trio.merged.encoder.alpha == 0.25
    assert trio.finetuned.encoder.tuned_on == "sid"


def test_latex_has_the_hat_on_theta(tmp_path: Path) -> None:
    write_run(tmp_path / "run", seeds=(0,))
    out = tmp_path / "out"
    report(ReportSettings(runs=(tmp_path / "run",), out=out))
    text = (out / "table.tex").read_text(encoding="utf-8")
    names = [line.split(" & ")[0] for line in text.splitlines() if line.endswith(r"\\")][1:]
    assert [name.split()[0] for name in names] == [
        r"$\theta_0$", r"$\theta'$", r"$\hat{\theta}$"
    ]  # fmt: skip
    assert names[2] == r"$\hat{\theta}$ Speech-FT on SID, $\alpha$ = 0.25"


def test_nothing_is_best_where_all_are_the_same(tmp_path: Path) -> None:
    same = {alpha: VALUES[0.0] for alpha in (0.0, 0.25, 1.0)}
    table = comparison_of((write_run(tmp_path, seeds=(0,), values=same, noise=0),))
    assert not any(row.best for row in table.rows)


def test_without_a_recipe_the_evaluation_is_what_can_be_repeated(tmp_path: Path) -> None:
    write_run(tmp_path / "run", seeds=(0,))
    (tmp_path / "run" / "run.json").unlink()
    points = [{"path": "sweep", "alpha": alpha} for alpha in (0.0, 0.5)]
    encoders = [{"path": "base"}, *points]
    about = {"encoders": encoders, "data": "my.csv", "tasks": ["pr", "er"], "seeds": [0]}
    about |= {"steps": {"pr": 40}, "context": "utterance", "workers": 2}
    counts = {name: about[name] for name in about if name != "workers"}
    made = {"stage": "evaluate", "settings": about, "depends": counts}
    write_json(tmp_path / "run" / "seed-0" / "evaluate-sid" / "speechft.json", made)
    report(ReportSettings(runs=(tmp_path / "run",), out=tmp_path / "out"))
    text = (tmp_path / "out" / "report.md").read_text()
    command = next(line for line in text.splitlines() if line.startswith("speechft evaluate"))
    assert shlex.split(command)[2:] == [
        *("base", "sweep", "--data", "my.csv", "--tasks", "pr,er", "--seed", "0"),
        *("--set", 'steps={"pr": 40}', "--set", "context=utterance", "--out", "DIR"),
    ]


def test_points_of_a_sweep_are_learnt_from_their_names(tmp_path: Path) -> None:
    tuned = tmp_path / "sid"
    made = {"stage": "finetune", "settings": {"task": "sid", "method": "stable"}}
    write_json(tuned / "speechft.json", made | {"parents": {"encoder": "h0"}})
    names = [f"{tuned}/encoder@{alpha}" for alpha in (0.1, 0.25)]
    records = [{"encoder": n, "encoder_hash": n} for n in names]
    records += [{"encoder": "base", "encoder_hash": "h0"}, {"encoder": "x", "encoder_hash": "?"}]
    roles = infer_roles(records)
    assert [roles[n]["alpha"] for n in names] == [0.1, 0.25]
    assert {roles[n]["tuned_on"] for n in names} == {"sid"}
    assert [roles[n]["role"] for n in ("base", "x")] == ["pretrained", "other"]


def test_encoders_that_nothing_tells_apart_get_their_paths_as_names(tmp_path: Path) -> None:
    for name in ("a", "b"):
        made = {
            "stage": "merge",
            "settings": {"method": "ties", "tuned": ["p", "q"]},
            "alpha": "0.3",
        }
        write_json(tmp_path / name / "speechft.json", made)
    roles = infer_roles([{"encoder": str(tmp_path / name)} for name in ("a", "b")])
    assert len({about["name"] for about in roles.values()}) == 2


def test_unknown_encoders_are_still_compared(tmp_path: Path) -> None:
    write_run(tmp_path, seeds=(0,))
    (tmp_path / "seed-0" / "evaluate-sid" / "encoders.json").unlink()
    table = comparison_of((tmp_path,))
    assert {r.encoder.role for r in table.rows} == {"other"}
    assert "6 encoders measured on 4 tasks" in findings(table)[0].headline


def test_two_runs_stay_apart(tmp_path: Path) -> None:
    write_run(tmp_path / "one")
    write_run(tmp_path / "two")
    write_json(tmp_path / "two" / "run.json", {"name": "other"})
    table = comparison_of((tmp_path / "one", tmp_path / "two"))
    assert len(table.rows) == 6
    assert len(table.trios) == 2


def test_two_runs_of_one_name_stay_apart_and_their_seeds_come_together(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", seeds=(0, 1))
    shutil.copytree(one, tmp_path / "copy")
    more = write_run(tmp_path / "more", seeds=(2, 3))
    assert len(comparison_of((one, tmp_path / "copy", more)).rows) == 3
    assert comparison_of((one, tmp_path / "copy", more)).seeds == comparison_of((one, more)).seeds
    other = write_run(tmp_path / "other", seeds=(0, 1), noise=2.0)
    rows = comparison_of((one, other)).rows
    assert {row.encoder.run for row in rows} == {"fixture", "fixture (other)"}
    assert len(rows) == 6


def test_another_encoder_of_the_same_name_is_another_row(tmp_path: Path) -> None:
    """Trained anew in its place between two evaluations of one run, each of other tasks."""
    run = write_run(tmp_path / "run", seeds=(0,))
    (file,) = run.rglob("results.jsonl")
    records = read_jsonl(file)
    own = [{**r, "encoder_hash": "other"} for r in records if r["task"] == "pr"]
    write_jsonl(file, [r for r in records if r["task"] != "pr"])
    write_jsonl(file.parent.with_name("later") / "results.jsonl", own)
    shutil.copy(file.with_name("encoders.json"), file.parent.with_name("later"))
    rows = comparison_of((run,)).rows
    assert all({m.task for m in row.measurements} in ({"pr"}, {"sid", "er", "sf"}) for row in rows)
    write_jsonl(
        file.parent.with_name("later") / "results.jsonl", [r for r in records if r["task"] == "pr"]
    )
    assert {m.task for row in comparison_of((run,)).rows for m in row.measurements} > {"pr", "sid"}


def test_rows_on_different_data_are_pointed_out(tmp_path: Path) -> None:
    for name in ("one", "two"):
        folder = write_run(tmp_path / name, seeds=(0,))
        write_json(folder / "run.json", {"name": name, "data": f"{name}.csv"})
        for file in folder.rglob("results.jsonl"):
            write_jsonl(file, [{**r, "data_hash": name} for r in read_jsonl(file)])
    both = (tmp_path / "one", tmp_path / "two")
    page = report(ReportSettings(runs=both, out=tmp_path / "report")).read_text()
    assert "Different data." in page
    assert "Synthetic speech." not in page
    assert (
        "Different data."
        not in report(ReportSettings(runs=both[:1], out=tmp_path / "report")).read_text()
    )


def test_synthetic_and_real_speech_in_one_report(tmp_path: Path) -> None:
    real = write_run(tmp_path / "real", seeds=(0,))
    write_json(real / "run.json", {"name": "real", "data": "own.csv"})
    both = (real, write_run(tmp_path / "synthetic", seeds=(0,)))
    page = report(ReportSettings(runs=both, out=tmp_path / "report")).read_text()
    assert "Some of the numbers here were measured on speech made by a synthesiser" in page


def test_half_a_line_of_a_log_is_no_obstacle(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", seeds=(0,))
    log = folder / "seed-0" / "finetune-sid" / "metrics.jsonl"
    whole = len(read_evidence([folder]).curves[0].records)
    log.write_text(log.read_text() + '[1]\n{"loss": 1}\n{"update": 700, "lo')
    assert len(read_evidence([folder]).curves[0].records) == whole


def write_grid(folder: Path, sid: dict[float, float]) -> None:
    """Put the dev accuracy of SID by alpha beside the results of every seed; PR is 30 for all."""
    for place in folder.glob("seed-*/evaluate-sid"):
        seed = int(place.parent.name.removeprefix("seed-"))
        rows = []
        for alpha, value in sid.items():
            row = {"encoder": f"a{alpha:g}", "seed": seed, "learning_rate": 0.1, "step": 5}
            rows.append({**row, "task": "pr", "per": 30.0, "chosen": True})
            rows.append({**row, "task": "sid", "acc": value - seed, "chosen": True})
            rows.append({**row, "task": "sid", "acc": 99.0, "chosen": False})
        write_jsonl(place / "grid.jsonl", rows)


def test_the_report_says_which_alpha_the_dev_splits_choose(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    dev = {0.0: 50.0, 0.1: 52.0, 0.25: 60.0, 0.5: 70.0, 0.75: 66.0, 1.0: 64.0}
    write_grid(run, dev)
    text = report(ReportSettings(runs=(run,), out=tmp_path / "out")).with_suffix(".md").read_text()
    assert (
        "On the dev splits of PR and SID, α = 0.5 scores best of 0, 0.1, 0.25, 0.5, 0.75, 1 "
        "(695 ± 5); the α that was used, 0.25, has 645 ± 5 there." in text
    )
    write_grid(run, {**dev, 0.25: 80.0})
    evidence = read_evidence((run,))
    (choice,) = compare(evidence.measurements, evidence.dev).choices.values()
    assert choice.best == 0.25
    assert choice.text(0.25).endswith("; it is the one that was used.")
    before = [(m.task, m.value) for m in evidence.measurements]
    for grid in run.rglob("grid.jsonl"):
        grid.write_text("{half")
    evidence = read_evidence((run,))
    assert (evidence.dev, [(m.task, m.value) for m in evidence.measurements]) == ([], before)


def test_s3prl_s_choices_by_the_test_split_decide_nothing(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", protocol="s3prl")
    write_grid(run, {0.0: 50.0, 0.25: 60.0, 0.5: 70.0, 1.0: 64.0})
    assert read_evidence((run,)).dev == []


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("results.jsonl", '{"encoder": "a'),
        ("results.jsonl", "[1, 2]"),
        ("results.jsonl", "\udcff\udcfe"),
        ("encoders.json", '[{"x": 1}]'),
        ("encoders.json", '[{"encoder": "a0", "role": "weird"}]'),
        ("encoders.json", '{"broken'),
        ("encoders.json", "3"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, file: str, content: str) -> None:
    folder = write_run(tmp_path, seeds=(0,)) / "seed-0" / "evaluate-sid"
    (folder / file).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=file):
        read_evidence([tmp_path])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_a_value_that_is_no_number_is_refused(tmp_path: Path, value: float | None) -> None:
    file = write_run(tmp_path, seeds=(0,)) / "seed-0" / "evaluate-sid" / "results.jsonl"
    first, *rest = read_jsonl(file)
    write_jsonl(file, [{**first, "value": value}, *rest])
    with pytest.raises(DataError, match="line 1"):
        read_evidence([tmp_path])


def test_provenance_that_makes_no_sense_is_left_out(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", seeds=(0,))
    write_json(folder / "seed-0" / "evaluate-sid" / "speechft.json", {"settings": None})
    report(ReportSettings(runs=(folder,), out=tmp_path / "report"))


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such run folder"):
        read_evidence([tmp_path / "absent"])


def test_folder_without_results(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no results in this folder"):
        read_evidence([tmp_path])


WHOLE = {"encoder": "a", "seed": 0, "task": "pr", "metric": "per", "value": 1.0}


@pytest.mark.parametrize(
    "broken", [{"task": "pr"}, {"encoder": "a", "seed": "x"}, {**WHOLE, "direction": "up"}]
)
def test_broken_record_names_its_line(tmp_path: Path, broken: dict[str, object]) -> None:
    write_jsonl(tmp_path / "results.jsonl", [broken])
    with pytest.raises(DataError, match=r"results\.jsonl, line 1"):
        read_evidence([tmp_path])


def test_misspelt_setting() -> None:
    with pytest.raises(SettingsError, match="titel: unknown key; did you mean 'title'"):
        parse_settings(ReportSettings, {"runs": ["a"], "out": "b", "titel": "c"}, "report")


def test_what_is_compared_was_made_from_one_another() -> None:
    """Of two fine-tunings of one task, only the second of which was merged."""
    tuned = [Encoder("finetuned", "sid", "stable", alpha=1, name=name) for name in ("", "second")]
    merged = Encoder("merged", "sid", "stable", "linear", 0.25, "second")
    encoders = [Encoder("pretrained", alpha=0), *tuned, merged]
    measured = [Measurement(one, 0, "sid", "acc", 50.0, "higher") for one in encoders]
    (trio,) = compare(measured).trios
    assert (trio.finetuned.encoder, trio.merged.encoder) == (tuned[1], merged)

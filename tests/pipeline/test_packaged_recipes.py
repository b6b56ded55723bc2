"""The paper's experiments end to end: every corpus in its own tree, small; sizes alone changed.

Sizes are updates, batches, heads, clusters, rates and utterances; `suite` is one of our own with
the tasks and references of the paper's, which refuses them, and nothing is kept for the report's
bootstrap, which takes seconds. Each recipe begins with a small encoder of its own family.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from corpus_trees import MAKERS, Speech
from evaluate_fixture import CONFIG

from speechft.cli.app import main
from speechft.core.errors import DataError
from speechft.core.files import read_json
from speechft.encoders import build_encoder
from speechft.encoders.convert import convert
from speechft.encoders.settings import ConvertSettings
from speechft.metrics.superb import REFERENCES, superb_score
from speechft.pipeline.recipe.settings import find_recipe, packaged, read_recipe
from speechft.pipeline.recipe.stage import load_recipe, plan_run, run
from speechft.probing.settings import SUITES, EvaluateSettings, Suite

pytestmark = pytest.mark.usefixtures("empty_figures")
EXPERIMENTS = [name for name in packaged() if "/" in name]
OF_PAPER = "asr sid pc er wav2vec2 wavlm decoar2 unsupervised multitask ablation baselines analysis"
CORPORA = ("librispeech", "voxceleb1", "iemocap", "snips", "tedlium3", "timit", "aishell3")
CORPORA += ("speech_commands", "fluent_speech_commands")
OTHERS = ("wav2vec2", "wavlm", "decoar2")
EVALUATION = {
    "suite": "toy", "predictions": "false", "head_size": "mini", "steps": 2, "batch_size": 2,
    "checks": 1, "learning_rates": "[0.01]", "workers": 1,
}  # fmt: skip
TUNING = {"steps": 2, "batch_size": 2, "head_size": "mini", "evaluate_every": 0, "threads": 1}
PRETRAINING = {
    "iterations.0.steps": 2, "iterations.0.clusters": 5, "iterations.0.layer": 1, "seconds": 4,
    "fit_seconds": 5, "dev_seconds": 1, "threads": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory, synthetic_splits: Any) -> Path:
    root = tmp_path_factory.mktemp("corpora")
    speech = Speech(synthetic_splits)
    for name in CORPORA:
        MAKERS[name](root / name if name == "speech_commands" else root, speech)
    return root


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small("hubert", tmp_path_factory.mktemp("encoder") / "tiny")


def small(family: str, folder: Path) -> Path:
    build_encoder({**CONFIG, "model_type": family}, seed=0).save(folder)
    return folder


@dataclass(frozen=True)
class Toy(Suite):
    """A suite of the same tasks and references at any size."""

    def problems(self, settings: EvaluateSettings) -> list[str]:
        return []


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, real in (("toy", "paper4"), ("toy10", "superb10")):
        suite = SUITES[real]
        toy = Toy(name, suite.title, suite.tasks, "mini", reference=suite.reference)
        monkeypatch.setitem(SUITES, name, toy)


def sizes(name: str) -> Iterator[str]:
    """Give the sizes that every section of a recipe gets here."""
    recipe: dict[str, Any] = read_recipe(find_recipe(name))
    tunings = recipe.get("finetune", [])
    count = len(tunings) if isinstance(tunings, list) else 0
    sections = [f"finetune.{i}" for i in range(count)] if count else ["finetune"] * bool(tunings)
    parts = {"evaluate": EVALUATION} | dict.fromkeys(sections, TUNING)
    parts |= {"pretrain": PRETRAINING} if "pretrain" in recipe else {}
    parts |= {"analyze": {"utterances": 2}} if "analyze" in recipe else {}
    for section, values in parts.items():
        yield from (f"{section}.{key}={value}" for key, value in values.items())


def code(*command: str) -> int:
    """Give what a command ends with."""
    try:
        return int(main(list(command)) or 0)
    except SystemExit as ended:
        return int(ended.code or 0)


def test_there_is_a_recipe_for_every_experiment() -> None:
    found = [name.removeprefix("paper/") for name in EXPERIMENTS if name.startswith("paper/")]
    assert sorted(found) == sorted(OF_PAPER.split())
    assert len([name for name in EXPERIMENTS if name.startswith("more/")]) == 4


def begin(name: str, trees: Path, encoder: Path, folder: Path) -> list[str]:
    """Give where a recipe begins: a small encoder of its family, DeCoAR 2.0's a checkpoint file."""
    family = name.removeprefix("paper/")
    if family == "decoar2":
        values = {"source": str(small(family, folder / "own")), "to": "s3prl"}
        convert(ConvertSettings(**values, target=trees / "checkpoint_decoar2.pt"))
        return [f"data_root={trees}"]
    own = small(family, folder / "own") if family in OTHERS else encoder
    return [f"data_root={trees}", f"encoder={own}"]


def read_records(out: Path) -> list[dict[str, Any]]:
    return [*map(json.loads, (out / "seed-0/evaluate/results.jsonl").read_text().splitlines())]


def superb_scores(out: Path, suite: str) -> dict[str, float]:
    """Give encoder → SUPERB_S of its records, by hand."""
    reference = REFERENCES[str(SUITES[suite].reference)]
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for one in read_records(out):
        if one["metric"] in reference.floor.get(one["task"], ()):
            own = scores.setdefault(one["encoder"], {}).setdefault(one["task"], {})
            own[one["metric"]] = one["value"]
    return {name: superb_score(own, reference) for name, own in scores.items()}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_runs(name: str, trees: Path, encoder: Path, tmp_path: Path) -> None:
    overrides = [*begin(name, trees, encoder, tmp_path), *sizes(name)]
    settings = load_recipe(name, overrides)
    out = run(settings, tmp_path / "out")
    families = {
        read_json(path)["model_type"]
        for path in out.glob("seed-0/*/**/config.json")
        if (path.parent / "model.safetensors").is_file()
    }
    assert families == {name.removeprefix("paper/")} & set(OTHERS) or {"hubert"}
    measured = {(one["encoder"], one["task"]) for one in read_records(out)}
    roles = {one["encoder"]: one for one in json.loads((out / "encoders.json").read_text())}
    assert measured == {(one, task) for one in roles for task in settings.evaluate.tasks}
    assert {"pretrained", "finetuned", "merged"} == {one["role"] for one in roles.values()}
    merged = [one for one in roles.values() if one["role"] == "merged" and one.get("main", True)]
    assert {one["alpha"] for one in merged} == {0.25}
    by_hand = superb_scores(out, "toy")
    assert set(by_hand) == set(roles)
    by_hand = {name: s for name, s in by_hand.items() if roles[name].get("main", True)}
    with (out / "table.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["task"] == "SUPERB_S"]
    shown = sorted(float(row["mean"]) for row in rows)
    assert shown == pytest.approx(sorted(by_hand.values()), abs=0.01)
    assert (out / "report.html").is_file()
    assert all(
        plan_run(settings, out).graph.is_done(step) for step in plan_run(settings, out).steps
    )


def test_superb_is_a_recipe_without_training(
    trees: Path, encoder: Path, tmp_path: Path, synthetic_splits: Any
) -> None:
    speech = Speech(synthetic_splits)
    places = {name: MAKERS[name](tmp_path / name, speech) for name in ("quesst2014", "libri2mix")}
    overrides = [f"places.{name}={place}" for name, place in places.items()]
    overrides += [f"data_root={trees}", f"encoder={encoder}", *sizes("superb")]
    overrides += ["evaluate.suite=toy10"]
    out = run(load_recipe("superb", overrides), tmp_path / "out")
    assert {one["task"] for one in read_records(out)} == set(SUITES["superb10"].tasks)
    assert "SUPERB_S" in (out / "report.md").read_text()
    assert superb_scores(out, "toy10")


@pytest.mark.parametrize("name", [*EXPERIMENTS, "superb"])
def test_an_override_of_the_tasks_leaves_out_the_data_of_others(name: str) -> None:
    for said in ("[sid, er]", "sid,er"):
        found = load_recipe(name, [f"evaluate.tasks={said}"]).evaluate
        assert found.tasks == ("sid", "er")
        assert isinstance(found.data, dict)
        assert set(found.data) == {"sid", "er"}


def test_one_task_of_superb_asks_for_its_corpora_alone(
    encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--set", f"data_root={tmp_path}", "--set", f"encoder={encoder}"]
    given += ["--set", "evaluate.tasks=[sid]", "--out", str(tmp_path / "out")]
    assert code("run", "superb", "--dry-run", *given) == 3
    shown = capsys.readouterr().err
    assert f"voxceleb1:{tmp_path}/VoxCeleb1" in shown
    assert "librispeech:" not in shown
    # Data that is given beside it is no leftover of the recipe.
    assert code("run", "superb", "--dry-run", *given, "--set", "evaluate.data.pr=x.csv") == 2
    assert "data names the task 'pr', which is not in tasks" in capsys.readouterr().err


@pytest.mark.parametrize("name", [*EXPERIMENTS, "superb"])
def test_what_is_missing_is_said_at_once(
    name: str, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--set", f"data_root={tmp_path / 'none'}", "--set", f"encoder={encoder}"]
    assert code("run", name, "--dry-run", "--out", str(tmp_path / "out"), *given) == 3
    shown = capsys.readouterr()
    lines = [line for line in shown.err.splitlines() if f"{tmp_path}/none/" in line]
    recipe = load_recipe(name, [f"data_root={tmp_path / 'none'}"])
    named = {d for d in (recipe.evaluate.data or {}).values()}  # type: ignore[union-attr]
    named |= {d for one in recipe.finetune for d in _all(one.data)}
    assert {line.split(": ")[0].strip() for line in lines} >= named
    assert all("http" in line for line in lines)
    assert "hours of a GPU as fast as an NVIDIA H100" in " ".join(shown.out.split())
    assert shown.out.count(" h as its makers say") == len(lines)
    assert "MB on disk" in shown.out
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match="data is missing"):
        run(recipe, tmp_path / "out")


def _all(data: str | dict[str, str] | None) -> list[str]:
    return list(data.values()) if isinstance(data, dict) else [str(data)]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_on_trees_that_are_there_a_dry_run_finds_them(
    name: str, trees: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--set", f"data_root={trees}", "--set", f"encoder={encoder}"]
    given += [part for one in sizes(name) for part in ("--set", one)]
    assert code("run", name, "--dry-run", "--out", str(tmp_path / "out"), *given) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"audio iemocap:{trees}/IEMOCAP_full_release: found, 7 h as its makers say" in shown
    assert "hours of a GPU" in shown
    assert "missing" not in shown
    assert not (tmp_path / "out").exists()
    tuned_on_tested = name == "paper/er"
    assert ("will be heard with labels in tuning: finetuned-er on er" in shown) == tuned_on_tested


def test_one_corpus_may_lie_elsewhere(tmp_path: Path) -> None:
    recipe = load_recipe("paper/asr", ["data_root=/corpora", "places.snips=/elsewhere"])
    assert recipe.evaluate.data["sf"] == "snips:/elsewhere"  # type: ignore[index]
    assert recipe.evaluate.data["pr"] == "librispeech:/corpora/LibriSpeech"  # type: ignore[index]


def test_the_recipes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert code("run", "--recipes") == 0
    listed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert set(listed) == set(packaged())
    assert listed["paper/sid"] == "Speech-FT on SID (VoxCeleb1)"

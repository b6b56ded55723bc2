"""GPU hours: by what was measured, and what the pages promise is what a dry run says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from doc_pages import blocks

from speechft.pipeline.recipe.check_inputs import needed
from speechft.pipeline.recipe.cost_estimate import (
    BASE_PARAMETERS,
    KEPT,
    PASSES,
    PROBE,
    cost_of,
    size_of,
    states_of,
    without_room,
)
from speechft.pipeline.recipe.recipe_jobs import Plan
from speechft.pipeline.recipe.settings import load_recipe, packaged
from speechft.pipeline.recipe.stage import plan_run
from speechft.probing.settings import EvaluateSettings
from speechft.training.finetune.settings import FinetuneSettings

ROOT = Path(__file__).resolve().parents[2]
MEASURED = ROOT / "results/benchmarks"
# Words of docs/reproduce-*.md: recipe, hours, hours with frames kept, disk.
ROW = re.compile(r"^\| `([\w/]+)` \|.*\| (\d+) \| (\d+) \| ([\d.]+) \|$", re.MULTILINE)
FRAMES = ["evaluate.keep=frames", "evaluate.store_gb=2300", "evaluate.frame_dtype=float16"]
PROMISED = {
    name: tuple(map(float, figures))
    for page in ("paper", "superb")
    for name, *figures in ROW.findall((ROOT / f"docs/reproduce-{page}.md").read_text("utf-8"))
}


def test_the_rates_are_those_that_were_measured() -> None:
    found = json.loads((MEASURED / "superb-gpu.json").read_text())
    trained = {task: one for task, one in found["tasks"].items() if one["rates"]}
    folds = {"er": 5}
    assert {
        task: (pytest.approx(folds.get(task, 1) * one["update_seconds"]), one["rates"])
        for task, one in trained.items()
    } == PROBE
    whole = found["full_length"]
    assert pytest.approx(whole["audio_hours"] / whole["encode_hours"], rel=0.01) == KEPT
    sides = json.loads((MEASURED / "encode-gpu.json").read_text())["sides"]
    assert pytest.approx(sides["speechft float32"]["times_real_time"], rel=0.01) == PASSES


def planned(name: str, out: Path, *further: str) -> Plan:
    recipe = load_recipe(name, ["encoder=tiny-hubert", *further])
    return plan_run(recipe, out, [one.data for one in needed(recipe)])


def test_hours_of_a_probe_by_hand(tmp_path: Path) -> None:
    """S3PRL's PR: 100,000 updates of 2 batches of 16 utterances, of 11.843 s, at 333 times."""
    encoded_anew = 100_000 * 2 * 16 * 11.843 / 333 / 3600  # 31.6 h
    trained = 100_000 * 0.036263 / 3600  # 1.0 h
    encoded_once = 111.4 / 333  # 0.3 h: the time means
    by_hand = encoded_anew + trained + encoded_once
    assert by_hand == pytest.approx(32.96, abs=0.01)
    hours = sum(
        cost_of(step, None) for step in planned("superb", tmp_path, "evaluate.tasks=[pr]").steps
    )
    assert hours == pytest.approx(by_hand, rel=1e-3)


def test_hours_follow_what_there_is_room_for(tmp_path: Path) -> None:
    """LibriSpeech's 111.4 h: 746 GiB of frames in float32, half of that in float16."""

    def hours(*changes: str) -> float:
        further = ["evaluate.tasks=[pr]", *changes]
        return sum(cost_of(step, BASE_PARAMETERS) for step in base_sized(*further).steps)

    def base_sized(*further: str) -> Plan:
        return planned("superb", tmp_path, "encoder=facebook/hubert-base-ls960", *further)

    anew, kept = hours(), hours("evaluate.keep=frames", "evaluate.store_gb=760")
    assert anew - kept == pytest.approx(31.6, abs=0.1)
    assert hours("evaluate.keep=frames", "evaluate.store_gb=740") == pytest.approx(anew)
    assert hours("evaluate.store_gb=760") == pytest.approx(kept)  # in memory
    half = ["evaluate.keep=frames", "evaluate.frame_dtype=float16"]
    assert hours(*half, "evaluate.store_gb=385") == pytest.approx(kept)
    steps = base_sized("evaluate.tasks=[pr]", *half, "evaluate.store_gb=370").steps
    (settings,) = [s.settings for s in steps if isinstance(s.settings, EvaluateSettings)]
    ((data, need),) = without_room(settings).items()
    assert data.startswith("librispeech:")
    assert need / 2**30 == pytest.approx(373 + 3, abs=3)


@pytest.mark.parametrize(
    ("length", "updates"), [("{epochs: 5}", 7500), ("{hours: 1}", 4500), ("{steps: 7}", 7)]
)
def test_a_fine_tuning_costs_its_updates_however_its_length_is_said(
    length: str, updates: int, tmp_path: Path
) -> None:
    """Data of one's own count as ten hours, each is 150 batches; without a length 30 passes."""
    recipe = {
        "name": "own",
        "encoder": "tiny-hubert",
        "data": str(tmp_path / "own.csv"),
        "finetune": {"task": "asr", "seconds": 24, **yaml.safe_load(length)},
    }
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe))
    plan = plan_run(load_recipe(str(file)), tmp_path / "out", [])
    (step,) = [one for one in plan.steps if isinstance(one.settings, FinetuneSettings)]
    by_hand = updates * 24 * 3 / 2060 / 3600
    assert cost_of(step, BASE_PARAMETERS) == pytest.approx(by_hand, rel=1e-3)


def test_the_page_says_how_much_kept_frames_save() -> None:
    hours, kept, _ = PROMISED["paper/asr"]
    text = (ROOT / "docs/reproduce-paper.md").read_text("utf-8")
    assert f"a quarter of the time ({kept:.0f} of {hours:.0f} GPU hours)" in text
    assert kept / hours == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize(
    ("page", "recipe", "said"),
    [
        ("reproduce-paper", "paper/asr", r"store_gb=(\d+)"),
        ("reproduce-superb", "superb", r"([\d,]+) GB with[\s\S]*store_gb=(\d+)"),
        ("tutorials/superb-cluster", "", r"store_gb: (\d+) .* ([\d,]+) GB"),
    ],
)
def test_the_pages_give_a_store_that_holds_one_encoder(
    page: str, recipe: str, said: str, tmp_path: Path
) -> None:
    text = (ROOT / f"docs/{page}.md").read_text("utf-8")
    found = re.search(said, text)
    assert found
    figures = sorted(int(one.replace(",", "")) for one in found.groups())
    changes = ["encoder=facebook/hubert-base-ls960", *FRAMES[:1], "evaluate.frame_dtype=float16"]
    if not recipe:
        (tmp_path / "superb.yaml").write_text(blocks(ROOT / f"docs/{page}.md", "yaml")[0])
        recipe = str(tmp_path / "superb.yaml")
    steps = planned(recipe, tmp_path, *changes).steps
    (settings,) = [s.settings for s in steps if isinstance(s.settings, EvaluateSettings)]
    states = states_of(settings)
    assert states
    assert states < figures[0] * 2**30 < 1.1 * states
    assert figures[1:] in ([], [round(states / 1e9)])


def test_the_pages_name_every_experiment() -> None:
    assert set(PROMISED) == {n for n in packaged() if "/" in n or n == "superb"}


@pytest.mark.parametrize("name", PROMISED)
def test_the_pages_promise_what_a_dry_run_says(name: str, tmp_path: Path) -> None:
    steps = planned(name, tmp_path).steps
    hours = sum(cost_of(step, None) for step in steps)
    disk = sum(size_of(step, BASE_PARAMETERS).bytes or 0 for step in steps) / 1e9
    kept = sum(cost_of(step, None) for step in planned(name, tmp_path, *FRAMES).steps)
    assert (round(hours), round(kept), round(disk, 1)) == PROMISED[name]

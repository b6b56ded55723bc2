"""What is kept of studies, and the scripts that keep it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from speechft.pipeline.study.stage import load_study
from speechft.reporting.settings import ReportSettings
from speechft.reporting.stage import report
from speechft.reporting.study.files import MEASUREMENTS, stamp_of, write_page
from speechft.reporting.study.settings import StudySettings

ROOT = Path(__file__).resolve().parent.parent
KEPT = sorted(p.parent for p in (ROOT / "results" / "studies").glob(f"*/{MEASUREMENTS}"))
IN_PARTS = {
    "human",
    "human-others",
    "human-rule",
    "language",
}  # kept seed by seed, and not all of them yet
STALE = "speaks of other measurements"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("folder", KEPT, ids=lambda p: p.name)
def test_the_reading_is_of_the_kept_measurements(folder: Path) -> None:
    assert (folder / "notes.md").read_text("utf-8").startswith(stamp_of(folder))
    assert (folder / "report.md").read_text("utf-8") == write_page(folder)


def test_the_record_of_a_study_in_parts_is_of_the_kept_measurements() -> None:
    folder = ROOT / "results" / "studies" / "human"  # earlier ones were kept without products
    products = json.loads((folder / "speechft.json").read_text("utf-8"))["products"]
    content = (folder / MEASUREMENTS).read_bytes()
    assert products == {
        MEASUREMENTS: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    }


@pytest.mark.parametrize("folder", KEPT, ids=lambda p: p.name)
def test_the_kept_recipe_is_the_study_of_that_name(folder: Path) -> None:
    kept = StudySettings.model_validate(yaml.safe_load((folder / "study.yaml").read_text("utf-8")))
    now = load_study(ROOT / "studies" / f"{folder.name}.yaml")
    if folder.name in IN_PARTS:
        now = now.model_copy(update={"seeds": tuple(s for s in now.seeds if s in kept.seeds)})
    assert kept == now
    assert json.loads((folder / "speechft.json").read_text("utf-8"))["settings"] == kept.model_dump(
        mode="json", exclude_unset=True
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A place with one kept study, its recipe, and a run of it without a reading."""
    for path in ("results/studies/unsupervised", "studies"):
        shutil.copytree(ROOT / path, tmp_path / path)
    shutil.copytree(ROOT / "results" / "studies" / "unsupervised", tmp_path / "run")
    (tmp_path / "run" / "notes.md").unlink()
    return tmp_path


def test_what_is_kept_again_has_the_reading_and_says_when_it_is_of_other_numbers(
    home: Path,
) -> None:
    place, run = home / "results" / "studies" / "unsupervised", home / "run"
    script("keep_results").keep(run, place)
    text = (place / "report.md").read_text("utf-8")
    assert "## Reading" in text
    assert STALE not in text
    assert "<!--" not in text
    lines = (run / MEASUREMENTS).read_text("utf-8").splitlines()
    first = json.loads(lines[0])
    lines[0] = json.dumps({**first, "value": first["value"] + 1})
    (run / MEASUREMENTS).write_text("\n".join(lines) + "\n", encoding="utf-8")
    script("keep_results").keep(run, place)
    text = (place / "report.md").read_text("utf-8")
    assert text.index(STALE) < text.index("## Reading")
    script("reword_study").reword("unsupervised", home)
    assert STALE not in (place / "report.md").read_text("utf-8")
    assert (place / "notes.md").read_text("utf-8").count("<!-- measurements") == 1


def test_a_study_is_kept_in_parts_of_its_seeds(home: Path) -> None:
    """Seed by seed, the last one first, and one of them once more: the same page as all at once."""
    place, run = home / "results" / "studies" / "unsupervised", home / "run"
    whole = (place / "report.md").read_text("utf-8")
    measured = (place / MEASUREMENTS).read_text("utf-8").splitlines()
    recipe = yaml.safe_load((run / "study.yaml").read_text("utf-8"))
    about = json.loads((run / "about.json").read_text("utf-8"))
    shutil.rmtree(place)
    for seed in (2, 0, 1, 2):
        own = [line for line in measured if json.loads(line)["seed"] == seed]
        (run / MEASUREMENTS).write_text("\n".join(own) + "\n", encoding="utf-8")
        (run / "study.yaml").write_text(yaml.safe_dump({**recipe, "seeds": [seed]}))
        (run / "about.json").write_text(json.dumps({**about, "hours": about["hours"] / 3}))
        script("keep_results").keep(run, place)
    kept = [json.loads(line) for line in (place / MEASUREMENTS).read_text("utf-8").splitlines()]
    assert sorted(map(str, kept)) == sorted(str(json.loads(line)) for line in measured)
    assert [part["seeds"] for part in json.loads((place / "about.json").read_text())["parts"]] == [
        [0],
        [1],
        [2],
    ]

    def tables(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.startswith("| ")]

    assert tables((place / "report.md").read_text("utf-8")) == tables(whole)
    (run / "study.yaml").write_text(yaml.safe_dump({**recipe, "seeds": [2, 3]}))
    with pytest.raises(SystemExit, match="has seed 2 already"):
        script("keep_results").keep(run, place)


@pytest.mark.parametrize("alone", [False, True])
def test_a_seed_is_kept_in_parts_of_its_rows(home: Path, alone: bool) -> None:
    """Some rows of a seed, then the others with one of the first once more: the same page."""
    place, run = home / "results" / "studies" / "unsupervised", home / "run"
    recipe = yaml.safe_load((run / "study.yaml").read_text("utf-8"))
    about = json.loads((run / "about.json").read_text("utf-8"))
    lines = (run / MEASUREMENTS).read_text("utf-8").splitlines()
    whole = [line for line in lines if json.loads(line)["seed"] == 0]
    rows = list(dict.fromkeys(json.loads(line)["row"] for line in whole))
    (run / "study.yaml").write_text(yaml.safe_dump({**recipe, "seeds": [0]}))
    (place / "study.yaml").write_text(yaml.safe_dump({**recipe, "seeds": [1]}))
    others = [line for line in lines if json.loads(line)["seed"] == 1]
    (place / MEASUREMENTS).write_text("\n".join(others) + "\n", encoding="utf-8")
    if alone:  # no other seed is kept
        shutil.rmtree(place)
    for number, (first, last) in enumerate([(0, 2), (1, len(rows))]):
        now = set(rows[first:last])
        own = [line for line in whole if json.loads(line)["row"] in now]
        (run / MEASUREMENTS).write_text("\n".join(own) + "\n", encoding="utf-8")
        missing = [f"{row}, seed 0" for row in rows if row not in now]
        jobs = {f"job {number}": "there"}
        said = {**about, "missing": missing, "hours": 1 + number, "jobs": jobs}
        (run / "about.json").write_text(json.dumps(said), encoding="utf-8")
        script("keep_results").keep(run, place)
    kept = [json.loads(line) for line in (place / MEASUREMENTS).read_text("utf-8").splitlines()]
    own = [str(record) for record in kept if record["seed"] == 0]
    assert sorted(own) == sorted(str(json.loads(line)) for line in whole)
    part = json.loads((place / "about.json").read_text("utf-8"))["parts"][0]
    assert (part["seeds"], part["missing"], part["hours"]) == ([0], [], 3)
    assert set(part["jobs"]) == {"job 0", "job 1"}


def test_rows_are_added_to_a_part_of_several_seeds(home: Path) -> None:
    """All seeds without the last row, then that row of one seed, beside a row once more."""
    place, run = home / "results" / "studies" / "unsupervised", home / "run"
    recipe = yaml.safe_load((run / "study.yaml").read_text("utf-8"))
    about = json.loads((run / "about.json").read_text("utf-8"))
    records = list(map(json.loads, (run / MEASUREMENTS).read_text("utf-8").splitlines()))
    rows = list(dict.fromkeys(record["row"] for record in records))

    def write(folder: Path, seeds: list[int], now: list[str], hours: float) -> None:
        named = " ".join(map(str, seeds))
        missing = [f"{row}, seed {named}" for row in rows if row not in now]
        jobs = {f"{row}, seed {seed}, pr": f"{row}-{seed}" for row in now for seed in seeds}
        said = {**about, "missing": missing, "hours": hours, "jobs": jobs}
        (folder / "about.json").write_text(json.dumps(said), encoding="utf-8")
        (folder / "study.yaml").write_text(yaml.safe_dump({**recipe, "seeds": seeds}))
        own = [json.dumps(r) for r in records if r["row"] in now and r["seed"] in seeds]
        (folder / MEASUREMENTS).write_text("\n".join(own) + "\n", encoding="utf-8")

    write(place, [0, 1, 2], rows[:-1], 3.0)
    write(run, [1], [rows[0], rows[-1]], 0.5)
    script("keep_results").keep(run, place)
    found = json.loads((place / "about.json").read_text("utf-8"))
    assert [(part["seeds"], part["hours"]) for part in found["parts"]] == [
        ([0], 1),
        ([1], 1.5),
        ([2], 1),
    ]
    assert found["missing"] == [f"{rows[-1]}, seed 0", f"{rows[-1]}, seed 2"]
    assert len(found["parts"][1]["jobs"]) == len(rows)
    kept = list(map(json.loads, (place / MEASUREMENTS).read_text("utf-8").splitlines()))
    wanted = [r for r in records if r["row"] != rows[-1] or r["seed"] == 1]
    assert sorted(map(str, kept)) == sorted(map(str, wanted))


def test_words_are_taken_over_and_measured_settings_are_not(home: Path) -> None:
    path = home / "studies" / "unsupervised.yaml"
    text = path.read_text("utf-8").replace("title: Going on", "title: Once more going on")
    path.write_text(text, encoding="utf-8")
    folder = script("reword_study").reword("unsupervised", home)
    assert (folder / "report.md").read_text("utf-8").startswith("# Once more going on")
    path.write_text(text.replace("seeds: [0, 1, 2]", "seeds: [0, 1]"), encoding="utf-8")
    with pytest.raises(SystemExit, match="seeds changed since it was measured"):
        script("reword_study").reword("unsupervised", home)


def test_what_two_studies_measured_of_the_same_encoders_is_found() -> None:
    folder = ROOT / "results" / "studies"
    repeats = script("repeats").repeats
    found = repeats(folder / "ablations", folder / "supervised")
    assert found["encoders"] == 12  # θ0 and three that both have made, three seeds
    assert found["equal"] == found["values"] == 96
    other = repeats(folder / "supervised", folder / "baselines")  # on another kind of processor
    assert other["equal"] < other["values"]
    assert other["rms"] > abs(other["mean"])


def test_the_report_of_the_kept_run_is_of_its_results(tmp_path: Path) -> None:
    """Up to the line of versions, which are those of whoever writes the report."""
    kept = ROOT / "results" / "speech-ft"
    report(ReportSettings(runs=(kept,), out=tmp_path))
    texts = [
        [line for line in path.read_text("utf-8").splitlines() if "Versions:" not in line]
        for path in (kept / "report.md", tmp_path / "report.md")
    ]
    assert texts[0] == texts[1]

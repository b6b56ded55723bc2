"""The README's blocks, run in an empty folder on tiny sizes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from doc_pages import ROOT, blocks, fill, smaller

from speechft.core.files import read_json
from speechft.reporting.study.files import read_study
from speechft.tasks import TASKS

README = ROOT / "README.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder with a stand-in for the packaged encoder, and the table of the README."""
    (table,) = blocks(README, "csv")
    return fill(tmp_path_factory.mktemp("readme"), table)


def execute(command: list[str], folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(blocks(README, "bash"))))
def test_shell_block(folder: Path, number: int) -> None:
    execute(["bash", "-euc", smaller(blocks(README, "bash")[number])], folder)
    made = ["runs/report/report.html", "runs/asr/encoder/config.json"]
    assert (folder / made[number]).is_file()


@pytest.mark.slow
def test_python_block(folder: Path) -> None:
    (block,) = map(smaller, blocks(README, "python"))
    execute([sys.executable, "-c", block], folder)
    assert (folder / "runs/sid-merged/model.safetensors").is_file()


def test_the_figures_under_the_picture_are_those_of_the_kept_study() -> None:
    _, table, _, _ = read_study(ROOT / "results" / "studies" / "human")

    def shown(row: str, column: str) -> str:
        spread = table.spread(row, column)
        assert spread is not None
        return f"{spread.mean:.1f}"

    text = " ".join(README.read_text(encoding="utf-8").split())
    for column, rows in (
        ("pr per", ("asr-speechft", "sid-stable")),
        ("pr-nl per", ("asr-speechft",)),
        ("sid acc", ("asr-speechft",)),
    ):
        for row in rows:
            assert f"({shown('theta0', column)} → {shown(row, column)}" in text
    assert f"({shown('sid-speechft', 'pr per')})" in text


def test_it_is_a_screen_that_leads_to_the_paper_the_command_and_the_pages() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 90
    assert len(re.findall(r"^!\[", text, re.MULTILINE)) == 1
    (first, *_) = blocks(README, "sh")
    assert "arxiv.org/abs/2502.12672" in text
    assert ". .venv/bin/activate" in first.splitlines()[0]
    for page in ("index", "tutorials/first-steps", "how-to/install", "how-to/troubleshooting"):
        assert f"](docs/{page}.md)" in text
    for name, task in TASKS.items():
        assert re.search(rf"`{name}`\s{task.title.replace(' ', chr(92) + 's')}", text), name


def test_the_tutorial_of_a_recogniser_tells_what_the_benchmark_found() -> None:
    found = read_json(ROOT / "results" / "benchmarks" / "recogniser.json")
    before, after = found["test"]["tuned"], found["test"]["merged, alpha 0.9, head kept"]
    text = " ".join((ROOT / "docs/tutorials/hub-model.md").read_text("utf-8").split())
    low, high = (f"{abs(edge):.1f}" for edge in after["cer_difference_interval"])
    for said in (
        f"alpha {found['alpha']:g}, WER went from {before['wer']:.1f} to {after['wer']:.1f}",
        f"CER from {before['cer']:.1f} to {after['cer']:.1f}, which is worse by {low} to {high}",
    ):
        assert said in text

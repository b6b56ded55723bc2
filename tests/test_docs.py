"""The blocks of docs/: each runs here on tiny sizes, is read, or says why it does not run.

`bash` and `python` blocks run, in the order of the page and in one folder; a `yaml` block is read
as what it is by tests/test_consistency.py or has a reason; a `sh` block has a reason, a comment in
the line before it: `<!-- not run: it needs a cluster -->`.
"""

from __future__ import annotations

import glob
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from doc_pages import ROOT, SMALLER, blocks, fill, smaller

from speechft.cli.app import main
from speechft.core.files import read_json

PAGES = sorted((ROOT / "docs").rglob("*.md"))
FENCE = re.compile(r"^ *```(\w+)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
REASON = re.compile(r"<!-- not run: \S.+ -->\s*$")
# Recipes, studies and configurations that tests/test_consistency.py reads as what they are.
READ_ELSEWHERE = {"recipes.md", "studies.md"}


def with_running_blocks() -> list[Path]:
    return [page for page in PAGES if blocks(page, "bash") or runnable(page)]


def runnable(page: Path) -> list[str]:
    """Give the blocks of Python that no comment keeps from running."""
    text = page.read_text(encoding="utf-8")
    return [
        found[2]
        for found in FENCE.finditer(text)
        if found[1] == "python" and not REASON.search(text[: found.start()])
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_block_that_does_not_run_says_why(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        read = found[1] in ("csv", "text") or (found[1] == "yaml" and page.name in READ_ELSEWHERE)
        if found[1] in ("bash", "python") or read:
            continue
        assert REASON.search(text[: found.start()]), f"{page.name}: no reason before\n{found[0]}"


def test_every_shrinking_is_of_use() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in [*PAGES, ROOT / "README.md"])
    for pattern in SMALLER:
        assert re.search(pattern, text), pattern


@pytest.mark.slow
@pytest.mark.parametrize("page", with_running_blocks(), ids=lambda page: page.stem)
def test_blocks_run(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (table,) = blocks(ROOT / "README.md", "csv")
    monkeypatch.chdir(fill(tmp_path, table))
    for block in blocks(page, "bash"):
        for words in commands(smaller(block)):
            with pytest.raises(SystemExit) as ended:
                main(words)
            said = capfd.readouterr().err
            assert not ended.value.code, f"speechft {shlex.join(words)}\n{said}"
    for block in runnable(page):
        command = [sys.executable, "-c", smaller(block)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{block}\n{done.stderr}"


def commands(block: str) -> list[list[str]]:
    """Split a block into commands; all must be speechft's own."""
    found = []
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            assert words[0] == "speechft", f"a bash block runs speechft alone; mark it sh: {line}"
            found.append([w for word in words[1:] for w in sorted(glob.glob(word)) or [word]])
    return found


def test_the_times_of_a_users_own_table_are_those_of_the_record() -> None:
    record = read_json(ROOT / "results" / "benchmarks" / "own_table.json")
    page = (ROOT / "docs" / "tutorials" / "your-data.md").read_text(encoding="utf-8")
    text = " ".join(page.split())
    assert record["all"]["clock"] < record["limit"]
    assert f"{record['minutes']} minutes of human speech" in text
    assert f"{record['all']['clock']:.0f} s for all" in text
    assert f"fine-tuning is {record['seconds']['finetune']['clock']:.0f} s" in text

"""An evaluation was "already done" after what it had written was deleted or changed."""

from __future__ import annotations

import shutil

import pytest
from evaluate_fixture import evaluation, passes

from speechft.probing.evaluate import evaluate


@pytest.mark.parametrize(
    ("pattern", "changed"),
    [
        ("results.jsonl", False),
        ("grid.jsonl", True),
        ("cells/[!.]*/predictions.jsonl", False),
        ("cells/[!.]*/cell.json", True),
        ("cells/[!.]*", False),
    ],
)
def test_what_is_gone_is_made_again(evaluation_home, tmp_path, pattern, changed):
    given = evaluation(evaluation_home, tmp_path / "out")
    out = evaluate(given)
    (victim,) = out.glob(pattern)
    files = {f: f.read_bytes() for f in [victim, *victim.glob("*")] if f.is_file()}
    files = {f: content for f, content in files.items() if f.name not in ("timing.json",)}
    files = {f: content for f, content in files.items() if f.name != "speechft.json"}
    if changed:
        victim.write_bytes(victim.read_bytes().replace(b"sid", b"xxx", 1))
    elif victim.is_dir():
        shutil.rmtree(victim)
    else:
        victim.unlink()
    evaluate(given)
    assert files == {f: f.read_bytes() for f in files}
    assert (passes(out)["encoder"] > 0) == pattern.startswith("cells")


@pytest.mark.parametrize("content", ["[1]", "3", "{", "null", '{"products": 3}'])
def test_a_record_that_is_none_counts_for_nothing(evaluation_home, tmp_path, content):
    """Seen: a crash on JSON that is no object."""
    given = evaluation(evaluation_home, tmp_path / "out")
    record = evaluate(given) / "speechft.json"
    before = record.read_bytes()
    record.write_text(content)
    evaluate(given)
    assert record.read_bytes() == before
    assert passes(tmp_path / "out")["encoder"] == 0

"""docs/finetuning.md: what `preset: paper` changes of the plain defaults, number for number."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from speechft.core.settings import parse_settings
from speechft.pipeline.recipe.settings import MergeSection
from speechft.training.finetune import settings as finetune
from speechft.training.finetune.settings import FinetuneSettings

PAGE = Path(__file__).parents[2] / "docs/finetuning.md"
WORDS = {30: "thirty"}
# Setting that the preset changes → its row in the table.
ROW_OF = {
    "steps": "updates",
    "batch_size": "batch",
    "seconds": "batch",
    "evaluate_every": "dev",
    "precision": "precision",
    "activation_dropout": "activation dropout",
    "balanced": "KS classes",
    "head_size": "head",
    "spec_augment": "SpecAugment on the last hidden state",
}


def of(task: str, **more: Any) -> FinetuneSettings:
    values = {"encoder": "tiny-hubert", "task": task, "data": "x", "out": "y", **more}
    return parse_settings(FinetuneSettings, values, "test")


def paper(task: str) -> Any:
    return of(task, preset="paper")


def table() -> dict[str, tuple[str, str]]:
    section = PAGE.read_text("utf-8").partition("## As in the paper")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", section, re.MULTILINE)
    return {name: (plain, preset) for name, plain, preset, _ in rows if name != "---"}


def test_every_setting_that_the_preset_changes_has_a_row() -> None:
    changed = set()
    for task in ("asr", "er", "sid", "ks", "pr", "sf", "ic"):
        plain, preset = of(task).model_dump(), paper(task).model_dump()
        changed |= {name for name, value in preset.items() if value != plain[name]}
    assert changed - {"preset"} == set(ROW_OF)
    assert set(ROW_OF.values()) <= set(table())


def test_updates() -> None:
    plain, preset = table()["updates"]
    fewest, most, tiny = (f"{getattr(finetune, n):,}" for n in ("_FEWEST", "_MOST", "_MOST_TINY"))
    passes, wide = WORDS[finetune._PASSES], finetune._WIDE
    assert plain == (
        f"{passes} passes over the speech, from {fewest} to {most} ({tiny} for hidden states of "
        f"less than {wide} dimensions)"
    )
    steps = {task: f"{paper(task).steps:,}" for task in ("asr", "er", "sid", "ic", "ks", "pr")}
    assert steps["sid"] == steps["ic"] == steps["ks"]
    assert preset == (
        f"ASR {steps['asr']}, ER {steps['er']}; other tasks as SUPERB trains their heads "
        f"(SID, IC, KS {steps['sid']}, PR {steps['pr']})"
    )


def test_batches() -> None:
    plain, preset = table()["batch"]
    assert plain == f"{of('asr').seconds:g} s of speech"
    (others,) = {paper(task).batch_size for task in ("er", "sid", "pr", "ks")}
    assert f"ASR {paper('asr').batch_size} utterances" in preset
    assert f"(ER, SID, PR, KS {others})" in preset
    assert paper("asr").seconds is None


def test_dev() -> None:
    plain, preset = table()["dev"]
    assert plain == (
        "after every tenth of the updates, less often where dev is long, at least every "
        f"{finetune._RARELY} updates"
    )
    found = [
        of("asr", steps=n).resolved(768, [(9, 60.0)], dev=d)
        for n, d in ((1000, 0.0), (9000, 0.0), (1000, 1600.0), (1000, 9e9))
    ]
    assert [one.evaluate_every for one in found] == [100, 500, 250, 500]
    times = {round(paper(t).steps / paper(t).evaluate_every) for t in ("sid", "pr", "ks", "ic")}
    assert preset == (
        f"ASR every {paper('asr').evaluate_every}, ER every {paper('er').evaluate_every}, "
        f"others {times.pop()} times"
    )
    assert not times


@pytest.mark.parametrize(
    ("row", "name", "task", "plain", "preset"),
    [
        ("precision", "precision", "asr", ("bfloat16 on a GPU", "auto"), ("float32", "no")),
        ("activation dropout", "activation_dropout", "asr", ("configuration", None), ("0.0", 0.0)),
        ("KS classes", "balanced", "ks", ("in the data", False), ("equally", True)),
        ("head", "head_size", "asr", ("`mini` for hidden", None), ("`superb`", "superb")),
        (
            "SpecAugment on the last hidden state",
            "spec_augment",
            "sf",
            ("SF", None),
            ("same", True),
        ),
    ],
)
def test_the_rest(row: str, name: str, task: str, plain: Any, preset: Any) -> None:
    said = table()[row]
    for text, (word, value), settings in zip(
        said, (plain, preset), (of(task), paper(task)), strict=True
    ):
        assert word in text
        assert getattr(settings, name) == value
    assert of(task).learning_rate == paper(task).learning_rate == 1e-4
    assert MergeSection().take == "best"

"""A run notices that its data changed: audio behind a table, and corpora."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from evaluate_fixture import CONFIG

from speechft.cli.app import main
from speechft.core.errors import SettingsError
from speechft.core.files import read_json, write_json
from speechft.core.settings import parse_settings
from speechft.encoders import build_encoder
from speechft.pipeline.recipe import state
from speechft.pipeline.recipe.stage import RunSettings, plan_run, run


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder") / "tiny"
    build_encoder(CONFIG, seed=0).save(folder)
    return folder


def noise(path: Path, seed: int) -> None:
    wave = np.random.default_rng(seed).normal(0, 0.1, 8000)
    soundfile.write(path, wave, 16000, subtype="PCM_16")


def table(folder: Path) -> Path:
    """Two speakers in every split, one file each."""
    folder.mkdir()
    rows = ["audio,speaker,split"]
    for number, (split, speaker) in enumerate(
        (p, s) for p in ("train", "dev", "test") for s in "ab"
    ):
        noise(folder / f"{number}.wav", number)
        rows.append(f"{number}.wav,{speaker},{split}")
    (folder / "table.csv").write_text("\n".join(rows) + "\n")
    return folder / "table.csv"


def settings(encoder: Path, data: str, tests: str) -> RunSettings:
    values = {
        "name": "small",
        "encoder": str(encoder),
        "data": data,
        "finetune": {"task": "sid", "steps": 2, "seconds": 4, "head_size": "mini"},
        "evaluate": {"tasks": ["sid"], "data": tests, "steps": 2, "workers": 1},
    }
    return parse_settings(RunSettings, values, "test")


def change_one_sample(path: Path) -> None:
    wave, rate = soundfile.read(path, dtype="int16")
    wave[1234] ^= 1
    soundfile.write(path, wave, rate, subtype="PCM_16")


def states(chosen: RunSettings, out: Path) -> list[str]:
    plan = plan_run(chosen, out)
    return [state.status(plan, step) for step in plan.steps]


def test_one_changed_sample_of_audio_is_noticed(encoder: Path, tmp_path: Path) -> None:
    tuning, testing = table(tmp_path / "a"), table(tmp_path / "b")
    chosen = settings(encoder, str(tuning), str(testing))
    out = run(chosen, tmp_path / "out")
    assert states(chosen, out) == ["done"] * 4
    # Only what the evaluation reads: it is done again, unasked.
    change_one_sample(tmp_path / "b" / "4.wav")
    assert states(chosen, out) == ["done", "done", "redo", "redo"]
    before = read_json(out / "seed-0" / "evaluate" / "speechft.json")["data"]
    run(chosen, out)
    after = read_json(out / "seed-0" / "evaluate" / "speechft.json")["data"]
    assert [name for name in before if before[name] != after[name]] == ["test"]
    # What was fine-tuned on: everything hangs on it, and it is not thrown away unasked.
    change_one_sample(tmp_path / "a" / "0.wav")
    assert states(chosen, out) == ["redo"] * 4
    with pytest.raises(
        SettingsError, match=rf"other data[\s\S]*{re.escape(str(tuning))}"
    ) as caught:
        run(chosen, out)
    assert "--redo" in str(caught.value)
    run(chosen, out, redo=True)
    assert states(chosen, out) == ["done"] * 4


def test_a_changed_corpus_is_noticed(encoder: Path, corpus_tree, tmp_path: Path) -> None:
    root = corpus_tree("crema_d")
    chosen = settings(encoder, f"crema_d:{root}", "synthetic:tiny")
    plan = plan_run(chosen, tmp_path / "out")
    step = plan.steps[0]
    step.product.mkdir(parents=True)
    state.end(plan, step)
    assert states(chosen, tmp_path / "out")[0] == "done"
    assert list(read_json(state._file(plan, step))["content"]) == [f"crema_d:{root}"]
    change_one_sample(sorted(root.rglob("*.wav"))[0])
    assert states(chosen, tmp_path / "out")[0] == "redo"
    # What an earlier version did not note, or nobody can read any more, has not changed.
    root.rename(tmp_path / "moved")
    assert states(chosen, tmp_path / "out")[0] == "done"
    (tmp_path / "moved").rename(root)
    record = read_json(state._file(plan, step))
    write_json(state._file(plan, step), {k: v for k, v in record.items() if k != "content"})
    assert states(chosen, tmp_path / "out")[0] == "done"


def test_a_dry_run_says_what_the_run_refuses(
    encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = table(tmp_path / "a")
    file = tmp_path / "recipe.yaml"
    file.write_text(
        f"{{name: s, encoder: {encoder}, data: {data}, evaluate: {{tasks: [sid], workers: 1}},"
        " finetune: {task: sid, steps: 2}}\n"
    )
    chosen = parse_settings(
        RunSettings,
        {
            "name": "s",
            "encoder": str(encoder),
            "data": str(data),
            "evaluate": {"tasks": ["sid"], "workers": 1},
            "finetune": {"task": "sid", "steps": 2},
        },
        "test",
    )
    plan = plan_run(chosen, tmp_path / "out")
    plan.steps[0].product.mkdir(parents=True)
    state.end(plan, plan.steps[0])
    given = [
        "run",
        str(file),
        "--out",
        str(tmp_path / "out"),
        "--dry-run",
        "--set",
        "finetune.steps=3",
    ]

    def shown(*more: str) -> str:
        with pytest.raises(SystemExit) as caught:
            main([*given, *more])
        assert not caught.value.code
        return " ".join(capsys.readouterr().out.split())

    assert "finetune-sid refused" in shown()
    assert "steps: 2 → 3: nothing is done without --redo" in shown()
    assert "finetune-sid redo" in shown("--redo")
    assert "nothing is done" not in shown("--redo")

"""A run notices that its data changed: audio behind a table, and corpora."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import recipe_fixture
import soundfile
from evaluate_fixture import CONFIG, write_tones

from speechft.cli.app import main
from speechft.core.errors import SettingsError
from speechft.core.settings import parse_settings
from speechft.encoders import build_encoder, load_encoder
from speechft.hidden.sizes import Shape, frame_bytes, mean_bytes
from speechft.pipeline.recipe.cost_estimate import size_of
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
    return [plan.graph.state(step) for step in plan.steps]


def test_one_changed_sample_of_audio_is_noticed(encoder: Path, tmp_path: Path) -> None:
    tuning, testing = table(tmp_path / "a"), table(tmp_path / "b")
    chosen = settings(encoder, str(tuning), str(testing))
    out = run(chosen, tmp_path / "out")
    assert states(chosen, out) == ["done"] * 4
    # Only what the evaluation reads: it is done again, unasked.
    change_one_sample(tmp_path / "b" / "4.wav")
    assert states(chosen, out) == ["done", "done", "redo", "redo"]
    run(chosen, out)
    assert states(chosen, out) == ["done"] * 4
    # What was fine-tuned on: everything hangs on it, and it is not thrown away unasked.
    change_one_sample(tmp_path / "a" / "0.wav")
    assert states(chosen, out) == ["redo"] * 4
    with pytest.raises(SettingsError, match=r"other settings or data[\s\S]*data: [\s\S]*--redo"):
        run(chosen, out)
    run(chosen, out, redo=True)
    assert states(chosen, out) == ["done"] * 4


def test_a_changed_corpus_is_noticed(encoder: Path, corpus_tree, tmp_path: Path) -> None:
    root = corpus_tree("crema_d")
    chosen = settings(encoder, f"crema_d:{root}", "synthetic:tiny")
    before = plan_run(chosen, tmp_path / "out").steps[0].key
    assert plan_run(chosen, tmp_path / "out").steps[0].key == before
    change_one_sample(sorted(root.rglob("*.wav"))[0])
    assert plan_run(chosen, tmp_path / "out").steps[0].key != before


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
    step = plan_run(chosen, tmp_path / "out").steps[0]
    step.artifact.begin()
    (step.folder / "encoder").mkdir()
    (step.folder / "encoder" / "config.json").write_text("{}")
    step.artifact.end(["encoder"])
    given = [
        "run",
        str(file),
        "--out",
        str(tmp_path / "out"),
        "--dry-run",
        "--set",
        "finetune.steps=3",
    ]

    def shown(*more: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as caught:
            main([*given, *more])
        assert (caught.value.code or 0) == code
        return " ".join(capsys.readouterr().out.split())

    assert "finetune-sid refused" in shown(code=2)
    assert "steps: 2 → 3: nothing is done without --redo" in shown(code=2)
    assert "finetune-sid redo" in shown("--redo")
    assert "nothing is done" not in shown("--redo")


def test_a_dry_run_says_what_hidden_states_take(
    encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the function that the store refuses by, on what is here: frames of PR, means of SID."""
    data = write_tones(tmp_path / "tones", length=(1.0, 1.0))
    evaluate = {"tasks": ["pr", "sid"], "workers": 1, "store": str(tmp_path / "s")}
    chosen = recipe_fixture.settings(encoder, data=str(data), evaluate=evaluate)
    step = plan_run(chosen, tmp_path / "out").steps[2]
    size = size_of(step, None)
    shape = load_encoder(encoder)
    own = frame_bytes(shape, 22.0, "float32") + mean_bytes(shape, 22)
    assert size.bytes == round(own)
    assert f"hidden states of an encoder: {own / 1e9:.1f} GB" in size.text
    base = Shape(12, 768, 16_000, 320)
    assert frame_bytes(base, 3600, "float16") == pytest.approx(3.59e9, rel=0.01)
    assert frame_bytes(base, 218 * 3600, "float16") / 1e9 == pytest.approx(783, rel=0.01)


def test_tables_of_one_name_in_two_folders_are_two_inputs(tmp_path: Path) -> None:
    tables = [tmp_path / name / "table.csv" for name in ("a", "b")]
    for table in tables:
        table.parent.mkdir()
        recipe_fixture.write_table(table, "a")
    data = {"sid": str(tables[0]), "er": str(tables[1])}
    chosen = recipe_fixture.settings("x", evaluate={"tasks": ["sid", "er"], "data": data})
    keys = []
    for table in (None, *tables):
        if table:
            recipe_fixture.write_table(table, "b")
        (step,) = [s for s in plan_run(chosen, tmp_path / "out").steps if s.verb == "evaluate"]
        keys.append(step.key)
    assert len(set(keys)) == 3

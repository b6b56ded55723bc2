"""`speechft merge` as a person meets it: options, messages, exit codes, progress."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from speechft.merging.methods import METHODS


def folder(path: Path, seed: int) -> Path:
    path.mkdir(parents=True)
    values = np.random.default_rng(seed).standard_normal((5, 4), dtype=np.float32)
    save_file({"encoder.layers.0.x.weight": values}, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps({"architectures": ["HubertModel"]}))
    return path


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return folder(tmp_path / "base", 1), folder(tmp_path / "tuned", 2)


def load(path: Path) -> dict[str, np.ndarray]:
    return load_file(path / "model.safetensors")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere", "TUNED"], 4, "there is no such encoder"),
        (["BASE", "TUNED", "--method", "tise"], 2, "did you mean 'ties'"),
        (
            ["BASE", "TUNED", "--set", "parameters.densty=1", "--method", "ties"],
            2,
            "did you mean 'density'",
        ),
        (["BASE", "TUNED", "--alpha", "x"], 2, "cannot read alpha"),
        (["BASE", "TUNED", "--weight-norm", "x"], 2, "'stored' or 'fused'"),
        (["BASE", "TUNED", "--dtype", "int8"], 2, "unknown type"),
        (["BASE", "TUNED", "--config", "nowhere.yaml"], 2, "no such file"),
        (["BASE"], 2, "tuned: missing"),
    ],
)
def test_mistakes_give_one_message_and_a_code(
    pair: tuple[Path, Path], arguments: list[str], code: int, message: str, capsys
):
    from speechft.cli.app import main

    names = {"BASE": str(pair[0]), "TUNED": str(pair[1])}
    line = ["merge", *(names.get(a, a) for a in arguments), "--out", str(pair[0].parent / "out")]
    with pytest.raises(SystemExit) as stop:
        main(line)
    assert stop.value.code == code
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""


def test_the_command_lists_methods_and_takes_recipes(pair: tuple[Path, Path], capsys):
    from speechft.cli.app import main

    with pytest.raises(SystemExit):
        main(["merge", "--methods"])
    listed = capsys.readouterr().out
    for name, method in METHODS.items():
        assert f"{name}: {method.help}" in listed
    recipe = pair[0].parent / "recipe.yaml"
    shares = zip(pair, (3, 1), strict=True)
    weights = [{"model": str(p), "parameters": {"weight": w}} for p, w in shares]
    recipe.write_text(yaml.safe_dump({"merge_method": "linear", "models": weights}))
    with pytest.raises(SystemExit) as stop:
        main(["merge", "--config", str(recipe), "--out", str(pair[0].parent / "out")])
    assert stop.value.code == 0
    base, tuned, out = (load(p) for p in (*pair, pair[0].parent / "out"))
    for name, value in out.items():
        np.testing.assert_array_equal(
            value, base[name] + np.float32(0.25) * (tuned[name] - base[name])
        )


def test_a_bar_counts_megabytes_on_a_terminal(monkeypatch: pytest.MonkeyPatch):
    from speechft.core import progress
    from speechft.merging.stage import count_bytes

    bars = []
    make = progress.progress_bar
    monkeypatch.setattr(progress, "progress_bar", lambda: bars.append(make()) or bars[0])
    with count_bytes("merging", 4_000_000) as count:
        count(1_000_000)
    assert not bars
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with count_bytes("merging", 4_000_000) as count:
        count(1_000_000)
        (task,) = bars[0].tasks
        assert (task.completed, task.total) == (1, 4)
        count(3_000_000)
        assert task.finished

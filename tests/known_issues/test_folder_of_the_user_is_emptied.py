"""Replacing a result deleted whatever else lay in its folder: notes, `.env.old`, `sub/x.tmp`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from report_fixture import write_run
from safetensors.numpy import save_file

from speechft.core.artifact import Artifact
from speechft.core.errors import SettingsError
from speechft.core.locks import work_alone
from speechft.data.prepare import prepare_data
from speechft.encoders import build_encoder
from speechft.encoders.convert import convert
from speechft.encoders.settings import ConvertSettings
from speechft.merging.settings import MergeSettings
from speechft.merging.stage import merge
from speechft.pipeline.job_kinds import STAGES
from speechft.pipeline.merge import merge as merge_with_data
from speechft.reporting.leaderboard.stage import leaderboard
from speechft.reporting.settings import LeaderboardSettings, ReportSettings
from speechft.reporting.stage import report

THEIRS = ("notes.txt", ".env.old", "sub/x.tmp", ".kept.tmp")


def folder(path: Path, seed: int) -> Path:
    path.mkdir()
    value = np.random.default_rng(seed).standard_normal((4, 6), dtype=np.float32)
    save_file({"encoder.layers.0.x.weight": value}, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps({"architectures": ["HubertModel"]}))
    (path / "preprocessor_config.json").write_text("{}")
    return path


def leave_notes(out: Path) -> None:
    for name in THEIRS:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("mine")


def notes(out: Path) -> dict[str, str]:
    return {name: (out / name).read_text() for name in THEIRS if (out / name).exists()}


def test_merge(tmp_path: Path) -> None:
    pair = folder(tmp_path / "base", 1), folder(tmp_path / "tuned", 2)
    values = {"base": pair[0], "tuned": pair[1:], "out": tmp_path / "out"}
    for alphas in (("0:1:0.5", 0.5), (0.25, "0:1:0.25")):  # either kind in the place of the other
        for alpha in alphas:
            out = merge(MergeSettings(alpha=alpha, **values))
            leave_notes(out)
    assert notes(out) == dict.fromkeys(THEIRS, "mine")
    names = {path.name for path in out.iterdir() if path.is_file() and path.name not in THEIRS}
    assert names == {"sweep.json", "README.md", "speechft.json", ".lock"}


def test_merge_into_a_folder_at_work_is_refused(tmp_path: Path) -> None:
    pair = folder(tmp_path / "base", 1), folder(tmp_path / "tuned", 2)
    with work_alone(tmp_path / "out"), pytest.raises(SettingsError, match="another speechft"):
        merge(MergeSettings(base=pair[0], tuned=pair[1:], out=tmp_path / "out"))


def test_data_prepare_force(tmp_path: Path) -> None:
    out, table = tmp_path / "out", tmp_path / "table.csv"
    rows = ["audio,split,text"]
    for split in ("train", "dev", "test"):
        audio = np.random.default_rng(len(split)).normal(0, 0.1, 16000)
        soundfile.write(tmp_path / f"{split}.wav", audio, 16000)
        rows.append(f"{tmp_path / split}.wav,{split},one word")
    table.write_text("\n".join(rows))
    prepare_data(str(table), out)
    before = {path.name for path in out.iterdir()}
    leave_notes(out)
    prepare_data(str(table), out, force=True)
    assert notes(out) == dict.fromkeys(THEIRS, "mine")
    assert {path.name for path in out.iterdir()} == {*before, *THEIRS[:2], "sub", THEIRS[3]}


def test_convert_overwrite(tmp_path: Path) -> None:
    settings = ConvertSettings(source="tiny-hubert", target=tmp_path / "out", to="hf")
    out = convert(settings)
    before = sorted(path.name for path in out.iterdir())
    (out / "README.md").write_text("mine")
    convert(settings.model_copy(update={"overwrite": True}))
    assert (out / "README.md").read_text() == "mine"
    leave_notes(out)
    with pytest.raises(SettingsError, match=r"notes\.txt"):
        convert(settings.model_copy(update={"overwrite": True}))
    assert notes(out) == dict.fromkeys(THEIRS, "mine")
    assert set(before) <= {path.name for path in out.iterdir()}


def test_run_redo(tmp_path: Path) -> None:
    """All of a fine-tuning's folder went, whatever the user had put there."""
    out = tmp_path / "run"
    names = ["speechft.json", "begun.json", "checkpoints/update-5.pt", "metrics.jsonl"]
    names += ["encoder-best/config.json", "encoder-best/heard.gz", "head-sid.safetensors"]
    names += ["tensorboard/events.out.tfevents.1.vm.2.0", "iteration-1/units.npz.sha256"]
    for name in names:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("{}")
    (out / "speechft.json").write_text(json.dumps({"products": {"encoder/README.md": {}}}))
    (out / "encoder").mkdir()
    (out / "encoder" / "README.md").write_text("ours")
    leave_notes(out)
    (out / "checkpoints" / "notes.txt").write_text("mine")
    STAGES["finetune"].clear(Artifact(out, "finetune", {}))
    left = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert left == {*THEIRS, "checkpoints/notes.txt"}


def test_merge_with_alpha_from_data(tmp_path: Path, tiny_config: dict[str, Any]) -> None:
    """`OUT.alpha` was removed as a whole."""
    for name, seed in (("base", 0), ("tuned", 1)):
        build_encoder(tiny_config, seed=seed).save(tmp_path / name)
    leave_notes(mkdir(tmp_path / "out.alpha"))
    settings = {"by": "similarity", "data": "synthetic:tiny", "alpha": "auto"}
    pair = {"base": str(tmp_path / "base"), "tuned": (str(tmp_path / "tuned"),)}
    out = merge_with_data(MergeSettings(**pair, **settings, out=tmp_path / "out"))
    assert (out / "model.safetensors").is_file()
    assert notes(tmp_path / "out.alpha") == dict.fromkeys(THEIRS, "mine")
    assert {path.name for path in (tmp_path / "out.alpha").iterdir()} <= {
        *("notes.txt", ".env.old", "sub", ".kept.tmp", ".lock")
    }


def test_links_in_a_folder_are_no_way_out_of_it(tmp_path: Path) -> None:
    (mkdir(tmp_path / "theirs") / "notes.txt").write_text("mine")
    (mkdir(tmp_path / "out") / "link").symlink_to(tmp_path / "theirs")
    (tmp_path / "out" / "speechft.json").write_text('{"products": {"link/notes.txt": {}}}')
    Artifact(tmp_path / "out", "merge", {}).clear()
    assert (tmp_path / "theirs" / "notes.txt").read_text() == "mine"


def mkdir(path: Path) -> Path:
    path.mkdir()
    return path


def test_report_and_leaderboard(tmp_path: Path) -> None:
    """A page, a table and a text of the user's were written over."""
    run = write_run(tmp_path / "run", seeds=(0,))
    for name in ("report.html", "table.csv"):
        out = mkdir(tmp_path / name.partition(".")[0])
        (out / name).write_text("mine")
        with pytest.raises(SettingsError, match=name):
            report(ReportSettings(runs=(run,), out=out))
        assert [(path.name, path.read_text()) for path in out.iterdir()] == [(name, "mine")]
    for _ in range(2):
        report(ReportSettings(runs=(run,), out=tmp_path / "mine"))
    (tmp_path / "board.md").write_text("mine")
    with pytest.raises(SettingsError, match=r"board\.md"):
        leaderboard(LeaderboardSettings(runs=(run,), out=tmp_path / "board.md"))
    assert (tmp_path / "board.md").read_text() == "mine"
    for _ in range(2):
        leaderboard(LeaderboardSettings(runs=(run,), out=tmp_path / "ours.md"))

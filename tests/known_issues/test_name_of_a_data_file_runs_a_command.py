"""A file called `pipe:touch x;.jsonl`, given as DATA or found in a folder, ran its name.

So did a cut whose recording has a command for its source, once its audio was asked for by lhotse,
and a source that is a URL was downloaded. Nothing that is read may start a process or open the
network; `allow_commands`, in Python or on the command line alone, permits commands and no URL.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource

from speechft.cli.app import main
from speechft.core.errors import DataError, SettingsError
from speechft.data.audio import load_waveform
from speechft.data.load import load_data
from speechft.data.prepare import prepare_data


@pytest.fixture(autouse=True)
def no_process_and_no_network(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise AssertionError(f"something was started: {args}")

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("SPEECHFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def make_cut(kind: str, source: str, **custom: object) -> MonoCut:
    supervision = SupervisionSegment("a", "a", 0.0, 1.0, text="yes")
    recording = Recording("a", [AudioSource(kind, [0], source)], 16000, 16000, 1.0)
    return MonoCut("a", 0.0, 1.0, 0, supervisions=[supervision], recording=recording)


def write(path: Path, cut: MonoCut) -> Path:
    path.write_text(json.dumps(cut.to_dict()) + "\n")
    return path


@pytest.mark.parametrize("end", [".jsonl", ".jsonl.gz"])
def test_a_file_whose_name_is_a_command(tmp_path, tone, end):
    cut = make_cut("file", str(tone("a.wav")))
    write(tmp_path / "plain.jsonl", cut)
    (tmp_path / "folder").mkdir()
    for place in (tmp_path, tmp_path / "folder"):
        name = f"pipe:touch harmed;{end}"
        if end == ".jsonl":
            shutil.copy(tmp_path / "plain.jsonl", place / name)
        else:
            CutSet.from_cuts([cut]).to_file(place / "plain.jsonl.gz")
            (place / "plain.jsonl.gz").rename(place / name)
    (read,) = load_data(f"pipe:touch harmed;{end}")["train"]
    assert len(load_waveform(read)) == 16000
    with pytest.raises(SettingsError, match="unknown corpus"):
        load_data("pipe:touch harmed")
    assert len(load_data("folder")) == 1
    assert not list(tmp_path.rglob("harmed"))


@pytest.mark.parametrize(
    ("kind", "source", "said"),
    [
        ("command", "touch harmed; cat a.wav", "comes from a command"),
        ("url", "http://127.0.0.1:9/a.wav", "of type 'url'"),
        ("url", "pipe:touch harmed", "of type 'url'"),
        ("shar", "", "of type 'shar'"),
    ],
)
def test_audio_from_elsewhere_is_refused_by_name(tmp_path, kind, source, said):
    path = write(tmp_path / "cuts.jsonl", make_cut(kind, source))
    for spec in (str(path), str(tmp_path)):
        with pytest.raises(DataError, match=rf"line 1, cut a: [\s\S]*{said}"):
            load_data(spec)
    with pytest.raises(DataError, match="cannot be used"):
        load_waveform(make_cut(kind, source))
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("source", ["pipe:touch harmed", "http://127.0.0.1:9/a.wav", "-"])
def test_a_file_that_names_something_else_is_no_file(tmp_path, source):
    write(tmp_path / "cuts.jsonl", make_cut("file", source))
    (cut,) = load_data(str(tmp_path / "cuts.jsonl"))["train"]
    with pytest.raises(DataError, match="no such audio file"):
        load_waveform(cut)


def test_audio_that_a_transform_would_read(tmp_path, tone):
    """A reverberation has a recording of its own, with a source of its own."""
    cut = make_cut("file", str(tone("a.wav")))
    rir = make_cut("command", "touch harmed").recording.to_dict()
    transform = {"name": "ReverbWithImpulseResponse", "kwargs": {"rir": rir}}
    changed = replace(cut.recording, transforms=[transform])
    with pytest.raises(DataError, match="changed by ReverbWithImpulseResponse"):
        load_waveform(replace(cut, recording=changed))
    write(tmp_path / "cuts.jsonl", cut)
    record = json.loads((tmp_path / "cuts.jsonl").read_text())
    record["recording"]["transforms"] = [transform]
    (tmp_path / "cuts.jsonl").write_text(json.dumps(record))
    with pytest.raises(DataError, match="ReverbWithImpulseResponse"):
        load_data(str(tmp_path / "cuts.jsonl"))


def test_a_caller_may_allow_commands_and_never_urls(tmp_path, tone, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("SPEECHFT_CACHE", str(tmp_path / "cache"))
    path = write(tmp_path / "cuts.jsonl", make_cut("command", f"cat '{tone('a.wav')}'"))
    (cut,) = load_data(str(path), allow_commands=True)["train"]
    assert len(load_waveform(cut)) == 16000
    prepare_data(str(path), tmp_path / "out", allow_commands=True)
    shutil.rmtree(tmp_path / "cache")
    moved = shutil.move(tmp_path / "out", tmp_path / "moved")
    (kept,) = load_data(str(moved))["train"]
    assert load_waveform(kept).equal(load_waveform(make_cut("file", str(tmp_path / "a.wav"))))
    write(path, make_cut("url", "file:///etc/passwd"))
    with pytest.raises(DataError, match="of type 'url'"):
        load_data(str(path), allow_commands=True)
    write(path, make_cut("command", "echo no >&2; exit 3"))
    with pytest.raises(DataError, match="exit code 3: no"):
        load_data(str(path), allow_commands=True)


def test_no_file_that_is_read_may_allow_them(tmp_path, capsys):
    path = write(tmp_path / "cuts.jsonl", make_cut("command", "touch harmed"))
    record = {**json.loads(path.read_text()), "custom": {"allow_commands": True}}
    path.write_text(json.dumps(record))
    with pytest.raises(DataError, match="comes from a command"):
        load_data(str(path))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "name: x\nencoder: tiny-hubert\ndata: cuts.jsonl\nfinetune: {task: ks, method: stable, "
        "steps: 1, allow_commands: true}\n"
    )
    with pytest.raises(SystemExit, match="2"):
        main(["run", str(recipe), "--out", str(tmp_path / "out")])
    assert "allow_commands" in capsys.readouterr().err

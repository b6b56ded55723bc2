"""`embed` as users meet it: many files, long ones, broken ones, a full disk, Ctrl-C."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from speechft.core.errors import CheckpointError, DataError, SettingsError
from speechft.core.settings import parse_settings
from speechft.encoders import load_encoder
from speechft.prediction import embed as stage
from speechft.prediction import embedding_files
from speechft.prediction.audio_files import find_audio
from speechft.prediction.embed import embed
from speechft.prediction.settings import EmbedSettings

HUBERT = str(Path(__file__).parent.parent / "fixtures" / "parity" / "hubert-tiny.pt")
RATE = 16000


def make(**values):
    return parse_settings(EmbedSettings, {"encoder": HUBERT, **values}, where="test")


def noise(seconds, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * RATE)).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "audio").mkdir()
    for number in range(6):
        path = tmp_path / "audio" / f"{number}.wav"
        soundfile.write(path, noise(0.3 + 0.1 * number, number), RATE)
    return tmp_path / "audio"


FORMATS = {
    "a.mp3": {},
    "b.opus": {"format": "OGG", "subtype": "OPUS"},
    "c.ogg": {"format": "OGG", "subtype": "VORBIS"},
    "d.SPH": {"format": "NIST", "subtype": "ULAW"},
    "e.flac": {"subtype": "PCM_24"},
    "f.wav": {"subtype": "FLOAT"},
    "g.WAV": {"format": "NIST", "subtype": "PCM_16"},
}


def test_all_kinds_of_audio_in_a_tree_of_folders(tmp_path):
    for number, (name, given) in enumerate(FORMATS.items()):
        path = tmp_path / "audio" / f"speaker{number % 2}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        stereo = np.stack([noise(0.5, number), noise(0.5, number + 9)], axis=1)
        rate = 8000 if number % 2 else 48000
        soundfile.write(path, stereo, rate, **given)
    (tmp_path / "audio" / "._a.mp3").write_bytes(b"what macOS leaves")
    (tmp_path / "audio" / "folder.wav").mkdir()
    (tmp_path / "audio" / "notes.txt").write_text("no audio")
    out = embed(make(audio=(str(tmp_path / "audio"),), out=tmp_path / "x.npz", layers=(2,)))
    found = np.load(out)
    assert sorted(Path(name).name for name in found.files) == sorted(FORMATS)
    assert all(np.isfinite(found[name]).all() for name in found.files)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".npy"])
def test_states_are_written_batch_by_batch(tmp_path, folder, monkeypatch, suffix):
    events = []
    encode = stage._encode

    def noted(settings, encoder, paths, layers):
        events.append("encode")
        yield from encode(settings, encoder, paths, layers)

    class Noted:
        def __init__(self, inner):
            self.inner = inner

        def add(self, name, states):
            events.append("write")
            self.inner.add(name, states)

    opened = embedding_files.open_states

    @stage_context
    def open_noted(*args, **options):
        with opened(*args, **options) as target:
            yield Noted(target)

    monkeypatch.setattr(stage, "_encode", noted)
    monkeypatch.setattr(embedding_files, "open_states", open_noted)
    embed(make(audio=(str(folder),), out=tmp_path / f"x{suffix}", batch_seconds=1.0, pooled=True))
    assert events.count("write") == 6
    runs = "".join("e" if event == "encode" else "w" for event in events)
    assert runs.count("e") >= 3
    assert "ee" not in runs, "a batch is written before the next is encoded"


def stage_context(function):
    from contextlib import contextmanager

    return contextmanager(function)


def test_all_outputs_hold_the_same(tmp_path, folder):
    encoder = load_encoder(HUBERT)
    outs = {
        suffix: embed(
            make(audio=(str(folder),), out=tmp_path / f"x{suffix}", pooled=True, batch_seconds=1.2)
        )
        for suffix in embedding_files.SUFFIXES
    }
    table, archive = load_file(outs[".safetensors"]), np.load(outs[".npz"])
    rows = np.load(outs[".npy"])
    names = [str(p) for p in sorted(folder.iterdir())]
    assert rows.shape == (6, 4, 48)
    assert sorted(table) == sorted(archive.files) == names
    for row, name in zip(rows, names, strict=True):
        np.testing.assert_array_equal(row, archive[name])
        np.testing.assert_array_equal(row, table[name].numpy())
    with safe_open(outs[".safetensors"], framework="pt") as file:
        about = json.loads(file.metadata()["about"])
    assert about["fingerprint"] == encoder.fingerprint()
    assert about["layers"] == [0, 1, 2, 3]
    assert about["hop"] == 320


def test_one_array_of_one_file(tmp_path, folder):
    name = str(folder / "2.wav")
    frames = np.load(embed(make(audio=(name,), out=tmp_path / "x.npy")))
    pooled = np.load(embed(make(audio=(name,), out=tmp_path / "y.npy", pooled=True)))
    assert frames.shape == (4, 24, 48)
    assert pooled.shape == (1, 4, 48)
    np.testing.assert_allclose(pooled[0], frames.mean(1), atol=1e-5)


def test_names_of_every_kind(tmp_path):
    names = ["file.wav", "ünï cödé 音.wav", 'quo"te\\d.wav', "new\nline.wav", "a\u202fb.wav"]
    for name in names:
        soundfile.write(tmp_path / "x.wav", noise(0.1), RATE)
        (tmp_path / "x.wav").rename(tmp_path / name)
    audio = tuple(str(tmp_path / name) for name in names)
    found = load_file(embed(make(audio=audio, out=tmp_path / "x.safetensors", layers=(0,))))
    assert set(found) == set(audio)
    assert set(np.load(embed(make(audio=audio, out=tmp_path / "x.npz", layers=(0,))))) == set(audio)
    bad = os.fsencode(tmp_path) + b"/\xff.wav"
    os.rename(os.fsencode(tmp_path / "file.wav"), bad)
    with pytest.raises(DataError, match="name cannot stand"):
        embed(make(audio=(os.fsdecode(bad),), out=tmp_path / "y.safetensors"))


def test_a_file_called_file_is_no_argument(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    soundfile.write("file", noise(0.1), RATE, format="WAV")
    embed(make(audio=("file",), out=Path("x.npz")))
    assert np.load("x.npz").files == ["file"]


def test_files_that_cannot_be_are_refused_before_any_work(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(stage, "load_encoder", lambda *_, **__: pytest.fail("too late"))
    out = tmp_path / "x.npz"
    audio = (str(folder),)
    soundfile.write(folder / "short.wav", noise(0.01), RATE)
    with pytest.raises(DataError, match=r"too short[\s\S]*short\.wav"):
        embed(make(audio=audio, out=out))
    soundfile.write(folder / "short.wav", np.zeros(0), RATE)
    with pytest.raises(DataError, match=r"is empty[\s\S]*short\.wav"):
        embed(make(audio=audio, out=out))
    soundfile.write(folder / "short.wav", np.zeros(130 * RATE), RATE)
    with pytest.raises(DataError, match=r"longer than[\s\S]*short\.wav[\s\S]*--max-seconds"):
        embed(make(audio=audio, out=out))
    (folder / "short.wav").unlink()
    (folder / "gone.wav").symlink_to("nowhere.wav")
    with pytest.raises(DataError, match=r"no such audio file[\s\S]*gone\.wav"):
        embed(make(audio=audio, out=out))
    (folder / "text.wav").write_text("no audio")
    with pytest.raises(DataError, match=r"2 of \d+ files cannot be used") as caught:
        embed(make(audio=audio, out=out))
    assert "gone.wav: no such audio" in str(caught.value)
    assert "text.wav: " in str(caught.value)
    assert "--skip-bad" in str(caught.value)
    (folder / "gone.wav").unlink()
    (folder / "text.wav").unlink()
    (tmp_path / "y.npz").mkdir()
    with pytest.raises(SettingsError, match="output is a folder"):
        embed(make(audio=audio, out=tmp_path / "y.npz"))
    for device in ("cuda:99", "toaster"):
        with pytest.raises(SettingsError, match="device cannot be used"):
            embed(make(audio=audio, out=out, device=device))
    for name in ("a" * 5000, "a\0b", "~nobody-here/x", str(tmp_path / "nothing")):
        with pytest.raises(DataError, match="no such audio"):
            find_audio((name,))
    assert not out.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_nothing_is_left_of_what_was_stopped(tmp_path, folder, monkeypatch, suffix):
    bad = noise(0.5)
    bad[7] = np.nan
    soundfile.write(folder / "nan.wav", bad, RATE, subtype="FLOAT")
    out = tmp_path / f"x{suffix}"
    out.write_text("an older result")
    settings = make(audio=(str(folder),), out=out, batch_seconds=0.5, overwrite=True)
    with pytest.raises(DataError, match=r"not finite[\s\S]*nan\.wav"):
        embed(settings)
    (folder / "nan.wav").unlink()
    read = stage.read_audio

    def stopped(path):
        if path.name == "4.wav":
            raise KeyboardInterrupt
        return read(path)

    monkeypatch.setattr(stage, "read_audio", stopped)
    with pytest.raises(KeyboardInterrupt):
        embed(settings)
    assert out.read_text() == "an older result"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["audio", out.name]


@pytest.mark.parametrize("suffix", embedding_files.SUFFIXES)
def test_a_file_of_others_is_replaced_only_where_that_is_asked_for(tmp_path, folder, suffix):
    out = tmp_path / f"model{suffix}"
    if suffix == ".safetensors":
        save_file({"encoder.weight": torch.ones(2)}, out, metadata={"format": "pt"})
    else:
        out.write_bytes(b"the only copy")
    before = out.read_bytes()
    given = {"audio": (str(folder),), "out": out, "pooled": True}
    with pytest.raises(SettingsError, match=r"another file[\s\S]*model[\s\S]*--overwrite"):
        embed(make(**given))
    assert out.read_bytes() == before
    embed(make(**given, overwrite=True))
    assert out.read_bytes() != before
    if suffix == ".safetensors":  # which says that it holds hidden states
        embed(make(**given, layers=(1,)))
        assert {len(tensor) for tensor in load_file(out).values()} == {1}


def test_numbers_that_do_not_fit_half_precision(tmp_path, folder):
    states = torch.tensor([[1.0, 70000.0]])
    with pytest.raises(SettingsError, match=r"too large for float16[\s\S]*70000"):
        stage._converted(states, "float16", folder)
    assert stage._converted(states, "float32", folder).tolist() == [[1.0, 70000.0]]
    with pytest.raises(DataError, match="not finite"):
        stage._converted(states / 0, "float32", folder)


def test_an_encoder_of_its_own_base(tmp_path, folder):
    content = torch.load(HUBERT, weights_only=True)
    tensors = {f"model.{name}": tensor for name, tensor in content["model_weight"].items()}
    torch.save({"Upstream": tensors, "Downstream": {}}, tmp_path / "states.ckpt")
    audio = (str(folder / "0.wav"),)
    values = {"encoder": str(tmp_path / "states.ckpt"), "audio": audio}
    embed(make(**values, base=HUBERT, out=tmp_path / "a.npy"))
    embed(make(audio=audio, out=tmp_path / "b.npy"))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), np.load(tmp_path / "b.npy"))
    with pytest.raises(CheckpointError, match="no such encoder"):
        embed(make(**values, base="nothing.pt", out=tmp_path / "c.npy"))


@pytest.mark.parametrize(
    "command",
    [
        ["embed", HUBERT, "{audio}", "--out", "{out}.safetensors"],
        ["embed", HUBERT, "{audio}", "--out", "{out}.npz"],
        ["convert", HUBERT, "{out}", "--to", "hf"],
        ["convert", HUBERT, "{out}.pt", "--to", "s3prl"],
    ],
)
def test_a_file_that_may_not_grow_is_one_clear_error(tmp_path, folder, command, capfd):
    """The limit stands for a full disk: the system refuses to write on."""
    from speechft.cli.app import main

    (tmp_path / "made").mkdir()
    names = {"audio": folder, "out": tmp_path / "made" / "x"}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(SystemExit) as stopped:
            main([part.format(**names) for part in command])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    said = capfd.readouterr().err
    assert stopped.value.code == 1
    assert "no file may grow this large here" in said
    assert str(tmp_path / "made" / "x") in said
    assert not list((tmp_path / "made").iterdir())


@pytest.mark.parametrize("command", ["embed", "convert"])
def test_ctrl_c_does_not_promise_what_was_not_kept(tmp_path, folder, monkeypatch, capfd, command):
    from speechft.cli.app import main

    def stopped(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "read_audio", stopped)
    monkeypatch.setattr("speechft.encoders.formats.write.torch.save", stopped)
    (tmp_path / "made").mkdir()
    given = {
        "embed": [HUBERT, str(folder), "--out", str(tmp_path / "made" / "x.npz")],
        "convert": [HUBERT, str(tmp_path / "made" / "x.pt"), "--to", "s3prl"],
    }
    with pytest.raises(SystemExit) as code:
        main([command, *given[command]])
    assert code.value.code == 130
    said = capfd.readouterr().err
    assert "Nothing was written" in said
    assert "kept" not in said
    assert not list((tmp_path / "made").iterdir())


@pytest.fixture
def partly_bad(folder):
    """Six good files, and one of every kind that cannot be used."""
    bad = noise(0.5)
    bad[100] = np.nan
    soundfile.write(folder / "2-nan.wav", bad, RATE, subtype="FLOAT")
    soundfile.write(folder / "3-short.wav", noise(0.01), RATE)
    soundfile.write(folder / "4-long.wav", noise(2.0), RATE)
    (folder / "5-text.wav").write_text("no audio")
    (folder / "6-nothing.wav").touch()
    return folder


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".npy"])
def test_bad_files_are_skipped_and_named_where_that_is_asked_for(
    tmp_path, partly_bad, caplog, suffix
):
    values = {"audio": (str(partly_bad),), "pooled": True, "max_seconds": 1.5}
    with pytest.raises(DataError):
        embed(make(out=tmp_path / f"bad{suffix}", **values))
    assert not (tmp_path / f"bad{suffix}").exists()
    out = embed(make(out=tmp_path / f"x{suffix}", skip_bad=True, **values))
    assert "5 of 11 files were skipped" in caplog.text
    names = ("2-nan", "3-short", "4-long", "5-text", "6-nothing")
    assert all(f"skipped {partly_bad / name}.wav: " in caplog.text for name in names)
    for path in [p for p in partly_bad.iterdir() if p.stem in names]:
        path.unlink()
    whole = embed(make(out=tmp_path / f"y{suffix}", **values))
    if suffix == ".safetensors":
        with safe_open(out, "np") as file:
            about = json.loads(file.metadata()["about"])
        assert [Path(name).stem for name in about["skipped"]] == list(names)
        assert "1 of 8000 samples" in about["skipped"][str(partly_bad / "2-nan.wav")]
        found, wanted = load_file(out), load_file(whole)
        assert {n: t.tolist() for n, t in found.items()} == {
            n: t.tolist() for n, t in wanted.items()
        }
    else:
        assert out.read_bytes() == whole.read_bytes()


def test_nothing_but_bad_files_is_an_error(tmp_path):
    (tmp_path / "a.wav").write_text("no audio")
    with pytest.raises(DataError, match="no file can be used"):
        embed(make(audio=(str(tmp_path / "a.wav"),), out=tmp_path / "x.npz", skip_bad=True))
    assert not (tmp_path / "x.npz").exists()

"""`convert`, `inspect` and `embed`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from speechft.cli.app import main
from speechft.core.errors import CheckpointError, DataError, SettingsError
from speechft.core.settings import parse_settings
from speechft.data.audio import read_audio
from speechft.encoders import load_encoder
from speechft.encoders.convert import convert
from speechft.encoders.inspect import inspect
from speechft.encoders.settings import ConvertSettings, InspectSettings
from speechft.prediction.audio_files import find_audio
from speechft.prediction.embed import embed
from speechft.prediction.settings import EmbedSettings

PARITY = Path(__file__).parent.parent / "fixtures" / "parity"
HUBERT = str(PARITY / "hubert-tiny.pt")


def run_cli(capsys, *arguments):
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(list(map(str, arguments)))
    assert not caught.value.code
    return capsys.readouterr().out


def test_convert_there_and_back(tmp_path):
    hf = convert(ConvertSettings(source=HUBERT, target=tmp_path / "hf", to="hf"))
    assert json.loads((hf / "speechft.json").read_text())["stage"] == "convert"
    back = convert(ConvertSettings(source=str(hf), target=tmp_path / "b.pt", to="s3prl"))
    before = torch.load(HUBERT, weights_only=True)
    after = torch.load(back, weights_only=True)
    assert after["dictionaries_symbols"] == before["dictionaries_symbols"]
    for name, tensor in before["model_weight"].items():
        assert torch.equal(after["model_weight"][name], tensor), name
    assert not list(tmp_path.glob(".*"))


def test_convert_never_replaces_a_foreign_folder(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(SettingsError, match=r"something else[\s\S]*thesis\.tex"):
            convert(
                ConvertSettings(
                    source=HUBERT, target=tmp_path / "mine", to="hf", overwrite=overwrite
                )
            )
    assert (tmp_path / "mine" / "thesis.tex").exists()
    with pytest.raises(SettingsError, match="is a folder"):
        convert(ConvertSettings(source=HUBERT, target=tmp_path / "mine", to="s3prl"))


def test_convert_writes_nothing_from_a_broken_source(tmp_path):
    content = torch.load(HUBERT, weights_only=True)
    del content["model_weight"]["encoder.layers.1.fc1.bias"]
    torch.save(content, tmp_path / "broken.pt")
    for to in ("hf", "s3prl", "fairseq"):
        settings = ConvertSettings(source=str(tmp_path / "broken.pt"), target=tmp_path / to, to=to)
        with pytest.raises(CheckpointError, match=r"intermediate_dense\.bias"):
            convert(settings)
        assert not (tmp_path / to).exists()


@pytest.mark.parametrize("name", sorted(p.stem for p in PARITY.glob("*.pt")))
def test_inspect(name):
    path = str(PARITY / f"{name}.pt")
    found = inspect(InspectSettings(path=path))
    encoder = load_encoder(path)
    assert found.family == encoder.family == name.split("-")[0]
    assert (found.layers, found.hidden_size, found.attention_heads) == (3, 48, 4)
    assert found.fingerprint == encoder.fingerprint()
    assert found.normalize_input == ("large" in name)
    assert ("pre-norm" in found.style) == ("large" in name)
    groups = {group.name: group for group in found.groups}
    encoder_groups = [g for g in found.groups if g.merge.startswith("interpolated")]
    assert sum(g.parameters for g in encoder_groups) == found.parameters
    assert ("CNN front end" in groups) == (found.family != "decoar2")
    if found.family == "hubert":
        assert groups["final_proj"].merge.startswith("not merged")


def test_inspect_command(capsys):
    assert "CNN front end" in run_cli(capsys, "inspect", HUBERT)
    values = json.loads(run_cli(capsys, "inspect", HUBERT, "--json"))
    assert values["format"] == "s3prl"


@pytest.fixture
def recordings(tmp_path):
    """Three recordings of other rates, channels and formats."""
    folder = tmp_path / "audio"
    folder.mkdir()
    generator = np.random.default_rng(0)
    mono = generator.normal(0, 0.1, 12000).astype(np.float32)
    stereo = generator.normal(0, 0.1, (22050, 2)).astype(np.float32)
    soundfile.write(folder / "a.wav", mono, 16000)
    soundfile.write(folder / "b.flac", stereo, 22050)
    soundfile.write(folder / "c.ogg", mono[:8000], 8000)
    return folder


def make(**values):
    return parse_settings(EmbedSettings, values, where="test")


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_embed_all_frames(tmp_path, recordings, suffix):
    out = embed(make(encoder=HUBERT, audio=(str(recordings),), out=tmp_path / f"x{suffix}"))
    if suffix == ".npz":
        found = {n: torch.from_numpy(a) for n, a in np.load(out).items()}
    else:
        found = load_file(out)
    files = sorted(recordings.iterdir())
    assert sorted(found) == [str(file) for file in files]
    encoder = load_encoder(HUBERT)
    for file in files:
        with torch.no_grad():
            wanted = torch.cat(encoder([read_audio(file)]).hidden_states)
        torch.testing.assert_close(found[str(file)], wanted, atol=1e-4, rtol=1e-4)


def test_embed_pooled_layers_in_the_order_of_the_files(tmp_path, recordings):
    files = [str(recordings / name) for name in ("c.ogg", "a.wav", "b.flac")]
    settings = {"encoder": HUBERT, "audio": tuple(files), "pooled": True, "layers": (-1, 0)}
    out = embed(make(**settings, out=tmp_path / "x.npy", batch_seconds=1.0))
    found = np.load(out)
    assert found.shape == (3, 2, 48)
    encoder = load_encoder(HUBERT)
    for row, file in zip(found, files, strict=True):
        with torch.no_grad():
            states = encoder([read_audio(file)]).hidden_states
        wanted = torch.stack([states[-1][0].mean(0), states[0][0].mean(0)])
        torch.testing.assert_close(torch.from_numpy(row), wanted, atol=1e-4, rtol=1e-4)


def test_embed_in_half_precision(tmp_path, recordings):
    settings = {"encoder": HUBERT, "audio": (str(recordings),), "dtype": "float16"}
    out = embed(make(**settings, precision="bfloat16", out=tmp_path / "x.safetensors"))
    assert {t.dtype for t in load_file(out).values()} == {torch.float16}


def test_embed_refuses_what_cannot_be(tmp_path, recordings):
    with pytest.raises(SettingsError, match="no such layer"):
        embed(make(encoder=HUBERT, audio=(str(recordings),), out=tmp_path / "x.npz", layers=(4,)))
    with pytest.raises(SettingsError, match="kind of output"):
        embed(make(encoder=HUBERT, audio=(str(recordings),), out=tmp_path / "x.csv"))
    with pytest.raises(SettingsError, match="one array"):
        embed(make(encoder=HUBERT, audio=(str(recordings),), out=tmp_path / "x.npy"))
    with pytest.raises(DataError, match="no such audio"):
        find_audio((str(tmp_path / "nothing.wav"),))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no audio"):
        find_audio((str(tmp_path / "empty"),))
    (recordings / "d.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"d\.wav"):
        embed(make(encoder=HUBERT, audio=(str(recordings),), out=tmp_path / "x.npz"))
    assert not list(tmp_path.glob("*x.npz*"))


def test_commands(tmp_path, recordings, capsys):
    shown = run_cli(capsys, "convert", HUBERT, tmp_path / "hf", "--to", "hf")
    assert shown.strip() == str(tmp_path / "hf")
    out = tmp_path / "x.safetensors"
    run_cli(capsys, "embed", tmp_path / "hf", recordings, "--out", out, "--layer", "3")
    assert {len(tensor) for tensor in load_file(out).values()} == {1}

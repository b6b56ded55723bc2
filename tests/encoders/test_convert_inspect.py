"""`convert` and `inspect` as users meet them, and all three as functions of the package."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from rich.cells import cell_len
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    BertConfig,
    BertModel,
    Data2VecAudioForCTC,
    Wav2Vec2BertConfig,
    Wav2Vec2BertForCTC,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

import speechft
from speechft.cli.inspect import InspectOptions, show
from speechft.core.errors import CheckpointError, SettingsError
from speechft.encoders.convert import convert
from speechft.encoders.inspect import inspect
from speechft.encoders.settings import ConvertSettings, InspectSettings

PARITY = Path(__file__).parent.parent / "fixtures" / "parity"
HUBERT = PARITY / "hubert-tiny.pt"


def _inspect(path, **how):
    options = InspectOptions(path=str(path), **how)
    show(inspect(options), options)


def to(target, kind="hf", source=HUBERT, **more):
    return convert(ConvertSettings(source=source, target=target, to=kind, **more))


def test_the_source_is_never_written_over(tmp_path, monkeypatch):
    source = tmp_path / "a.pt"
    source.write_bytes(HUBERT.read_bytes())
    (tmp_path / "link.pt").symlink_to(source)
    before = source.read_bytes()
    for target in (source, tmp_path / "link.pt", tmp_path / "x" / ".." / "a.pt"):
        with pytest.raises(SettingsError, match="source itself"):
            to(target, "s3prl", source)
    with pytest.raises(SettingsError, match="source itself"):
        to(tmp_path, "hf", source)
    folder = to(tmp_path / "hf", source=source)
    for target in (folder, tmp_path):
        with pytest.raises(SettingsError, match="source itself"):
            to(target, source=folder)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="source itself"):
        to(Path("hf"), source=folder)
    assert source.read_bytes() == before
    assert to(folder / "inside.pt", "s3prl", folder).is_file()
    assert to(folder / "inside", source=folder).is_dir()


@pytest.mark.parametrize("name", ["thesis.tex", "tokenizer.json", "checkpoints", "hubert.pt"])
def test_a_folder_with_more_than_an_encoder_is_never_replaced(tmp_path, name):
    """A config.json alone does not make a folder ours: programs of all kinds have one."""
    folder = to(tmp_path / "hf")
    to(tmp_path / "hf")
    (folder / name).mkdir() if "." not in name else (folder / name).write_text("years of work")
    with pytest.raises(SettingsError, match=f"something else[\\s\\S]*{name}"):
        to(tmp_path / "hf")
    assert (folder / name).exists()


@pytest.mark.parametrize("kind", ["s3prl", "fairseq"])
def test_a_file_is_replaced_only_where_that_is_asked_for(tmp_path, kind):
    precious = tmp_path / "precious.pt"
    precious.write_bytes(b"the only copy")
    with pytest.raises(SettingsError, match=r"something else[\s\S]*13 bytes[\s\S]*--overwrite"):
        to(precious, kind)
    assert precious.read_bytes() == b"the only copy"
    assert inspect(InspectSettings(path=to(precious, kind, overwrite=True))).family == "hubert"


@pytest.mark.parametrize("stage", ["finetune", None])
def test_a_folder_of_another_origin_is_replaced_only_where_that_is_asked_for(tmp_path, stage):
    folder = to(tmp_path / "hf")
    if stage is None:
        (folder / "speechft.json").unlink()
    else:
        (folder / "speechft.json").write_text(json.dumps({"stage": stage}))
    (folder / "README.md").write_text("weeks of training")
    with pytest.raises(SettingsError, match=stage or r"README\.md, config\.json"):
        to(folder)
    assert (folder / "README.md").read_text() == "weeks of training"
    to(folder, overwrite=True)
    assert json.loads((folder / "speechft.json").read_text())["stage"] == "convert"
    assert (folder / "README.md").read_text() == "weeks of training"
    to(folder)  # which a conversion has made


def test_the_command_replaces_only_where_that_is_asked_for(tmp_path, capsys):
    from speechft.cli.app import main

    (tmp_path / "a.pt").write_bytes(b"the only copy")
    command = ["convert", str(HUBERT), str(tmp_path / "a.pt"), "--to", "s3prl"]
    with pytest.raises(SystemExit) as stopped:
        main(command)
    assert stopped.value.code == 2
    assert "--overwrite" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--overwrite"])
    assert stopped.value.code in (0, None)
    assert (tmp_path / "a.pt").stat().st_size > 10_000


@pytest.mark.parametrize("kind", ["hf", "s3prl"])
def test_a_place_where_nothing_can_be_written_is_said(kind):
    for target in ("/proc/x.pt", "/proc/none/x.pt"):
        with pytest.raises(SettingsError, match=f"cannot write there[\\s\\S]*{target}"):
            to(Path(target), kind)


@pytest.mark.parametrize("kind", ["s3prl", "fairseq"])
@pytest.mark.parametrize("name", ["thesis.tex", "encoder", "a.safetensors"])
def test_names_that_no_reader_takes(tmp_path, kind, name):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SettingsError, match="no reader takes"):
        to(tmp_path / name, kind)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_what_no_encoder_is_or_is_damaged(tmp_path, caplog):
    bert = BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1))
    bert.save_pretrained(tmp_path / "bert")
    for work in (lambda: to(tmp_path / "x", source=tmp_path / "bert"),):
        with pytest.raises(CheckpointError, match="no speech encoder of a known family"):
            work()
    folder = to(tmp_path / "hf")
    tensors = load_file(folder / "model.safetensors")
    tensors["encoder.layer_norm.bias"][0] = float("nan")
    save_file(tensors, folder / "model.safetensors")
    (folder / "speechft.json").unlink()
    with caplog.at_level(logging.WARNING):
        to(tmp_path / "copy", source=folder)
    assert "NaN" in caplog.text
    found = inspect(InspectSettings(path=tmp_path / "copy"))
    assert found.not_finite == ("encoder.layer_norm.bias",)


def test_parts_that_the_format_has_no_place_for_are_named(tmp_path, caplog, tmp_path_factory):
    folder = to(tmp_path / "hf")
    extras = load_file(folder / "extras.safetensors")
    save_file({**extras, "lm_head.weight": torch.ones(2, 2)}, folder / "extras.safetensors")
    (folder / "speechft.json").unlink()
    with caplog.at_level(logging.WARNING):
        to(tmp_path / "x.pt", "s3prl", folder)
    assert "lm_head.weight" in caplog.text
    assert "final_proj" not in caplog.text


def test_a_target_below_a_file_is_one_clear_error(tmp_path, capsys):
    from speechft.cli.app import main

    (tmp_path / "file").write_text("x")
    for target in (tmp_path / "file" / "hf", tmp_path / "file" / "a" / "hf"):
        with pytest.raises(SystemExit) as stopped:
            main(["convert", str(HUBERT), str(target), "--to", "hf"])
        assert stopped.value.code in (1, 2)
        said = capsys.readouterr().err
        assert "unexpected" not in said
        assert str(tmp_path / "file") in said


@pytest.mark.parametrize("kind", ["hf", "s3prl"])
def test_nothing_is_left_of_a_conversion_that_was_stopped(tmp_path, monkeypatch, kind):
    def stopped(*_args, **_options):
        raise KeyboardInterrupt

    for name in ("hf_folder.save_file", "formats.write.torch.save"):
        monkeypatch.setattr(f"speechft.encoders.{name}", stopped)
    with pytest.raises(KeyboardInterrupt):
        to(tmp_path / "x.pt", kind)
    assert not list(tmp_path.iterdir())


def test_the_verbs_are_functions_of_the_package(tmp_path):
    folder = speechft.convert(source=HUBERT, target=tmp_path / "hf", to="hf")
    assert speechft.inspect(folder).family == "hubert"
    assert speechft.inspect(str(folder)) == speechft.inspect(path=folder)
    assert speechft.inspect(InspectSettings(path=folder)) == speechft.inspect(folder)
    noise = np.random.default_rng(0).normal(0, 0.1, 4000)
    soundfile.write(tmp_path / "a.wav", noise, 16000)
    for audio in (tmp_path / "a.wav", [tmp_path / "a.wav"], str(tmp_path), (str(tmp_path),)):
        given = {"encoder": folder, "audio": audio, "layers": (1,), "overwrite": True}
        out = speechft.embed(**given, out=tmp_path / "x.npy")
        assert np.load(out).shape == (1, 12, 48)
    assert {"convert", "inspect", "embed"} <= set(dir(speechft))
    for wrong in (
        lambda: speechft.convert(source=folder, target="x", too="hf"),
        lambda: speechft.inspect(pth="x"),
        lambda: speechft.embed(encoder=folder, audio=[], out="x.npy"),
        lambda: speechft.embed(encoder=folder, audio="a.wav", out="x.npy", layers=()),
    ):
        with pytest.raises(SettingsError):
            wrong()


def relatives(folder):
    """Save a model of each kind that looks different from inside."""
    small = {"num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 2}
    front = {"conv_dim": (16,) * 7, "num_conv_pos_embedding_groups": 4, "intermediate_size": 64}
    data2vec = AutoConfig.for_model("data2vec-audio", **small, **front, num_conv_pos_embeddings=2)
    Data2VecAudioForCTC(data2vec).save_pretrained(folder / "data2vec-audio")
    conformer = Wav2Vec2BertConfig(vocab_size=9, **small, intermediate_size=64)
    Wav2Vec2BertForCTC(conformer).save_pretrained(folder / "wav2vec2-bert")
    ids = {"bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1, "pad_token_id": 0}
    widths = {f"{side}_{what}": 2 for side in ("encoder", "decoder") for what in ("layers",)}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    whisper = WhisperConfig(
        d_model=32, encoder_ffn_dim=64, decoder_ffn_dim=64, vocab_size=9, **widths, **heads, **ids
    )
    WhisperForConditionalGeneration(whisper).save_pretrained(folder / "whisper")


SHOWN = {
    "data2vec-audio": ("layer norm in every convolution, post-norm", "waveform, normalised"),
    "wav2vec2-bert": ("conformer", "filter banks"),
    "whisper": ("pre-norm", "log-mel"),
}


def test_inspect_tells_relatives_apart(tmp_path):
    relatives(tmp_path)
    for family, (style, given) in SHOWN.items():
        found = speechft.inspect(tmp_path / family)
        assert found.family == family
        assert style in found.style
        assert given in found.input
        assert (found.hidden_size, found.feed_forward, found.attention_heads) == (32, 64, 2)
    groups = {group.name for group in found.groups}
    assert groups == {"CNN front end", "positions", "transformer", "decoder"}


@pytest.mark.parametrize("name", sorted(p.stem for p in PARITY.glob("*.pt")))
def test_inspect_fits_80_columns_and_shows_everything(tmp_path, capsys, name):
    folder = tmp_path / ("a-[long]-name-" * 8)
    to(folder, source=PARITY / f"{name}.pt")
    for path in (PARITY / f"{name}.pt", folder):
        capsys.readouterr()
        _inspect(path)
        text = capsys.readouterr().out
        assert max(map(cell_len, text.splitlines())) <= 80
        whole = "".join(text.split())
        found = speechft.inspect(path)
        for fact in (str(path), found.fingerprint, found.style, found.input, "float32"):
            assert "".join(fact.split()) in whole, fact
        for group in found.groups:
            assert group.name in text
        assert found.format in text
        assert "interpolated" in text


def test_inspect_shows_damage(tmp_path, capsys):
    folder = to(tmp_path / "hf")
    tensors = load_file(folder / "model.safetensors")
    tensors["encoder.layer_norm.bias"][0] = float("inf")
    save_file(tensors, folder / "model.safetensors")
    _inspect(folder)
    assert "will not load: encoder.layer_norm.bias" in " ".join(capsys.readouterr().out.split())
    _inspect(folder, as_json=True)
    assert json.loads(capsys.readouterr().out)["not_finite"] == ["encoder.layer_norm.bias"]

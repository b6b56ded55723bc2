"""Messages whose next step was not one.

A pattern for alpha that fits no tensor was answered by all tensors of all layers (2,000 signs), a
mergekit recipe of slices by "models: none" and two more that followed from it, `slerp` of several
encoders by nothing. A file that begins with a dash was "no option", and text that is called .mp3
"no regular file (possibly a pipe?)".
"""

from __future__ import annotations

import pytest

from speechft.cli.app import main
from speechft.core.errors import DataError, SettingsError
from speechft.data.audio import read_audio
from speechft.merging.alpha import parse_alpha
from speechft.merging.mergekit import from_mergekit
from speechft.merging.methods import METHODS


def test_a_pattern_without_tensors_is_told_the_kinds_of_tensors():
    names = [f"layers.{i}.{kind}.weight" for i in range(6) for kind in ("fc1", "fc2")]
    rules = parse_alpha(["encoder.zzzz.{0-3}.*=0.5"], 0.25)
    with pytest.raises(SettingsError) as error:
        rules.check([*names, "conv1.bias"])
    assert "layers.*.fc1.weight" in str(error.value)
    assert "layers.0" not in str(error.value)


def test_slices_of_mergekit_are_one_reason():
    recipe = {"merge_method": "slerp", "slices": [], "base_model": "a", "parameters": {"t": 0.5}}
    with pytest.raises(SettingsError) as error:
        from_mergekit(recipe)
    assert "slices: layers are not rearranged" in str(error.value)
    assert "none" not in str(error.value)
    assert "wants base_model" not in str(error.value)


def test_slerp_of_several_names_methods_that_take_them():
    with pytest.raises(SettingsError, match=r"for several: [\s\S]*multislerp"):
        METHODS["slerp"].check({}, 2)


def test_a_file_that_begins_with_a_dash(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-a b.wav").touch()
    with pytest.raises(SystemExit, match="2"):
        main(["predict", "runs/asr", "-a b.wav"])
    assert "write './-a b.wav' for the file" in capsys.readouterr().err


def test_text_that_is_called_mp3(tmp_path):
    (tmp_path / "a.mp3").write_text("nothing")
    with pytest.raises(DataError) as error:
        read_audio(tmp_path / "a.mp3")
    assert error.value.found == "no frame of MPEG audio"

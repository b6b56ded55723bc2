"""`speechft data` on known corpora, as a user would call it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechft.cli.app import main


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return int(caught.value.code or 0)


@pytest.fixture
def fluent(corpus_tree) -> Path:
    return corpus_tree("fluent_speech_commands")


def test_prepare_and_again(fluent, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("data", "prepare", "fluent_speech_commands", fluent) == 0
    said = capsys.readouterr()
    assert "train: 3 utterances, the whole corpus has 23132 (23129 missing)" in said.out
    assert said.out.endswith("data/fluent_speech_commands\n")
    assert (tmp_path / "data" / "fluent_speech_commands" / "train.jsonl.gz").is_file()
    assert call("data", "prepare", f"fluent_speech_commands:{fluent}") == 0
    assert "nothing to do" in capsys.readouterr().err
    assert call("data", "prepare", "fluent_speech_commands", fluent, "--force", "--quick") == 0
    assert "nothing to do" not in capsys.readouterr().err


def test_variants_have_folders_of_their_own(corpus_tree, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("data", "prepare", "common_voice", f"{corpus_tree('common_voice')}@eo") == 0
    assert capsys.readouterr().out.endswith("data/common_voice-eo\n")


def test_what_is_missing_ends_with_3(fluent, tmp_path, capsys) -> None:
    path = fluent / "wavs" / "speakers" / "2BqVo8kVB2Skwgyb" / "1.wav"
    path.unlink()
    out = tmp_path / "out"
    assert call("data", "check", "fluent_speech_commands", fluent) == 3
    assert "train_data.csv, row 3: no such audio file" in capsys.readouterr().out
    assert call("data", "prepare", "fluent_speech_commands", fluent, "--out", out) == 3
    said = capsys.readouterr().err
    assert "train_data.csv, row 3: no such audio file" in said
    assert "next:     ask for the corpus at https://fluent.ai" in said
    assert not out.exists()
    assert (
        call("data", "prepare", "fluent_speech_commands", fluent, "--out", out, "--skip-bad") == 0
    )
    assert "left out: train_data.csv, row 3" in capsys.readouterr().out


def test_mistakes_in_the_name_end_with_2(fluent, capsys) -> None:
    assert call("data", "check", "fluent_speach_commands", fluent) == 2
    assert "did you mean 'fluent_speech_commands'" in capsys.readouterr().err
    assert call("data", "check", f"fluent_speech_commands:{fluent}", fluent) == 2
    assert "the root is given twice" in capsys.readouterr().err
    assert call("data", "check", "fluent_speech_commands", f"{fluent}@x") == 2
    assert "no variant 'x'" in capsys.readouterr().err


def test_the_table_has_no_empty_column(tmp_path, capsys) -> None:
    samples = np.zeros(16_000, dtype=np.float32)
    samples[::50] = 0.3
    for name in ("a", "b", "c"):
        soundfile.write(tmp_path / f"{name}.wav", samples, 16_000)
    table = tmp_path / "my.csv"
    table.write_text(
        "audio,language,speaker,split\na.wav,cs,anna,train\nb.wav,cs,anna,dev\nc.wav,nl,ben,test\n",
        encoding="utf-8",
    )
    call("data", "check", table)
    head, train, *said = capsys.readouterr().out.splitlines()
    assert head.split() == ["utterances", "hours", "speakers", "languages"]
    assert train.split() == ["train", "1", "0.00", "1", "cs"]
    assert train.index("cs") == head.index("languages")
    assert any("my-000002 (a.wav), " in line and "keep one of them" in line for line in said)

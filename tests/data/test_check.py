from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import soundfile
from lhotse import CutSet

from speechft.core.errors import DataError, SettingsError
from speechft.data.check import check_data
from speechft.data.load import load_data
from speechft.data.prepare import prepare_data


def table(folder, tone, heading, rows):
    """Write a table with an audio file of its own for each row; give its path."""
    for index in range(len(rows)):
        tone(f"{index}.wav", hz=200 + 20 * index)
    lines = [heading, *(f"{index}.wav,{row}" for index, row in enumerate(rows))]
    path = folder / "data.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def clean(tmp_path, tone):
    """A table without a fault: path and a function that adds lines."""
    splits = enumerate(["train", "train", "dev", "test"])
    rows = [f"hello,{split}{i},{'glad' if i == 0 else 'sad'},{split}" for i, split in splits]
    path = table(tmp_path, tone, "audio,text,speaker,emotion,split", rows)

    def add(line: str) -> None:
        with path.open("a") as file:
            file.write(line + "\n")

    return path, add


def test_clean_data_passes(clean):
    report = check_data(str(clean[0]))
    assert report.passed
    assert report.warnings == []
    assert report.summary["train"] == {
        "utterances": 2,
        "hours": 0.001,
        "speakers": 2,
        "languages": [],
        "classes": {"emotion": 2},
        "synthetic": False,
    }


def faulty(clean, tone, tmp_path):
    """One fault per row; expected errors and warnings."""
    _, add = clean
    noisy = np.random.default_rng(0).normal(0, 0.1, 16000)
    noisy[7] = np.nan
    soundfile.write(tmp_path / "nan.wav", noisy, 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "short.wav", np.zeros(100), 16000)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16000)
    (tmp_path / "text.wav").write_text("no audio")
    tone("low.wav", rate=8000, hz=300)
    tone("stereo.wav", channels=2, hz=320)
    tone("long.wav", seconds=31, hz=340)
    for name in ("nan", "short", "empty", "text", "gone", "low", "stereo", "long"):
        add(f"{name}.wav,hello,t-{name},sad,train")
    tone("quiet.wav", hz=360)
    add("quiet.wav,,t-quiet,sad,train")
    tone("new.wav", hz=380)
    add("new.wav,hello,train0,joy,test")
    add("0.wav,hello,other,sad,dev")
    errors = (
        "not finite", "too short", "is empty", "cannot be decoded", "no such audio file",
        "texts are empty", "test: emotion not in train: joy", "in different splits",
    )  # fmt: skip
    warnings = ("8000 Hz", "2 channels", "longer than 30 s", "test: 1 speakers are in train too")
    return errors, warnings


def test_finds_every_fault(clean, tone, tmp_path):
    errors, warnings = faulty(clean, tone, tmp_path)
    report = check_data(str(clean[0]))
    for part in errors:
        assert sum(part in error for error in report.errors) == 1, part
    for part in warnings:
        assert sum(part in warning for warning in report.warnings) == 1, part
    assert len(report.errors) == len(errors)
    assert len(report.warnings) == len(warnings)


def test_duplicates_within_a_split_are_warnings(clean):
    path, add = clean
    add("0.wav,hello,train0,sad,train")
    report = check_data(str(path))
    assert report.passed
    assert "the same audio 2 times" in report.warnings[0]


def test_data_that_cannot_be_loaded_is_one_error(tmp_path):
    report = check_data(str(tmp_path / "nothing.csv"))
    assert len(report.errors) == 1
    assert "no such data" in report.errors[0]


def test_speakers_of_a_closed_set_must_be_known(tiny, tmp_path):
    for name in ("sid_train", "sid_test"):
        tiny[name].to_file(tmp_path / f"{name}.jsonl.gz")
    assert check_data(str(tmp_path)).errors == []
    cut = next(iter(tiny["sid_test"]))
    stranger = replace(cut, supervisions=[replace(cut.supervisions[0], speaker="stranger")])
    CutSet.from_cuts([stranger]).to_file(tmp_path / "sid_test.jsonl.gz")
    assert check_data(str(tmp_path)).errors == [
        "sid_test: speaker not in sid_train: stranger",
    ]


def test_other_labels_need_not_be_known_where_speakers_are_the_classes(tmp_path, tone):
    """Splits that had been drawn for sid alone were an error of the data's labels."""
    rows = [f"s{index % 3},{'rare' if index < 3 else 'usual'}" for index in range(9)]
    path = table(tmp_path, tone, "audio,speaker,emotion", rows)
    data = load_data(str(path))
    home = {n: {c.supervisions[0].custom["emotion"] for c in cuts} for n, cuts in data.items()}
    assert (home["sid_dev"] | home["sid_test"]) - home["sid_train"] == {"rare"}
    assert home["test"] <= home["train"]
    report = check_data(str(path))
    assert report.passed
    assert not [warning for warning in report.warnings if "emotion" in warning]
    assert report.summary["sid_train"]["classes"] == {"emotion": 1}


def test_synthetic_speech_passes(tiny, tmp_path):
    for name, cuts in tiny.items():
        cuts.to_file(tmp_path / f"{name}.jsonl.gz")
    report = check_data(str(tmp_path))
    assert report.errors == report.warnings == []
    assert all(part["synthetic"] for part in report.summary.values())


def test_prepared_data_loads_alike(clean, tmp_path):
    prepare_data(str(clean[0]), tmp_path / "out")
    before, after = load_data(str(clean[0])), load_data(str(tmp_path / "out"))
    assert {n: [c.to_dict() for c in cuts] for n, cuts in before.items()} == {
        n: [c.to_dict() for c in cuts] for n, cuts in after.items()
    }
    prepare_data(str(clean[0]), tmp_path / "out")
    assert (tmp_path / "out" / "speechft.json").is_file()


def test_prepare_refuses_bad_data_and_foreign_folders(clean, tmp_path):
    path, add = clean
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(SettingsError, match="something else"):
        prepare_data(str(path), tmp_path / "mine")
    add("gone.wav,hello,x,sad,train")
    with pytest.raises(DataError, match="no such audio file"):
        prepare_data(str(path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_silence_and_gaps_are_warnings(clean, tmp_path):
    path, add = clean
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000), 16000)
    add("silent.wav,hello,,,train")
    report = check_data(str(path))
    assert report.passed
    assert any("1 utterances are silent" in warning for warning in report.warnings)
    assert any("1 of 3 utterances have no speaker" in warning for warning in report.warnings)
    assert any("1 of 3 utterances have no emotion" in warning for warning in report.warnings)


def test_what_a_whole_split_lacks_is_a_warning(tmp_path, tone):
    rows = (
        ("hello,a,h e,O,", "train"),
        ("hello,b,,O,", "train"),
        ("hello,a,h e,,", "dev"),
        (",a,h e,,", "test"),
    )
    heading = "audio,text,label,phonemes,tags,intent,split"
    path = table(tmp_path, tone, heading, [f"{labels},{split}" for labels, split in rows])
    report = check_data(str(path))
    assert report.errors == []
    assert [warning.rpartition(":")[0] for warning in report.warnings] == [
        "train: 1 of 2 utterances have no phonemes",
        "dev: 1 of 1 utterances have no tags",
        "test: 1 of 1 utterances have no tags",
        "test: 1 of 1 utterances have no text",
    ]


def test_audio_alone_is_said(tmp_path, tone):
    path = table(tmp_path, tone, "audio,split", ["train", "dev", "test"])
    (warning,) = check_data(str(path)).warnings
    assert warning == (
        "there is audio alone, without any label: only pretrain, embed and analyze can use it"
    )


def test_a_split_that_no_command_uses_is_named_with_the_nearest(tmp_path, tone):
    names = {"trian": "train", "sid_tset": "sid_test", "dev_querys": "dev_queries"}
    used = ("train", "valid", "val", "test", "es_train", "pretrain", "es_pretrain", "docs", "zzz")
    rows = [f"hello,{split}" for split in (*names, *used)]
    path = table(tmp_path, tone, "audio,text,split", rows)
    report = check_data(str(path))
    assert report.errors == []
    assert report.warnings == [
        f"no command uses the split {odd!r} (1 utterances) unless it is asked for by name; "
        f"did you mean {near!r}?"
        for odd, near in names.items()
    ]


def test_a_folder_that_is_nothing_yet_is_told_how_it_could_be_read(tmp_path):
    from speechft.core.errors import DataError
    from speechft.data.load import load_data

    def hint(path):
        with pytest.raises(DataError) as refused:
            load_data(str(path))
        return refused.value.hint

    shards = tmp_path / "shards"
    shards.mkdir()
    (shards / "0001.tar").write_bytes(b"x")
    assert hint(shards).startswith("unpack the archives; for a WebDataset's shards")
    assert hint(shards / "0001.tar").startswith("unpack it; for a WebDataset's shards")
    audio = tmp_path / "audio"
    (audio / "dog").mkdir(parents=True)
    (audio / "dog" / "1.mp3").write_bytes(b"x")
    assert hint(audio).startswith(f"audiofolder:{audio} takes the audio")
    release = tmp_path / "cv-corpus-17.0"
    (release / "cs" / "clips").mkdir(parents=True)
    (release / "cs" / "clips" / "1.mp3").write_bytes(b"x")
    for split in ("train", "dev", "test"):
        (release / "cs" / f"{split}.tsv").write_text("path\tsentence\tclient_id\n")
    assert hint(release) == f"did you mean common_voice:{release}?"
    listed = tmp_path / "list.json"
    listed.write_text('[{"audio": "a.wav"}]')
    assert "JSON lines" in hint(listed)

from __future__ import annotations

import csv
import json
import logging
from itertools import combinations
from pathlib import Path

import pytest

from speechft.core.errors import DataError
from speechft.data.audio import load_waveform
from speechft.data.cuts import audio_files, effects_of
from speechft.data.load import load_data
from speechft.data.utterances import columns_of


@pytest.fixture
def table(tmp_path, tone):
    """Writes audio and a CSV table, and gives its path."""

    def write(rows, name="data.csv", make_audio=True):
        if make_audio:
            for index, path in enumerate({row["audio"] for row in rows if row.get("audio")}):
                tone(path, hz=200 + 10 * index)
        path = tmp_path / name
        if name.endswith(".jsonl"):
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
            return path
        columns = list(dict.fromkeys(column for row in rows for column in row))
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, delimiter="\t" if "tsv" in name else ",")
            writer.writeheader()
            writer.writerows(rows)
        return path

    return write


@pytest.mark.parametrize("name", ["data.csv", "data.tsv", "data.jsonl"])
def test_reads_every_column(table, name):
    rows = [
        {
            "audio": "sub/a.wav", "text": "turn on, please", "label": "x", "speaker": "ann",
            "emotion": "sad", "intent": "on", "phonemes": "t 3 n", "tags": "O state O",
            "language": "en", "start": 0.25, "end": 0.75, "split": "train",
        },
        {
            "audio": "b.wav", "text": "no thank you", "label": "y", "speaker": "bob",
            "emotion": "neutral", "intent": "off", "phonemes": "n oU", "tags": "state state O",
            "language": "en", "start": "", "end": "", "split": "valid",
        },
    ]  # fmt: skip
    data = load_data(str(table(rows, name)))
    assert list(data) == ["train", "dev"]
    (cut,) = data["train"]
    (supervision,) = cut.supervisions
    assert (supervision.text, supervision.speaker, supervision.language) == (
        "turn on, please",
        "ann",
        "en",
    )
    assert supervision.custom["label"] == "x"
    assert supervision.custom["emotion"] == "sad"
    assert supervision.custom["intent"] == "on"
    assert supervision.custom["phonemes"] == ["t", "3", "n"]
    assert supervision.custom["slots"] == [["state", "on,"]]
    assert (cut.start, cut.duration) == (0.25, 0.5)
    assert len(load_waveform(cut)) == 8000
    (cut,) = data["dev"]
    assert cut.duration == 1.0
    assert cut.supervisions[0].custom["slots"] == [["state", "no thank"]]


def test_lists_every_problem_with_its_row(table):
    rows = [
        {"audio": "a.wav", "text": "fine", "start": "", "end": "", "split": "train"},
        {"audio": "", "text": "no path", "start": "", "end": "", "split": "train"},
        {"audio": "b.wav", "text": "bad time", "start": "soon", "end": "", "split": "train"},
        {"audio": "b.wav", "text": "backwards", "start": 0.8, "end": 0.2, "split": "train"},
        {"audio": "b.wav", "text": "too far", "start": 0, "end": 7.5, "split": "train"},
        {"audio": "b.wav", "text": "no split", "start": "", "end": "", "split": ""},
    ]
    path = table(rows)
    with path.open("a") as file:
        file.write("missing.wav,lost,,,train\nb.wav,short\n")
    (path.parent / "text.wav").write_text("no audio")
    with path.open("a") as file:
        file.write("text.wav,x,,,train\n")
    with pytest.raises(DataError) as caught:
        load_data(str(path))
    message = str(caught.value)
    assert "8 problems" in message
    for part in (
        "row 3: the audio path is empty",
        "row 4: start is not a number",
        "row 5: start 0.8 and end 0.2",
        "row 6: end 7.5 lies behind the end",
        "row 7: the split is empty",
        "row 8: no such audio file",
        "row 9: it does not have as many fields",
        "row 10: the audio cannot be decoded",
    ):
        assert part in message
    assert "row 2" not in message


def test_missing_column_names_the_nearest(tmp_path):
    (tmp_path / "t.csv").write_text("audios,text\na.wav,hello\n")
    with pytest.raises(DataError, match=r"no column 'audio'[\s\S]*rename 'audios'"):
        load_data(str(tmp_path / "t.csv"))
    (tmp_path / "u.jsonl").write_text('{"wav": "a.wav"}\n')
    with pytest.raises(
        DataError, match=r"no column 'audio'[\s\S]*found: +wav[\s\S]*rename 'wav' to 'audio'"
    ):
        load_data(str(tmp_path / "u.jsonl"))


def test_empty_tables_and_broken_rows(tmp_path):
    for name, content, message in (
        ("e.csv", "", "no rows"),
        ("h.csv", "audio,text\n", "no rows"),
        ("b.jsonl", "{\n", "row 1"),
        ("l.jsonl", '{"audio": "a.wav"}\n[1]\n', "row 2"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match=message):
            load_data(str(tmp_path / name))
    (tmp_path / "bytes.csv").write_bytes(b"audio\n\xff\xfe\x00\n")
    with pytest.raises(DataError, match="cannot be read"):
        load_data(str(tmp_path / "bytes.csv"))


def test_tags_must_match_words(table):
    rows = [{"audio": "a.wav", "text": "two words", "tags": "O"}]
    with pytest.raises(DataError, match="row 2: 1 tags for 2 words"):
        load_data(str(table(rows)))


def test_columns_nearly_named_as_others_are_named(table, caplog):
    with caplog.at_level(logging.INFO, logger="speechft"):
        load_data(str(table([{"audio": "a.wav", "emotoin": "sad", "q7": "x", "mood": "calm"}])))
    assert "use the column 'emotoin'; did you mean 'emotion'?" in caplog.text
    assert "mood" not in caplog.text
    assert "q7" not in caplog.text


def test_further_columns_are_kept_beside_the_fields_of_the_package(table):
    row = {"audio": "a.wav", "effects": "loud", "mos": "3.5", "empty": "", "language": "cs"}
    (cut,) = load_data(str(table([row])))["train"]
    assert columns_of(cut) == {"effects": "loud", "mos": "3.5", "language": "cs"}
    assert effects_of(cut) == []


def test_a_class_keeps_its_speakers_apart_only_where_it_has_enough(table):
    """Every class in train and test, dev and test with speakers of their own."""
    rows = [
        {"audio": f"{i}.wav", "speaker": f"s{i % 12}", "label": "xyz"[i % 12 // 4]}
        for i in range(36)
    ]
    path = table(rows)
    data = load_data(str(path))
    for one, other in combinations(("train", "dev", "test"), 2):
        own, others = ({c.supervisions[0].speaker for c in data[n]} for n in (one, other))
        assert not own & others
    for name in ("train", "dev", "test"):
        assert {c.supervisions[0].custom["label"] for c in data[name]} == set("xyz")


def test_splits_by_speaker_and_within_speakers(table):
    rows = [{"audio": f"{i}.wav", "speaker": f"s{i % 6}", "label": "x"} for i in range(36)]
    path = table(rows)
    data = load_data(str(path))
    assert list(data) == ["train", "dev", "test", "sid_train", "sid_dev", "sid_test"]
    speakers = {n: {c.supervisions[0].speaker for c in cuts} for n, cuts in data.items()}
    assert not speakers["train"] & speakers["dev"]
    assert not speakers["train"] & speakers["test"]
    assert not speakers["dev"] & speakers["test"]
    assert speakers["sid_train"] == speakers["sid_dev"] == speakers["sid_test"]
    for family in ("", "sid_"):
        ids = [c.id for n in ("train", "dev", "test") for c in data[family + n]]
        assert len(ids) == len(set(ids)) == 36

    def names(splits):
        return {name: list(cuts.ids) for name, cuts in splits.items()}

    assert names(data) == names(load_data(str(path)))
    assert names(data) != names(load_data(str(path), seed=1))


def test_splits_within_labels_without_speakers(table):
    rows = [{"audio": f"{i}.wav", "label": f"l{i % 3}"} for i in range(30)]
    data = load_data(str(table(rows)))
    assert {name: len(cuts) for name, cuts in data.items()} == {"train": 24, "dev": 3, "test": 3}
    for cuts in data.values():
        assert {c.supervisions[0].custom["label"] for c in cuts} == {"l0", "l1", "l2"}


def test_a_drawn_split_keeps_equal_audio_on_one_side(table, tmp_path):
    rows = [{"audio": f"{i}.wav", "label": f"l{i % 3}"} for i in range(30)]
    path = table(rows)
    before = {name: len(cuts) for name, cuts in load_data(str(path)).items()}
    copies = [{"audio": f"again-{i}.wav", "label": f"l{i % 3}"} for i in range(30)]
    for i in range(30):
        (tmp_path / f"again-{i}.wav").write_bytes((tmp_path / f"{i}.wav").read_bytes())
    data = load_data(str(table(rows + copies, make_audio=False)))
    for name, cuts in data.items():
        own = {Path(audio_files(cut)[0]).name.removeprefix("again-") for cut in cuts}
        assert len(cuts) == 2 * len(own) == 2 * before[name]


def test_a_column_without_a_name_is_left_out(table):
    """As pandas writes its index."""
    path = table([{"audio": "a.wav", "text": "yes"}, {"audio": "b.wav", "text": "no"}])
    lines = path.read_text().splitlines()
    path.write_text("\n".join(f"{n or ''},{x}" for n, x in enumerate(lines)))
    assert path.read_text().startswith(",audio,text\n1,a.wav,yes")
    cuts = [cut for part in load_data(str(path)).values() for cut in part]
    assert sorted(cut.supervisions[0].text for cut in cuts) == ["no", "yes"]
    path.write_text(path.read_text() + ",too,many\n")
    with pytest.raises(DataError, match="row 3: it does not have as many fields as the header"):
        load_data(str(path))

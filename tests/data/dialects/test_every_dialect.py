"""Every kind of table: the same four utterances, as each tool writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from speechft.core.errors import DataError, SettingsError
from speechft.data.audio import load_waveform
from speechft.data.dialects import dialects, guess
from speechft.data.load import find_data, load_data
from speechft.data.prepare import default_folder, prepare_data
from speechft.probing.settings import data_name

DOCS = Path(__file__).parents[3] / "docs" / "data.md"
TEXTS = {"a": 'one "', "b": "two words", "c": "three", "d": "four"}
MAKERS: dict[str, Callable[[Path], Path]] = {}


def maker(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
    MAKERS[make.__name__] = make
    return make


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def moved(home: Path, folder: str) -> None:
    for name in TEXTS:
        (home / folder).mkdir(parents=True, exist_ok=True)
        (home / f"{name}.wav").rename(home / folder / f"{name}.wav")


@maker
def table(home: Path) -> Path:
    return write(home / "t.tsv", "audio\ttext", *(f"{n}.wav\t{t}" for n, t in TEXTS.items()))


@maker
def nemo(home: Path) -> Path:
    rows = ({"audio_filepath": f"{n}.wav", "duration": 1.0, "text": t} for n, t in TEXTS.items())
    return write(home / "manifest.json", *map(json.dumps, rows))


@maker
def audiofolder(home: Path) -> Path:
    rows = ({"file_name": f"{n}.wav", "transcription": t} for n, t in TEXTS.items())
    write(home / "metadata.jsonl", *map(json.dumps, rows))
    return home


@maker
def ljspeech(home: Path) -> Path:
    moved(home, "wavs")
    write(home / "metadata.csv", *(f"{n}|{t.upper()}|{t}" for n, t in TEXTS.items()))
    return home


@maker
def commonvoice(home: Path) -> Path:
    moved(home, "cy/clips")
    rows = (f"s{n}\t{n}.wav\t{t}" for n, t in TEXTS.items())
    return write(home / "cy" / "validated.tsv", "client_id\tpath\tsentence", *rows)


@maker
def fairseq(home: Path) -> Path:
    write(home / "m.tsv", str(home), *(f"{n}.wav\t16000" for n in TEXTS))
    letters = (" ".join(t.replace(" ", "|")) + " |" for t in TEXTS.values())
    write(home / "m.ltr", *letters)
    return home / "m.tsv"


@maker
def kaldi(home: Path) -> Path:
    moved(home, "audio")
    data = home / "data" / "all"
    write(data / "wav.scp", *(f"{n} audio/{n}.wav" for n in TEXTS))
    write(data / "text", *(f"{n} {t}" for n, t in TEXTS.items()))
    write(data / "utt2spk", *(f"{n} s{n}" for n in TEXTS))
    return data


@maker
def datasets(home: Path) -> Path:
    """As `save_to_disk` of datasets 5.2 writes it."""
    pyarrow = pytest.importorskip("pyarrow")
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    audio = [{"bytes": (home / f"{n}.wav").read_bytes(), "path": f"{n}.wav"} for n in TEXTS]
    columns = {"sound": pyarrow.array(audio, kind), "sentence": list(TEXTS.values())}
    made = pyarrow.table({**columns, "intent": [0, 1, 0, -1]})
    folder = home / "saved"
    folder.mkdir()
    with pyarrow.ipc.new_stream(folder / "data-00000-of-00001.arrow", made.schema) as file:
        file.write_table(made)
    features = {
        "sound": {"_type": "Audio"},
        "sentence": {"_type": "Value", "dtype": "string"},
        "intent": {"_type": "ClassLabel", "names": ["on", "off"]},
    }
    write(folder / "dataset_info.json", json.dumps({"features": features}))
    files = [{"filename": "data-00000-of-00001.arrow"}]
    write(folder / "state.json", json.dumps({"_data_files": files, "_split": None}))
    return folder


@pytest.fixture
def home(tmp_path, tone):
    for index, name in enumerate(TEXTS):
        tone(f"home/{name}.wav", hz=200 + 20 * index)
    return tmp_path / "home"


def cuts_of(spec: object) -> list:
    found = {cut.id: cut for cuts in load_data(str(spec)).values() for cut in cuts}
    return [found[name] for name in sorted(found)]


def test_every_dialect_has_a_maker_and_a_line_in_the_docs():
    assert sorted(dialects()) == sorted(MAKERS)
    (section,) = re.findall(r"^## Tables of other tools\n(.*?)^## ", DOCS.read_text(), re.M | re.S)
    assert sorted(re.findall(r"^\| `(\w+):", section, re.M)) == sorted(dialects())


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_is_read_as_named_and_as_guessed(name, home):
    samples = {n: load_waveform(c) for n, c in zip(TEXTS, cuts_of(table(home)), strict=True)}
    (home / "t.tsv").unlink()
    place = MAKERS[name](home)
    assert guess(place) == name
    spec = f"{name}:{place}"
    cuts = cuts_of(spec)
    assert [cut.supervisions[0].text for cut in cuts] == list(TEXTS.values())
    for cut, wave in zip(cuts, samples.values(), strict=True):
        assert load_waveform(cut).equal(wave)
    assert [c.to_dict() for c in cuts_of(place)] == [c.to_dict() for c in cuts]
    said = [note for note in find_data(str(place)).notes if note.startswith("read as ")]
    assert len(said) == (0 if name == "table" else 1)
    assert data_name(spec) == place.name
    assert default_folder(spec).name == place.name.partition(".")[0]


def test_a_folder_has_a_table_per_split(home):
    lines = [f"{n}.wav\t16000" for n in TEXTS]
    write(home / "train.tsv", str(home), *lines[:2])
    write(home / "train.wrd", "one", "")  # a text that is empty is none
    with pytest.raises(DataError, match=r"not a line for each file[\s\S]*1 lines for 2 files"):
        load_data(str(home))
    write(home / "train.wrd", "one", "two")
    write(home / "valid.tsv", str(home), *lines[2:])
    data = load_data(f"fairseq:{home}")
    assert {n: [c.supervisions[0].text for c in s] for n, s in data.items()} == {
        "train": ["one", "two"],
        "dev": [None, None],
    }
    with pytest.raises(DataError, match="the folder of the audio is not there"):
        load_data(f"fairseq:{write(home / 'gone.tsv', '/no/such/folder', *lines)}")


def test_tables_of_ones_own_in_a_folder(home):
    write(home / "train.csv", "audio,text", "a.wav,one", "b.wav,two")
    write(home / "validation.csv", "audio,text", "c.wav,three", "x.wav,four")
    with pytest.raises(DataError, match=r"validation.csv, row 3: no such audio file"):
        load_data(str(home))
    write(home / "validation.csv", "audio,text", "c.wav,three")
    assert {n: len(s) for n, s in load_data(str(home)).items()} == {"train": 2, "dev": 1}


def test_a_label_per_folder(home):
    for name, place in zip(TEXTS, ("train/x", "train/y", "test/x", "test/y"), strict=True):
        (home / place).mkdir(parents=True)
        (home / f"{name}.wav").rename(home / place / f"{name}.wav")
    data = load_data(f"audiofolder:{home}")
    labels = {n: [c.supervisions[0].custom["label"] for c in s] for n, s in data.items()}
    assert labels == {"train": ["x", "y"], "test": ["x", "y"]}
    with pytest.raises(DataError, match="no cuts and no table that is known"):
        load_data(str(home))


def test_segments_are_parts(home):
    data = kaldi(home)
    write(data / "segments", "u1 a 0.25 0.75", "u2 a 0.5 -1")
    write(data / "text", "u1 eins", "u2")
    write(data / "utt2spk", "u1 s", "u2 s")
    first, second = cuts_of(data)
    assert (first.id, first.start, first.duration) == ("u1", 0.25, 0.5)
    assert (second.duration, second.supervisions[0].text) == (0.5, None)


def test_no_command_of_a_kaldi_folder_runs(home, tmp_path):
    data = kaldi(home)
    write(data / "wav.scp", f"a touch {tmp_path}/ran |", "b x.ark:12", "c audio/c.wav", "d -")
    write(data / "utt2spk", "a s", "z s")
    write(data / "reco2file_and_channel", "c c B")
    with pytest.raises(DataError) as caught:
        load_data(f"kaldi:{data}")
    for part in (
        "wav.scp, row 1: a: its audio comes from a command, and none is run: touch",
        "wav.scp, row 2: b: its audio is no file of its own: x.ark:12",
        "wav.scp, row 4: d: its audio is no file of its own: -",
        "utt2spk, row 2: there is no 'z' in wav.scp",
        "reco2file_and_channel, row 1: c: a channel is asked for",
    ):
        assert part in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_audio_inside_a_data_set_is_kept_with_what_is_prepared(home, tmp_path):
    place = datasets(home)
    assert [c.supervisions[0].custom.get("intent") for c in cuts_of(place)] == [
        *("on", "off", "on", None)
    ]
    prepare_data(f"datasets:{place}", tmp_path / "out")
    assert len(list((tmp_path / "out" / "audio").iterdir())) == len(TEXTS)
    assert len(cuts_of(tmp_path / "out")) == len(TEXTS)
    state = {"_data_files": [{"filename": "../../private.arrow"}]}
    write(place / "state.json", json.dumps(state))
    with pytest.raises(DataError, match="it leaves its folder"):
        load_data(str(place))
    write(place / "dataset_info.json", "[]")
    with pytest.raises(DataError, match="the data set cannot be read"):
        load_data(str(place))


def test_a_row_with_two_bars_too_many(home):
    place = ljspeech(home)
    write(place / "metadata.csv", "a|one|one", "b|two|2|zwei")
    with pytest.raises(DataError, match="row 2: it does not have as many fields"):
        load_data(f"ljspeech:{place}")
    write(place / "metadata.csv", "a|one", "a|two")
    with pytest.raises(DataError, match="row 2: row 1 has the id 'a' too"):
        load_data(f"ljspeech:{place}")


def test_names_and_paths(home, monkeypatch):
    place = nemo(home)
    with pytest.raises(SettingsError, match=r"unknown corpus or kind of table[\s\S]*'nemo'"):
        load_data(f"nmo:{place}")
    with pytest.raises(DataError, match=rf"this is not kaldi[\s\S]*did you mean nemo:{place}"):
        load_data(f"kaldi:{place}")
    with pytest.raises(DataError, match=r"no such data[\s\S]*did you mean 'manifest.json'"):
        load_data(f"nemo:{home}/manifst.json")
    with pytest.raises(SettingsError, match="nothing is downloaded"):
        load_data("https://example.org/t.csv")
    for path in (r"C:\x.csv", "lang=de/a:b.csv", "x:y"):
        with pytest.raises(DataError, match="no such data"):
            load_data(path)
    monkeypatch.chdir(home)
    Path("sub").mkdir()
    table(home).rename("sub/t.tsv")
    moved(home, "sub")
    assert len(cuts_of(r"sub\t.tsv")) == len(TEXTS)
    Path("sub").rename("kaldi:sub")
    assert len(cuts_of("kaldi:sub/t.tsv")) == len(TEXTS)

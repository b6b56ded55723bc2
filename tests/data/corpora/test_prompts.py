from __future__ import annotations

import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from corpus_trees import prompts

from speechft.cli.app import main
from speechft.core.errors import DataError
from speechft.data import external_programs
from speechft.data.audio import load_waveform, read_audio
from speechft.data.decoding import decode, read_header
from speechft.data.load import find_data, load_data


def test_no_voice_of_the_test_is_trained_on_and_no_prompt_is_in_two_splits(corpus_tree):
    root = corpus_tree("prompts")
    data = load_data(f"prompts:{root}")
    assert list(data) == ["train", "dev", "test", "pretrain"]
    own = {n: [c.supervisions[0] for c in data[n]] for n in ("train", "dev", "test")}
    for name in ("train", "test"):
        assert {s.language for s in own[name]} == {"cs", "nl", "es", "fr", "it"}
    voices = {name: {s.speaker for s in own[name]} for name in own}
    assert voices["dev"] <= voices["train"]
    assert not voices["train"] & voices["test"]
    names = [{(s.language, s.id.removeprefix(f"{s.speaker}-")) for s in own[n]} for n in own]
    assert not any(one & other for one, other in combinations(names, 2))
    assert not any("digits-1" in s.id or "beep" in s.id for part in own.values() for s in part)
    assert {c.supervisions[0].language for c in data["pretrain"]} == {None}
    wave = load_waveform(next(c for c in data["train"] if c.supervisions[0].language == "es"))
    power = torch.fft.rfft(wave).abs().square()
    assert float(power[len(power) // 2 + 200 :].sum() / power.sum()) < 1e-3


def test_dialogue_that_is_kept_aside_is_tested_on_where_that_is_asked_for(corpus_tree):
    root = corpus_tree("prompts")
    usual, other = load_data(f"prompts:{root}"), load_data(f"prompts:{root}@aside")
    ids = [{p: {c.id for c in d[p]} for p in ("train", "dev", "test")} for d in (usual, other)]
    acted = [{i for i in own["test"] if i.startswith(("cs-", "nl-"))} for own in ids]
    assert all(acted)
    assert not acted[0] & acted[1]
    assert ids[0]["test"] - acted[0] == ids[1]["test"] - acted[1]
    assert ids[0]["train"] == ids[1]["train"]


def test_a_prompt_that_whisper_cannot_take_is_left_out(corpus_tree):
    root = corpus_tree("prompts")
    found = [path for path in root.rglob("*.g722") if path.parent.name == "es_MX_f_Allison"]
    long, other = (found[0].with_name(f"{name}.g722") for name in ("demo-a", "demo-b"))
    prompts.write(long, np.zeros(31 * 16000))
    prompts.write(other, np.zeros(29 * 16000))
    data = load_data(f"prompts:{root}")
    ids = {cut.id for part in data.values() for cut in part}
    assert "es_MX_f_Allison-demo-b" in ids
    assert "es_MX_f_Allison-demo-a" not in ids


def test_without_fillets_there_are_three_languages(corpus_tree):
    root = corpus_tree("prompts")
    shutil.rmtree(root.parents[1] / "games")
    loaded = find_data(f"prompts:{root.parents[3]}")
    assert {c.supervisions[0].language for c in loaded.splits["train"]} == {"es", "fr", "it"}
    assert any("no Czech and no Dutch" in note for note in loaded.notes)


@pytest.mark.parametrize("suffix", [".g722", ".alaw", ".gsm"])
def test_files_without_a_header_are_read_by_their_names(suffix, tmp_path, synthetic_splits):
    time = np.arange(16000) / 16000
    wave = 0.3 * np.sin(2 * np.pi * 440 * time)
    path = tmp_path / f"a{suffix}"
    prompts.write(path, wave)
    samples, rate = decode(path)
    assert read_header(path) == (rate, len(samples), 1)
    assert rate == (16000 if suffix == ".g722" else 8000)
    heard = read_audio(path).numpy()
    found = np.argmax(np.abs(np.fft.rfft(heard[:16000] * np.hanning(len(heard[:16000])))))
    assert abs(found - 440) < 3
    part, _ = decode(path, 0.25, 0.5)
    np.testing.assert_array_equal(part[:, 0], samples[rate // 4 : 3 * rate // 4, 0])


def test_g722_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    prompts.write(tmp_path / "a.g722", np.zeros(16000))
    monkeypatch.setitem(__import__("sys").modules, "G722", None)
    with pytest.raises(DataError, match=r"not installed[\s\S]*g722>=1\.2"):
        decode(tmp_path / "a.g722")


@pytest.fixture
def apt(monkeypatch, corpus_tree):
    """Tools that download and unpack in the place of Debian's."""
    tree = corpus_tree("fillets").parents[3]
    calls = []

    def run(command, cwd, **_):
        calls.append(command)
        if command[0] == "apt-get":
            for name in command[3:]:
                (Path(cwd) / f"{name}_1_all.deb").touch()
        else:
            (Path(cwd) / "usr/share/doc" / command[2].partition("_")[0]).mkdir(parents=True)
            (Path(cwd) / "usr/share/doc/copyright").write_text(command[2])
            if "-cs_" in command[2]:
                shutil.copytree(tree / "usr", Path(cwd) / "usr", dirs_exist_ok=True)
        return type("Done", (), {"returncode": 0, "stderr": "", "stdout": ""})

    monkeypatch.setattr(external_programs.shutil, "which", lambda tool: f"/usr/bin/{tool}")
    monkeypatch.setattr(external_programs.subprocess, "run", run)
    return calls


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return ended.value.code


def test_download_is_said_on_the_command_line_alone(apt, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"apt-get download fillets-ng-data"):
        load_data("fillets:nowhere")
    assert run("data", "prepare", "fillets", "--download") == 0
    assert [command[0] for command in apt] == ["apt-get", *["dpkg"] * 3]
    assert not list(Path("data/fillets-packages").glob("*.deb"))
    assert len(load_data("data/fillets")["train"]) > 10
    assert run("data", "prepare", "fillets", "--download") == 0
    assert len(apt) == 4  # what is there is not fetched again


def test_download_fetches_what_a_folder_lacks(apt, tmp_path, monkeypatch):
    """A folder with other packages was a dead end: it was there, and the corpus not complete."""
    monkeypatch.chdir(tmp_path)
    kept = Path("human/usr/share/doc")
    (kept / "fillets-ng-data").mkdir(parents=True)
    (kept / "copyright").write_text("mine")
    assert run("data", "prepare", "fillets", "human", "--download") == 0
    assert apt[0][3:] == ["fillets-ng-data-cs", "fillets-ng-data-nl"]
    assert (kept / "copyright").read_text() == "mine"
    assert len(load_data("data/fillets")["train"]) > 10
    assert not [path.name for path in Path("human").iterdir() if path.name != "usr"]


def test_download_says_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(external_programs.shutil, "which", lambda _: None)
    with pytest.raises(DataError, match=r"no apt-get here[\s\S]*dpkg -x each"):
        external_programs.fetch_packages(("a",), tmp_path / "root")
    assert not (tmp_path / "root").exists()
    assert run("data", "prepare", "timit", "--download") == 2
    assert "in no package" in capsys.readouterr().err

"""Hours in one row of a table: `finetune` asked for 115 GB, `evaluate` was silent for minutes.

Attention over T frames needs memory as T times T, so that a long row ends in no memory after all
the work before. It is refused before any by every command that does not crop; what runs out of
memory nevertheless says in one line what to lower.
"""

from __future__ import annotations

import os
import shutil
import time
import wave

import pytest

from speechft import analyze, embed, evaluate, finetune, merge, pretrain
from speechft.analysis.alpha.settings import AlphaSettings
from speechft.analysis.alpha.stage import unlabelled
from speechft.cli import error_messages
from speechft.cli.app import main
from speechft.core.errors import DataError
from speechft.data.load import refuse_long
from speechft.encoders import build_encoder
from speechft.pipeline.recipe.stage import RunSettings, run
from speechft.probing.inputs import read_data


@pytest.fixture
def home(tmp_path, tone, tiny_config):
    rows = ["audio,text,speaker,split"]
    for n, split in enumerate(("train", "train", "dev", "dev", "test", "test")):
        tone(f"{n}.wav", seconds=1.0 if n != 1 else 125.0, rate=8000, hz=200 + 50 * n)
        rows.append(f"{n}.wav,yes,s{n % 2},{split}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    build_encoder(tiny_config, seed=0).save(tmp_path / "encoder")
    return tmp_path


def test_every_command_refuses_it(home):
    encoder, data = str(home / "encoder"), str(home / "t.csv")
    calls = {
        finetune: {"encoder": encoder, "task": "asr", "steps": 1},
        evaluate: {"encoders": [encoder], "tasks": ["asr"]},
        pretrain: {"init": encoder, "layer": 1, "clusters": 2, "steps": 1},
        analyze: {"base": encoder, "encoders": [encoder], "split": "train"},
    }
    said = r"an utterance is longer[\s\S]*at most 120 s[\s\S]*t-000003 \(125 s\)[\s\S]*max_seconds"
    for command, settings in calls.items():
        with pytest.raises(DataError, match=said):
            command(data=data, out=home / "out" / str(len(settings)), **settings)
    left = [path.name for path in (home / "out").rglob("*") if path.suffix != ".lock"]
    assert not [name for name in left if name.endswith((".pt", ".jsonl", ".safetensors"))]


@pytest.fixture
def three_hours(home):
    """Three hours of silence in the second row; the file takes no room on the disk."""
    with wave.open(str(home / "1.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(b"")
    size = 2 * 8000 * 3 * 3600
    with (home / "1.wav").open("r+b") as file:
        file.seek(4)
        file.write((36 + size).to_bytes(4, "little"))
        file.seek(40)
        file.write(size.to_bytes(4, "little"))
    os.truncate(home / "1.wav", 44 + size)
    return home


def test_three_hours_are_refused_before_work(three_hours, monkeypatch):
    home = three_hours
    monkeypatch.chdir(home)
    shutil.copytree("encoder", "tuned")
    encoder, tables = {"encoder": "encoder", "task": "asr", "steps": 1}, {"data": "t.csv"}
    lines = (home / "t.csv").read_text().splitlines()
    (home / "short.csv").write_text("\n".join([*lines[:2], *lines[3:]]))
    alpha = {"base": "encoder", "tuned": "tuned", "data": "t.csv", "split": "train"}
    recipe = {"name": "x", "encoder": "encoder", "data": "short.csv", "finetune": {"task": "asr"}}
    tested = {"tasks": ["asr"], "data": "t.csv"}
    calls = {
        "finetune": lambda: finetune(**encoder, **tables, out="out"),
        "rehearsal": lambda: finetune(
            **encoder, data="short.csv", rehearsal_share=0.5, rehearsal_data="t.csv", out="out"
        ),
        "evaluate": lambda: evaluate(encoders=["encoder"], tasks=["asr"], **tables, out="out"),
        "pretrain": lambda: pretrain(
            init="encoder", layer=1, clusters=2, steps=1, **tables, out="out"
        ),
        "analyze": lambda: analyze(
            base="encoder", encoders=["tuned"], split="train", **tables, out="out"
        ),
        "alpha": lambda: unlabelled(AlphaSettings(**alpha, by="similarity", out="out")),
        "merge": lambda: merge(
            base="encoder", tuned=["tuned"], method="regmean", gram_data=["t.csv"], out="out"
        ),
        "embed": lambda: embed(encoder="encoder", audio=["1.wav"], out="out.npz"),
        "run": lambda: run(RunSettings(**recipe, evaluate=tested), home / "out"),
    }
    for name, call in calls.items():
        begun = time.process_time()
        with pytest.raises(DataError, match=r"longer[\s\S]*at most 120 s[\s\S]*10800") as error:
            call()
        assert time.process_time() - begun < 10, name
        assert ("max_seconds" in str(error.value)) is (name != "merge"), name
    assert not [path for path in home.rglob("*") if path.suffix in (".pt", ".npz", ".jsonl")]


def test_a_run_reads_as_its_steps_will(home, monkeypatch):
    """What an evaluation allows was refused before the first step, as too long for the default."""
    monkeypatch.chdir(home)
    (home / "r.yaml").write_text(
        "{name: x, encoder: encoder, data: t.csv, finetune: {task: asr, max_seconds: 200},"
        " evaluate: {tasks: [asr], max_seconds: 200}}"
    )
    with pytest.raises(SystemExit) as ended:
        main(["run", "r.yaml", "--dry-run", "--out", "out"])
    assert ended.value.code == 0


def test_what_is_cropped_and_what_is_allowed_is_taken(home):
    data = str(home / "t.csv")
    assert "train@sid" in read_data(data, ["sid"]).splits  # 8 s of a training utterance
    assert read_data(data, ["asr"], longest=130.0)
    with pytest.raises(DataError, match="longer than one pass"):
        read_data(data, ["sid"], longest=0.5)


def test_known_corpora_were_exempt(home):
    cuts = list(read_data(str(home / "t.csv"), ["asr"], longest=130.0).splits["train"])
    refuse_long(f"voxceleb1:{home}", cuts)  # its longest utterance has 145 s
    for data, longest in ((f"librispeech:{home}", 120.0), (f"voxceleb1:{home}", 100.0)):
        with pytest.raises(DataError, match=f"at most {longest:g} s"):
            refuse_long(data, cuts, longest)


@pytest.mark.parametrize(
    ("error", "arguments", "said"),
    [
        (
            RuntimeError("CUDA out of memory. Tried to allocate 115.00 GiB. GPU 0 has"),
            ["finetune"],
            "--set seconds",
        ),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
            ["evaluate"],
            "--set batch_seconds",
        ),
        (MemoryError(), ["merge"], "fewer encoders"),
        (RuntimeError("MPS backend out of memory (MPS allocated"), ["run"], "finetune.seconds"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when"), ["predict"], "--window"),
    ],
)
def test_no_memory_is_one_message(error, arguments, said, capsys):
    assert error_messages.explain(error, arguments) == 1
    message = capsys.readouterr().err
    assert message.startswith("Error: there is not enough memory")
    assert said in message
    assert len(message.splitlines()) == 2

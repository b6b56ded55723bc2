"""Hours in one row of a table: `finetune` asked for 115 GB, `evaluate` was silent for minutes.

Attention over T frames needs memory as T times T, so that a long row ends in no memory after all
the work before. It is refused before any by every command that does not crop; what runs out of
memory nevertheless says in one line what to lower.
"""

from __future__ import annotations

import pytest

from speechft import analyze, evaluate, finetune, pretrain
from speechft.cli import failures
from speechft.core.errors import DataError
from speechft.data.sources import refuse_long
from speechft.encoders import build_encoder
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


def test_what_is_cropped_and_what_is_allowed_is_taken(home):
    data = str(home / "t.csv")
    assert "train@sid" in read_data(data, ["sid"]).splits  # 8 s of a training utterance
    assert read_data(data, ["asr"], longest=130.0)
    with pytest.raises(DataError, match="longer than one pass"):
        read_data(data, ["sid"], longest=0.5)
    known = list(read_data(data, ["asr"], longest=130.0).splits["train"])
    refuse_long(f"voxceleb1:{home}", known)  # its longest utterances have 145 s


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
    ],
)
def test_no_memory_is_one_message(error, arguments, said, capsys):
    assert failures.explain(error, arguments) == 1
    message = capsys.readouterr().err
    assert message.startswith("Error: there is not enough memory")
    assert said in message
    assert len(message.splitlines()) == 2

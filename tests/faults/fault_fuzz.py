"""Seeded fuzzers: inputs that a few bytes make wrong are taken or refused, and nothing else."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from fault_world import Outcome

from speechft.core.errors import SpeechFTError
from speechft.core.settings import read_yaml

INPUTS: Final = 25
_PIECES: Final = (
    *(
        b"",
        b"\0",
        b"\xff",
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b",",
        b":",
        b"\n",
        b"-1",
        b"1e999",
        b"NaN",
    ),
    *(
        b"null",
        b"true",
        b"../",
        b"\\",
        b"\x1b[31m",
        b"9" * 40,
        b"&a",
        b"*a",
        b"!!",
        b"\xf0\x9f\x8e\xa4",
    ),
)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Give bytes with some changed, left out, doubled, or replaced by what readers stumble over."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        place = chance.randrange(len(found) + 1)
        kind = chance.randrange(4)
        if kind == 0 and place < len(found):
            found[place] = chance.randrange(256)
        elif kind == 1:
            del found[place : place + chance.randint(1, 40)]
        elif kind == 2:
            found[place:place] = found[place : place + chance.randint(1, 40)]
        else:
            found[place : place + chance.randrange(3)] = chance.choice(_PIECES)
    return bytes(found)


def _recipe(path: Path) -> None:
    from speechft.core.settings import parse_settings
    from speechft.pipeline.recipe.stage import RunSettings

    parse_settings(RunSettings, read_yaml(path), str(path))


def _table(path: Path) -> None:
    from speechft.data.sources import load_data

    load_data(str(path))


def _encoder(path: Path) -> None:
    from speechft.encoders.checkpoint import check_complete
    from speechft.encoders.load import read_checkpoint

    check_complete(read_checkpoint(path.parent if path.name == "config.json" else path))


def _header(path: Path) -> None:
    from speechft.merging.tensorfile import TensorFile

    TensorFile(path).close()


def _state(path: Path) -> None:
    from speechft.training.state import load_state

    load_state(path.parent)


def _record(path: Path) -> None:
    from speechft.core.artifact import Artifact, read_record

    read_record(path.parent)
    _ = Artifact(path.parent, "convert", {"source": "x"}).done


def _results(path: Path) -> None:
    from speechft.reporting.settings import ReportSettings
    from speechft.reporting.stage import report

    report(ReportSettings(runs=[str(path.parent)], out=path.parent / "page"))


def _seed_cuts() -> tuple[str, bytes]:
    from fault_inputs import DATA

    return "bad.jsonl", Path(DATA["cuts of an unknown type"]()).read_bytes().replace(
        b"Nothing", b"MonoCut"
    )


def _seed_torch() -> tuple[str, bytes]:
    from safetensors.torch import load_file

    torch.save({"model": load_file("enc/model.safetensors")}, "bad.pt")
    return "bad.pt", Path("bad.pt").read_bytes()


def _seed_state() -> tuple[str, bytes]:
    torch.save({"module": {"x": torch.ones(3)}, "position": {}, "progress": {}}, "state.pt")
    return "states/update-3.pt", Path("state.pt").read_bytes()


def _seed_results() -> tuple[str, bytes]:
    line = {
        **{"encoder": "enc", "task": "sid", "metric": "acc", "value": 50.0, "seed": 0},
        **{"encoder_id": "0" * 64, "suite": "own", "split": "test"},
    }
    return "scores/results.jsonl", (json.dumps(line) + "\n").encode() * 2


def _seed_record() -> tuple[str, bytes]:
    record = {"stage": "convert", "depends": {"source": "x"}, "products": {"a": {"size": 1}}}
    return "made/speechft.json", json.dumps(record).encode()


def _file(name: str) -> Callable[[], tuple[str, bytes]]:
    return lambda: (name, Path(name).read_bytes())


Target = tuple[Callable[[], tuple[str, bytes]], Callable[[Path], None]]
TARGETS: Final[dict[str, Target]] = {
    "recipe": (_file("recipe.yaml"), _recipe),
    "table": (_file("data.csv"), _table),
    "cuts": (_seed_cuts, _table),
    "checkpoint": (_seed_torch, _encoder),
    "config": (_file("enc/config.json"), _encoder),
    "safetensors header": (_file("enc/model.safetensors"), _header),
    "state": (_seed_state, _state),
    "record": (_seed_record, _record),
    "results": (_seed_results, _results),
}


def fuzz(target: str, seed: int, inputs: int = INPUTS) -> Outcome:
    """Read many wrong inputs of a kind; the outcome's text holds the first that was a crash."""
    make, read = TARGETS[target]
    name, good = make()
    chance = random.Random(f"{target} {seed}")
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    longest = 0.0
    for number in range(inputs):
        head = good[:4000] if target in ("safetensors header", "checkpoint", "state") else good
        path.write_bytes(mutated(head, chance) + good[len(head) :])
        started = time.process_time()
        try:
            read(path)
        except SpeechFTError:
            pass
        except Exception as error:
            kept = Path(f"crash-{number}")
            kept.write_bytes(path.read_bytes())
            said = f"Traceback: input {number}: {type(error).__name__}: {error}"
            return Outcome(1, said[:2000], 0.0, ())
        longest = max(longest, time.process_time() - started)
    return Outcome(0, "", longest, ())

"""Seeded fuzzers: inputs that a few bytes make wrong are taken or refused, and nothing else.

A row of the table reads 25 inputs. `make fuzz` reads for as long as it is told, and keeps in
results/fuzzing.json what came of it: `python fault_fuzz.py TARGET SECONDS [SEED]`. A finding
names its seed and its input: `python fault_fuzz.py TARGET 0 SEED INPUT` reads that one alone.
"""

from __future__ import annotations

import copy
import datetime
import faulthandler
import io
import json
import os
import random
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from fault_world import Hangs, Outcome, alarm, build, run

from speechft.core.errors import SpeechFTError
from speechft.core.yaml12 import load_yaml, read_yaml

INPUTS: Final = 25
LIMIT: Final = 10
"""Seconds after which an input hangs."""
MOST_GROWTH: Final = 64
"""MB that a process may grow by after the first tenth of its time."""
KEPT: Final = Path(__file__).resolve().parents[2] / "results" / "fuzzing.json"
_PIECES: Final = (
    *(b"", b"\0", b"\xff", b"{", b"}", b"[", b"]", b'"', b",", b":", b"\n", b"-1", b"1e999", b"|"),
    *(b"null", b"true", b"NaN", b"../", b"\\", b"\t", b"\x1b[31m", b"9" * 40, b"&a", b"*a", b"!!"),
    *(b"\xf0\x9f\x8e\xa4", b"~", b"- ", b"? ", b"\xef\xbb\xbf", b"0x1f", b"pipe:touch ran;"),
)
_VALUES: Final = (
    *(None, True, False, 0, -1, 1, 10**9, 10**40, 0.5, -0.0, 1e308, 5e-324, "", " ", "x", "../x"),
    *("\0", "\ud800", "[/b]", "9" * 40, "nan", [], {}, [[]], [None], {"": 0}, ["x"] * 3, [1, 2.5]),
)
Files = dict[str, bytes]


@dataclass(frozen=True)
class Target:
    """What is fuzzed.

    Attributes:
        make: gives the files of a good input, by name, in the current folder.
        read: reads them; what is not an error of speechft's own is a finding.
        odd: of the files, the ones that are made wrong; all of them, where none is named.
        after: what is done to them then.
    """

    make: Callable[[], Files]
    read: Callable[[], object]
    odd: tuple[str, ...] = ()
    after: Callable[[random.Random], object] = lambda _: None


@dataclass
class Reading:
    """What came of reading for a while.

    Attributes:
        date: of the last day.
        seed: of its inputs.
        seconds: by the clock.
        inputs: that were read.
        refused: of these, with a message.
        slowest: seconds of computing that one took.
        grew_mb: what the process grew by after the first tenth of the time.
        finding: the first input that was neither taken nor refused; empty if there is none.
    """

    date: str
    seed: int
    seconds: float = 0.0
    inputs: int = 0
    refused: int = 0
    slowest: float = 0.0
    grew_mb: float = 0.0
    finding: str = ""


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Give bytes with some changed, left out, doubled, or replaced by what readers stumble over."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        place = chance.randrange(len(found) + 1)
        kind = chance.randrange(5)
        if kind == 0 and place < len(found):
            found[place] = chance.randrange(256)
        elif kind == 1:
            del found[place : place + chance.randint(1, 40)]
        elif kind == 2:
            found[place:place] = found[place : place + chance.randint(1, 40)]
        elif kind == 3:
            other = chance.randrange(len(found) + 1)
            found[place:place] = found[other : other + chance.randint(1, 40)]
        else:
            found[place : place + chance.randrange(3)] = chance.choice(_PIECES)
    return bytes(found)


def _other_values(value: Any, chance: random.Random) -> Any:
    """Give a JSON value with one or two values within it replaced, left out, or moved."""
    root = [copy.deepcopy(value)]
    for _ in range(chance.randint(1, 2)):
        places = list(_places(root))
        holder, key = chance.choice(places)
        kind = chance.randrange(4)
        if kind == 0 and isinstance(holder, dict):
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[chance.choice(_PIECES).decode("utf-8", "replace")] = holder.pop(key)
        elif kind == 2:
            other, name = chance.choice(places)
            holder[key] = copy.deepcopy(other[name])
        else:
            holder[key] = copy.deepcopy(chance.choice(_VALUES))
    return root[0]


def _places(value: Any) -> Any:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in pairs:
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


def _wrong(name: str, data: bytes, chance: random.Random) -> bytes:
    """Make a file wrong: its bytes, or the values that it holds."""
    if chance.random() < 0.4:
        long = name.endswith((".safetensors", ".pt", ".bin"))
        head = data[:4000] if long else data
        return mutated(head, chance) + data[len(head) :]
    if name.endswith(".safetensors"):
        end = 8 + int.from_bytes(data[:8], "little")
        text = json.dumps(_other_values(json.loads(data[8:end]), chance)).encode()
        return len(text).to_bytes(8, "little") + text + data[end:]
    if name.endswith(".pt"):
        return _other_pickle(data, chance)
    if name.endswith(".jsonl"):
        lines = [json.loads(line) for line in data.splitlines()]
        changed = _other_values(lines, chance)
        held = changed if isinstance(changed, list) else [changed]
        return "".join(json.dumps(line) + "\n" for line in held).encode()
    if name.endswith((".json", ".yaml")):
        held = load_yaml(data.decode()) if name.endswith(".yaml") else json.loads(data)
        return json.dumps(_other_values(held, chance), default=str).encode()
    return mutated(data, chance)


def _other_pickle(data: bytes, chance: random.Random) -> bytes:
    """Give a file of torch.save whose checksums are right and whose pickle is not."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w") as new:
        for name in old.namelist():
            held = old.read(name)
            new.writestr(name, mutated(held, chance) if name.endswith("data.pkl") else held)
    return made.getvalue()


def _recipe() -> None:
    from speechft.core.settings import parse_settings
    from speechft.pipeline.recipe.stage import RunSettings

    parse_settings(RunSettings, read_yaml(Path("recipe.yaml")), "recipe.yaml")
    _command("run", "recipe.yaml", "--dry-run", "--out", "planned")


def _command(*arguments: str) -> None:
    outcome = run(arguments)
    wrong = outcome.faults(frozenset({0, 2, 3, 4}))
    assert not wrong, f"{wrong}\n{outcome.text}"


def _data(name: str) -> Callable[[], None]:
    def read() -> None:
        from speechft.data.load import load_data

        load_data(name)
        _command("data", "check", name)

    return read


def _encoder(*names: str) -> Callable[[], None]:
    def read() -> None:
        from speechft.encoders.checkpoint import check_complete
        from speechft.encoders.load import read_checkpoint

        for name in names:
            check_complete(read_checkpoint(Path(name)))

    return read


def _header() -> None:
    from safetensors import SafetensorError, safe_open

    from speechft.merging.tensorfile import TensorFile

    path = Path("enc/model.safetensors")
    try:
        with safe_open(path, "pt") as file:
            taken = set(file.keys())
    except SafetensorError:
        taken = None
    try:
        with closing(TensorFile(path)) as file:
            own = set(file.tensors)
    except SpeechFTError:
        if taken is not None:
            raise AssertionError("safetensors takes this file") from None
        raise
    assert own == taken, "what safetensors takes is read otherwise"


def _state() -> None:
    from speechft.training.resume_state import load_state

    found = load_state(Path("states"))
    sound = Path("sealed-anew").exists() or found is None
    assert sound or torch.equal(found["module"]["x"], torch.ones(3)), "a damaged state was taken"


def _record() -> None:
    from speechft.core.artifact import Artifact, read_record

    read_record(Path("made"))
    _ = Artifact(Path("made"), "convert", {"source": "x"}).done


def _results() -> None:
    from speechft.reporting.settings import ReportSettings
    from speechft.reporting.stage import report

    _command("leaderboard", "scores")
    report(ReportSettings(runs=["scores"], out=Path("scores/page")))


def _store() -> None:
    from speechft.hidden.disk_store import StoreFolder

    found = StoreFolder(Path("store"), "0" * 64, "float32", 1e9).find({"a": True, "b": False})
    for name, own in found.items():
        same = torch.equal(own.mean, _states()[name].mean) and own.length == 2
        assert same, "damaged hidden states were taken"


def _states() -> dict[str, Any]:
    from speechft.hidden.states import Encoded

    frames = torch.arange(12.0).view(3, 2, 2)
    return {"a": Encoded(frames.mean(1), 2, frames), "b": Encoded(frames.mean(1) + 1, 2)}


def _seed_cuts() -> Files:
    from fault_inputs import DATA

    text = Path(DATA["cuts of an unknown type"]()).read_bytes().replace(b"Nothing", b"MonoCut")
    cut = json.loads(text)
    said = {"id": "s", "recording_id": "r", "start": 0.0, "duration": 0.5, "channel": 0}
    cut["supervisions"] = [{**said, "text": "one two", "speaker": "a", "custom": {"label": "x"}}]
    other = {**cut, "id": "d", "custom": {"split": "test"}}
    return {"bad.jsonl": b"".join(json.dumps(one).encode() + b"\n" for one in (cut, other))}


def _seed_torch() -> Files:
    for name, kind in (("fairseq.pt", "fairseq"), ("s3prl.pt", "s3prl")):
        _command("convert", "enc", name, "--to", kind)
    return {name: Path(name).read_bytes() for name in ("fairseq.pt", "s3prl.pt")}


def _seed_state() -> Files:
    from speechft.training.resume_state import save_state

    state = {"module": {"x": torch.ones(3)}, "position": {"epoch": 1}, "progress": {"best": 0.5}}
    Path("states").mkdir(exist_ok=True)
    save_state(Path("states"), 3, state)
    return _all_of("states")


def _seal_anew(chance: random.Random) -> None:
    """Let a state be wrong in itself half of the time, not by what happened to it since."""
    from speechft.core.checksum_files import seal

    Path("sealed-anew").unlink(missing_ok=True)
    if chance.random() < 0.5:
        seal(Path("states/update-3.pt"))
        Path("sealed-anew").touch()


def _seed_results() -> Files:
    line = {
        **{"encoder": "enc", "task": "sid", "metric": "acc", "value": 50.0, "seed": 0},
        **{"encoder_id": "0" * 64, "suite": "own", "split": "test", "direction": "higher"},
    }
    return {"scores/results.jsonl": (json.dumps(line) + "\n").encode() * 2}


def _seed_record() -> Files:
    from speechft.core.artifact import Artifact

    Path("made").mkdir(exist_ok=True)
    Path("made/a").write_bytes(b"x")
    Artifact(Path("made"), "convert", {"source": "x"}).end(["a"])
    return _all_of("made")


def _seed_store() -> Files:
    from speechft.hidden.disk_store import StoreFolder

    StoreFolder(Path("store"), "0" * 64, "float32", 1e9).write(_states())
    return {name: data for name, data in _all_of("store").items() if not name.endswith(".lock")}


def _all_of(folder: str) -> Files:
    return {str(p): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def _file(name: str) -> Callable[[], Files]:
    return lambda: {name: Path(name).read_bytes()}


def _folder(name: str) -> Callable[[], Files]:
    return lambda: _all_of(name)


TARGETS: Final[dict[str, Target]] = {
    "recipe": Target(_file("recipe.yaml"), _recipe),
    "table": Target(_file("data.csv"), _data("data.csv")),
    "cuts": Target(_seed_cuts, _data("bad.jsonl")),
    "checkpoint": Target(_seed_torch, _encoder("fairseq.pt", "s3prl.pt")),
    "config": Target(_folder("enc"), _encoder("enc"), ("enc/config.json",)),
    "safetensors header": Target(_file("enc/model.safetensors"), _header),
    "state": Target(_seed_state, _state, after=_seal_anew),
    "store": Target(_seed_store, _store),
    "record": Target(_seed_record, _record),
    "results": Target(_seed_results, _results),
}


def fuzz(target: str, seed: int, inputs: int = INPUTS) -> Outcome:
    """Read many wrong inputs of a kind; the outcome's text holds the first that was a crash."""
    found = read_for(target, seed, 1e9, range(inputs))
    said = f"Traceback: {found.finding}" if found.finding else ""
    return Outcome(int(bool(said)), said[:2000], found.slowest, ())


def read_for(target: str, seed: int, seconds: float, numbers: range) -> Reading:
    """Read wrong inputs of a kind, each made of the seed and its number, to the first finding.

    Args:
        target: what is read.
        seed: of the inputs.
        seconds: after which no other is begun.
        numbers: of the inputs.
    """
    own = TARGETS[target]
    good = own.make()
    _write(good)
    own.read()
    found = Reading(datetime.date.today().isoformat(), seed)
    started, before = time.monotonic(), 0.0
    for number in numbers:
        if time.monotonic() - started > seconds:
            break
        if not before and time.monotonic() - started > seconds / 10:
            before = _memory_mb()
        found.inputs += 1
        found.finding = _read_one(own, good, random.Random(f"{target} {seed} {number}"), found)
        if found.finding:
            found.finding = f"seed {seed}, input {number}: {found.finding}"
            break
    found.seconds = round(time.monotonic() - started, 1)
    found.slowest = round(found.slowest, 2)
    found.grew_mb = round(_memory_mb() - before, 1) if before else 0.0
    if found.grew_mb > MOST_GROWTH and not found.finding:
        found.finding = f"seed {seed}: the process grew by {found.grew_mb} MB"
    return found


def _read_one(own: Target, good: Mapping[str, bytes], chance: random.Random, of: Reading) -> str:
    """Make an input, read it, and say what is wrong with how that ended."""
    odd = chance.choice(own.odd or tuple(good))
    _write({**good, odd: _wrong(odd, good[odd], chance)})
    own.after(chance)
    started = time.process_time()
    try:
        with alarm(LIMIT):
            own.read()
    except SpeechFTError:
        of.refused += 1
    except Hangs:
        return f"it takes more than {LIMIT} s"
    except Exception as error:
        return f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
    of.slowest = max(of.slowest, time.process_time() - started)
    return "a command of the input has run" if Path("ran").exists() else ""


def _write(files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(data)


def _memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _main(target: str, seconds: str, seed: str = "", number: str = "") -> int:
    """Read inputs of a kind for some seconds, or one of them again, and keep what came of it."""
    torch.set_num_threads(1)
    one = int(number) if number else None
    numbers = range(1 << 62) if one is None else range(one, one + 1)
    limit = float(seconds) if one is None else 1e9
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(build(Path(folder) / "world"))
        faulthandler.dump_traceback_later(limit + 120, exit=True)  # a hang that hears no signal
        found = read_for(target, int(seed) if seed else int(time.time()), limit, numbers)
        faulthandler.cancel_dump_traceback_later()
        os.chdir("/")
    print(json.dumps({"target": target, **asdict(found)}, indent=1), flush=True)
    if one is None:
        kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
        kept[target] = asdict(found)
        KEPT.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n", encoding="utf-8")
    return int(bool(found.finding))


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))

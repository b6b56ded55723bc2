"""The table of faults: each row a command, what is bad, and what should come of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import fault_fuzz
import fault_inputs as bad
import fault_processes
from fault_inputs import Make
from fault_world import Outcome, run

SEEDS: Final = 6
FULL: Final = (300, 3_000, 30_000)
"""Bytes that a file may have on a disk that is full."""
OUT: Final = "OUT"
IT: Final = "IT"
"""In a command: the bad input."""


@dataclass(frozen=True)
class Row:
    """One fault.

    Attributes:
        kind: of fault, as the page lists them.
        name: unlike any other's.
        do: makes the fault in the current folder and gives what came of it.
        expects: the exit codes that are right.
        changes: beginnings of the names of files that the command may change.
    """

    kind: str
    name: str
    do: Callable[[], Outcome]
    expects: frozenset[int]
    changes: tuple[str, ...] = ()


def _command(make: Make, arguments: Sequence[str]) -> Callable[[], Outcome]:
    def do() -> Outcome:
        name = make()
        return run([a.replace(IT, name) if a in (IT, f"--config={IT}") else a for a in arguments])

    return do


_TRAIN: Final = ("--steps", "1", "--set", "seconds=4", "--set", "threads=1", "--out", OUT)
_FINETUNE: Final = ("--task", "sid", "--head-size", "mini", *_TRAIN)
_EVALUATE: Final = ("--tasks", "sid", "--steps", "1", "--out", OUT)
_UNITS: Final = ("--clusters", "2", "--layer", "1", *_TRAIN)
#: Commands with an ENCODER.
OF_ENCODERS: Final[dict[str, tuple[str, ...]]] = {
    "inspect": ("inspect", IT),
    "convert": ("convert", IT, OUT, "--to", "hf"),
    "merge": ("merge", IT, "tuned", "--out", OUT),
    "merge, tuned": ("merge", "enc", IT, "--out", OUT),
    "embed": ("embed", IT, "audio", "--out", "out.npz"),
    "finetune": ("finetune", "--encoder", IT, "--data", "data.csv", *_FINETUNE),
    "evaluate": ("evaluate", IT, "--data", "data.csv", *_EVALUATE),
    "analyze": ("analyze", "enc", IT, "--data", "data.csv", "--out", OUT),
    "pretrain": ("pretrain", "--init", IT, "--data", "data.csv", *_UNITS),
}
#: Commands with DATA.
OF_DATA: Final[dict[str, tuple[str, ...]]] = {
    "data check": ("data", "check", IT),
    "data prepare": ("data", "prepare", IT, "--out", OUT),
    "finetune": ("finetune", "--encoder", "enc", "--data", IT, *_FINETUNE),
    "evaluate": ("evaluate", "enc", "--data", IT, *_EVALUATE),
    "pretrain": ("pretrain", "--init", "enc", "--data", IT, *_UNITS),
    "analyze": ("analyze", "enc", "tuned", "--data", IT, "--out", OUT),
}
#: Commands that are whole, for faults of settings and places.
WHOLE: Final[dict[str, tuple[str, ...]]] = {
    "inspect": ("inspect", "enc"),
    "convert": ("convert", "enc", OUT, "--to", "hf"),
    "merge": ("merge", "enc", "tuned", "--out", OUT),
    "embed": ("embed", "enc", "audio", "--out", "out.npz"),
    "finetune": ("finetune", "--encoder", "enc", "--data", "data.csv", *_FINETUNE),
    "evaluate": ("evaluate", "enc", "--data", "data.csv", *_EVALUATE),
    "analyze": ("analyze", "enc", "tuned", "--data", "data.csv", "--out", OUT),
    "pretrain": ("pretrain", "--init", "enc", "--data", "data.csv", *_UNITS),
    "data check": ("data", "check", "data.csv"),
    "data prepare": ("data", "prepare", "data.csv", "--out", OUT),
    "run": ("run", "recipe.yaml", "--out", OUT),
}
#: What follows a whole command and is wrong.
ARGUMENTS: Final[dict[str, tuple[str, ...]]] = {
    "an unknown option": ("--sedd", "1"),
    "an option without its value": ("--set",),
    "a setting without its value": ("--set", "seed"),
    "a setting that is not there": ("--set", "sedd=1"),
    "a setting inside of one that has none": ("--set", "seed.x=1"),
    "a setting that cannot be read": ("--set", "out=[1"),
    "one word more": ("--", "word", "more"),
}
#: Settings of numbers, where a command has them.
NUMBERS: Final[dict[str, tuple[str, ...]]] = {
    "finetune": ("steps", "learning_rate", "seconds", "seed", "hours"),
    "pretrain": ("steps", "learning_rate", "seconds", "seed", "mask_share", "mask_span"),
    "evaluate": ("steps", "seed"),
    "merge": ("seed", "threads", "alpha"),
    "embed": ("batch_seconds", "max_seconds"),
    "analyze": ("utterances", "seed"),
}
VALUES: Final = ("-1", "nan", "inf", "many", "[]", "1e400", "9" * 400)


def rows() -> list[Row]:
    """Give the whole table."""
    two = frozenset({2})
    found = [
        Row("encoders", f"{command}: {name}", _command(make, arguments), _codes(command, name, 4))
        for command, arguments in OF_ENCODERS.items()
        for name, make in bad.ENCODERS.items()
    ]
    found += [
        Row("data", f"{command}: {name}", _command(make, arguments), _codes(command, name, 3))
        for command, arguments in OF_DATA.items()
        for name, make in bad.DATA.items()
    ]
    found += [
        Row("unusual data", f"{command}: {name}", _command(make, arguments), frozenset({0, 2, 3}))
        for command, arguments in OF_DATA.items()
        for name, make in bad.UNUSUAL.items()
    ]
    found += _settings(two)
    found += _places()
    found += [
        Row("fuzzed", f"{name}, seed {n}", partial(fault_fuzz.fuzz, name, n), frozenset({0}))
        for name in fault_fuzz.TARGETS
        for n in range(SEEDS)
    ]
    found += [
        Row("stopped", name, do, codes, changes=("out",))
        for name, (do, codes) in fault_processes.ROWS.items()
    ]
    return found


#: What some commands take, with a word of it, or do not look at.
_TAKEN: Final = {
    **dict.fromkeys(("NaN weights", "infinite weights"), ("inspect", "convert")),
    **dict.fromkeys(
        ("no config", "config of an unknown type", "config of a text model"),
        ("merge", "merge, tuned"),
    ),
    "transformers' names without a config": ("merge, tuned",),
    **dict.fromkeys(("audio of one sample", "NaN audio", "infinite audio"), ("analyze",)),
}


def _codes(command: str, name: str, usual: int) -> frozenset[int]:
    return frozenset({2, usual} | ({0} if command in _TAKEN.get(name, ()) else set()))


def _settings(two: frozenset[int]) -> list[Row]:
    files = {
        **{
            c: (*a, "--config", IT)
            for c, a in WHOLE.items()
            if c not in ("run", "data check", "data prepare")
        },
        **{"run": ("run", IT, "--out", OUT), "study": ("study", IT, "--out", OUT)},
    }
    found = [
        Row("settings", f"{command}: a file that is {name}", _command(make, arguments), two)
        for command, arguments in files.items()
        for name, make in bad.SETTINGS.items()
        if not (name in ("empty", "null") and command not in ("run", "study"))
    ]
    found += [
        Row(
            "settings",
            f"{command}: {name}",
            _command(lambda: "", (*arguments, *more)),
            two if "word" not in name else frozenset({2, 3, 4}),
        )
        for command, arguments in WHOLE.items()
        for name, more in ARGUMENTS.items()
        if "setting" not in name or not command.startswith("data")
    ]
    found += [
        Row(
            "settings",
            f"{command}: {key}={value[:8]}",
            _command(lambda: "", (*WHOLE[command], "--set", f"{key}={value}")),
            two,
        )
        for command, keys in NUMBERS.items()
        for key in keys
        for value in VALUES
        if (key, value) not in _FINE
    ]
    return found


_ANY: Final = frozenset({1, 2, 3, 4})
_FINE: Final = {("seed", "-1"), ("alpha", "-1"), ("alpha", "[]")}


def _places() -> list[Row]:
    found = []
    for command, arguments in WHOLE.items():
        if OUT not in arguments:
            continue
        for name, (make, codes) in bad.PLACES.items():
            found.append(Row("places", f"{command}: {name}", _placed(make, arguments), codes))
        for name, make in bad.FINE_PLACES.items():
            found.append(
                Row("places", f"{command}: {name}", _placed(make, arguments), frozenset({0}))
            )
        found += [
            Row(
                "places",
                f"{command}: a disk that is full, after {limit} bytes",
                _full(arguments, limit),
                frozenset({0, 1, 2}),
            )
            for limit in FULL
        ]
        found.append(
            Row(
                "places",
                f"{command}: a folder that is gone",
                _gone(arguments),
                frozenset({1, 2, 3, 4}),
            )
        )
    return found


def _placed(make: Make, arguments: Sequence[str]) -> Callable[[], Outcome]:
    def do() -> Outcome:
        out = make()
        outcome = run([out if a == OUT else a for a in arguments])
        if outcome.code == 0 and "\0" not in out and Path("far").is_dir():
            assert Path("out").is_symlink(), "the link was replaced"
            assert any(Path("far").iterdir()), "nothing was written where the link leads"
        return outcome

    return do


def _full(arguments: Sequence[str], limit: int) -> Callable[[], Outcome]:
    """No file may become longer than some bytes: what a full disk looks like to a writer.

    Nothing temporary stays, and with room the same command ends well.
    """

    def do() -> Outcome:
        import resource

        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
        command = ["out" if a == OUT else a for a in arguments]
        try:
            outcome = run(command)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        left = [f"{path} left" for path in Path().rglob("*.tmp") if path.parts[0] != "theirs"]
        again = run(command)
        if again.code:
            left.append(f"the same command with room: {again.text[-500:]}")
        lost = [name for name in again.lost if not name.startswith("out")]
        return replace(outcome, lost=(*outcome.lost, *lost, *left))

    return do


def _gone(arguments: Sequence[str]) -> Callable[[], Outcome]:
    def do() -> Outcome:
        here = Path.cwd()
        (here / "gone").mkdir()
        os.chdir(here / "gone")
        (here / "gone").rmdir()
        try:
            return run(["out" if a == OUT else a for a in arguments])
        finally:
            os.chdir(here)

    return do

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

from speechft.cli import error_messages
from speechft.cli.app import main
from speechft.cli.command_table import COMMANDS, Command
from speechft.core.errors import CheckpointError, DataError, SettingsError
from speechft.core.stopping import Stopped

REPORT = ("report", str(Path(__file__).parent), "--out", "page")  # any folder
HEAVY = ("torch", "transformers", "lhotse", "pydantic", "numpy", "matplotlib", "yaml")


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    return int(caught.value.code or 0)


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def loaded_by_help(*command: str) -> list[str]:
    """Give the modules that a process of its own has loaded after `--help`, behind a mark."""
    code = (
        "import sys\nfrom speechft.cli.app import main\n"
        "try:\n    main([*sys.argv[1:], '--help'])\nexcept SystemExit:\n    pass\n"
        "print('IMPORTED', *sys.modules, file=sys.stderr)"
    )
    return python(code, *command).stderr.split()


def test_help_imports_nothing_heavy() -> None:
    loaded = loaded_by_help()
    assert "IMPORTED" in loaded
    assert not set(HEAVY) & {module.split(".")[0] for module in loaded}


def test_api_imports_nothing_heavy() -> None:
    code = "import sys, speechft\nprint(*sorted({m.split('.')[0] for m in sys.modules}))"
    assert not set(HEAVY) & set(python(code).stdout.split())


def test_help_loads_no_code_of_a_stage() -> None:
    """What makes help quick: of the package itself, the command line's own modules alone."""
    loaded = {module for module in loaded_by_help() if module.startswith("speechft.")}
    assert "speechft.cli.app" in loaded
    assert loaded <= {
        *("speechft.api", "speechft.cli.console", "speechft.core.errors"),
        "speechft.core.stopping",
        "speechft.cli",
        "speechft.cli.app",
        "speechft.cli.command_table",
        "speechft.core",
        *("speechft.core.escaping", "speechft.core.nearest_names"),
        "speechft.core.registry",
        "speechft._version",
    }


def test_help_lists_every_command_in_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert call("--help") == 0
    text = capsys.readouterr().out
    assert max(map(cell_len, text.splitlines())) <= 80
    for entry in COMMANDS:
        assert re.search(rf"  {entry.name} +{re.escape(entry.help)}\n", text), entry.name


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_help_of_a_command_loads_no_model_code(entry: Command) -> None:
    loaded = {m.split(".")[0] for m in loaded_by_help(*entry.name.split())}
    assert "IMPORTED" in loaded
    assert not loaded & {"torch", "transformers", "lhotse", "numpy", "matplotlib", "rich"}


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_every_command_has_help(entry: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*entry.name.split(), "--help") == 0
    assert f"speechft {entry.name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [["finetun"], ["merge"], ["merge", "--nope"], [], ["data"], ["--sed", "3"]],
)
def test_usage_errors_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*arguments) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out


def test_misspelt_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    call("finetun")
    assert "did you mean 'finetune'" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert re.fullmatch(r"speechft \d+\.\d+\.\d+\n", capsys.readouterr().out)


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    import speechft.reporting.stage as module

    def report(settings: object) -> None:
        raise error

    monkeypatch.setattr(module, "report", report)


@pytest.mark.parametrize(
    ("error", "code"),
    [(SettingsError("bad"), 2), (DataError("bad"), 3), (CheckpointError("bad"), 4)],
)
def test_errors_become_messages_and_codes(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
) -> None:
    raising(monkeypatch, error)
    assert call(*REPORT) == code
    captured = capsys.readouterr()
    assert captured.err.startswith("Error: bad\n  next:     ")
    assert captured.out == ""


def test_of_several_processes_one_does_what_is_no_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(monkeypatch, SettingsError("done here"))
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert call(*REPORT) == 0
    assert not capsys.readouterr().err
    monkeypatch.setenv("RANK", "0")
    assert call(*REPORT) == 2
    assert "report: one of the 2 processes that were started does it all" in capsys.readouterr().err
    assert not {"WORLD_SIZE", "RANK", "LOCAL_RANK"} & os.environ.keys()


def test_interrupt_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(monkeypatch, KeyboardInterrupt())
    assert call(*REPORT) == 130
    message = capsys.readouterr().err
    assert "the same command begins anew:\n  speechft report" in message
    assert "Traceback" not in message


def test_a_training_that_was_stopped_says_what_is_kept(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stopped = Stopped("The state after update 3 of 9 is kept in runs/x", signal.SIGTERM)
    assert error_messages.explain(stopped, ["finetune", "--out", "runs/x"]) == 143
    said = "Stopped. The state after update 3 of 9 is kept in runs/x; the same command goes on:"
    assert said in capsys.readouterr().err


def test_an_interrupt_before_the_first_state_promises_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert error_messages.explain(KeyboardInterrupt(), ["finetune", "--out", "runs/x"]) == 130
    assert "Nothing was kept since the last state in --out, if there" in capsys.readouterr().err


def test_full_disk_is_said_plainly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(monkeypatch, OSError(errno.ENOSPC, "No space left on device", "/some/file"))
    assert call(*REPORT) == 1
    message = capsys.readouterr().err
    assert "no space left on the disk" in message
    assert "/some/file" in message
    assert "Traceback" not in message


def test_unexpected_error_leaves_a_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(error_messages.tempfile, "tempdir", str(tmp_path))
    raising(monkeypatch, RuntimeError("surprise"))
    assert call(*REPORT) == 1
    message = capsys.readouterr().err
    assert "RuntimeError: surprise" in message
    assert "Traceback" not in message
    (log,) = tmp_path.iterdir()
    assert str(log) in message
    assert "Traceback" in log.read_text()


def test_debug_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(monkeypatch, DataError("bad"))
    assert call("--debug", *REPORT) == 3
    assert "Traceback" in capsys.readouterr().err

"""Where the figures of a run are shown while it trains, through accelerate's trackers."""

from __future__ import annotations

import errno
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal
from uuid import uuid4

from speechft.core.errors import SettingsError, SpeechFTError
from speechft.core.extras import pip_install

Log = Literal["tensorboard", "wandb", "trackio", "none"]
PROJECT: Final = "speechft"
_ID: Final = "log-id"


class Tracker:
    """Shows figures in a place; `metrics.jsonl` has them all in any case.

    Args:
        log: `tensorboard` (events in the run's folder), `wandb`, `trackio`, or `none`.
        folder: of the run, whose name is that of the run there, too.
        done: updates that were done before.

    Raises:
        SettingsError: what is needed is not installed.
        SpeechFTError: it does not start.
    """

    def __init__(self, log: Log, folder: Path, done: int = 0) -> None:
        self._inner: Any = None
        if log == "none":
            return
        if find_spec(log) is None:
            raise SettingsError(
                f"{log} is not installed",
                where="log",
                hint=f"{pip_install(log)}, or `--log tensorboard`",
            )
        try:
            self._inner = _opened(log, folder, done)
        except Exception as error:  # of a service, of any kind
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EFBIG):
                raise
            raise SpeechFTError(
                f"{log} does not start",
                where="log",
                found=f"{type(error).__name__}: {error}".splitlines()[0],
                hint="`--log tensorboard` needs no service, `WANDB_MODE=offline` no network",
            ) from error

    def log(self, figures: dict[str, Any], update: int) -> None:
        """Show figures of an update."""
        if self._inner is not None:
            self._inner.log(figures, step=update)

    def close(self) -> None:
        """Show what has not been shown yet."""
        if self._inner is not None:
            self._inner.finish()


def _opened(log: Log, folder: Path, done: int) -> Any:
    from accelerate.tracking import TensorBoardTracker, TrackioTracker, WandBTracker

    if log == "tensorboard":
        threading.excepthook = _raised_again
        made = TensorBoardTracker(log, logging_dir=folder, purge_step=done + 1)
    elif log == "trackio":
        made = TrackioTracker(PROJECT, name=_name(folder), resume="allow")
    else:
        made = WandBTracker(PROJECT, dir=folder, name=folder.name, id=_name(folder), resume="allow")
    made.start()
    # Services are told by themselves: accelerate below 1.14 tells trackio no update.
    return made if log == "tensorboard" else made.tracker


def _raised_again(ended: threading.ExceptHookArgs) -> None:
    """Say nothing of a writer that cannot write: it is raised where the next figure is given."""
    if not issubclass(ended.exc_type, OSError):
        threading.__excepthook__(ended)


def _name(folder: Path) -> str:
    """Give the name of the run, which it keeps when it goes on and no other has."""
    file = folder / "checkpoints" / _ID
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{folder.name}-{uuid4().hex[:8]}", encoding="utf-8")
    return file.read_text(encoding="utf-8")

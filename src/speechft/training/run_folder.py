"""The folder of a run that trains: whether it may be gone on with, and what its record says."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, Final

from speechft.core.artifact import BEGUN, Artifact, dependencies, read_record
from speechft.core.errors import CheckpointError, SettingsError
from speechft.core.files import RECORD, products_of
from speechft.core.logging import get_logger
from speechft.core.settings import Settings
from speechft.training.distributed import all_processes, at_work, on_main
from speechft.training.resume_state import FOLDER

log = get_logger(__name__)
LAST_GOOD: Final = "encoder-last-good"
_OF_A_RUN: Final = re.compile(
    rf"(^|/)({re.escape(BEGUN)}|metrics\.jsonl|(units|rehearsal-units)\.npz(\.sha256)?"
    rf"|rehearsal-predictor\.safetensors|{FOLDER}/(update-\d+(\.pt(\.sha256)?|/[\w.]+)|log-id)"
    r"|tensorboard/events\.out\.tfevents\.[^/]+"
    r"|(encoder[\w-]*/)?(head(-[\w:.-]+)?\.safetensors|task(-[\w:.-]+)?\.json)"
    r"|encoder[\w-]*/(config\.json|preprocessor_config\.json|(model|extras)\.safetensors|heard\.gz))$"
)


_BATCHES: Final = ("accumulate", "processes")  # whose product is the batches of an update


def run_artifact(
    folder: Path,
    stage: str,
    settings: Settings,
    known: Mapping[str, str] | None = None,
    whole: Artifact | None = None,
) -> Artifact:
    """Give the folder of a run as what it depends on: settings, inputs, batches per update.

    A run has the batches of an update that it began with, whatever number of processes goes on:
    those of each process times the number of processes.

    Args:
        folder: of the run.
        stage: that makes it.
        settings: of the stage.
        known: name of an input → identity.
        whole: the run that this one is a part of, if it is one.
    """
    now = all_processes().num_processes

    def look() -> dict[str, Any]:
        depends = dependencies(settings, known)
        own = {"accumulate": depends.pop("accumulate", 1), "processes": now}
        before = whole.depends if whole else _depends(Artifact(folder, stage, {}).before)
        then = {name: before.get(name, 1) for name in _BATCHES}
        if before and (
            then["accumulate"] == own["accumulate"] or prod(then.values()) == prod(own.values())
        ):
            own = then
        return {**depends, **{name: number for name, number in own.items() if number != 1}}

    return Artifact(folder, stage, on_main(look), getattr(settings, "version", 1), settings)


def batches_per_update(depends: Mapping[str, Any]) -> int:
    """Give the batches of a run's update, of all processes together, by what it depends on."""
    return prod(int(depends.get(name, 1)) for name in _BATCHES)


def warn_of_other_batches(parent: Path, batches: int) -> None:
    """Say so where an update has more or fewer batches than in the run that is gone on from."""
    before = batches_per_update(_depends(read_record(parent)))
    if before != batches:
        log.warning(
            "batches of an update: %d; in %s: %d (accumulate times the processes that began)",
            *(batches, parent, before),
        )


def _depends(record: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Give what a record says of a run's dependencies, if that can be read."""
    found = (record or {}).get("depends")
    if not isinstance(found, Mapping):
        return {}
    return found if all(isinstance(found.get(name, 1), int) for name in _BATCHES) else {}


def _refuse_uneven(artifact: Artifact) -> None:
    processes, batches = all_processes().num_processes, batches_per_update(artifact.depends)
    if batches % processes:
        raise SettingsError(
            "the batches of an update cannot be shared out evenly",
            where=artifact.folder,
            expected=f"a number of processes that divides {batches}, with which the run began",
            found=f"{processes} processes",
        )
    if processes != artifact.depends.get("processes", 1):
        said = "%s: an update has %d batches, as it had where the run began with other processes"
        log.info(said, artifact.stage, batches)


def carry_out(artifact: Artifact, threads: int, work: Callable[[], None]) -> Path:
    """Do the work of a run in its folder, unless that is done; give the folder.

    Raises:
        SettingsError: another run is at work there, or the folder is of another stage.
    """
    folder = artifact.folder
    if artifact.done:
        log.info("%s: already done in %s", artifact.stage, folder)
        return folder
    artifact.refuse_other_stage()
    _refuse_uneven(artifact)
    with at_work(folder, threads):
        work()
    gc.collect()  # the parts of a run refer to each other: a GPU would keep its weights till then
    return folder


def files_of_run(folder: Path) -> set[str]:
    """Give the files that trainings have made in a folder and below, ended or not.

    They are those that records name, and those of a training's own names: states, logs, encoders
    that were kept on the way. All else is the user's.
    """
    named = {
        (record.parent / name).relative_to(folder).as_posix()
        for record in folder.rglob(RECORD)
        for name in products_of(record.parent)
    }
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return named | {name for name in found if _OF_A_RUN.search(name)}


def begin(artifact: Artifact, *, replace: bool = False) -> None:
    """Note that work begins, or goes on.

    Args:
        artifact: of the run.
        replace: take the place of what other settings began.

    Raises:
        SettingsError: other settings began what is there.
        CheckpointError: there are states of a run, and nothing says of which.
    """
    states = next(artifact.folder.rglob(FOLDER), None)
    if artifact.before is None and states is not None:
        begun = artifact.folder / BEGUN
        raise CheckpointError(
            "there are states of a run, but nothing says of which",
            where=states,
            expected=begun,
            found="a file that cannot be read" if begun.exists() else "no such file",
            hint=f"remove {artifact.folder} to begin anew, or choose another --out",
        )
    with _other_length_is_said(artifact):
        artifact.begin(replace=replace)


def refuse_other(artifact: Artifact) -> None:
    """Refuse to go on with what other settings began, before anything is changed.

    Raises:
        SettingsError: other settings began what is there.
    """
    with _other_length_is_said(artifact):
        artifact.refuse_other()


@contextmanager
def _other_length_is_said(artifact: Artifact) -> Iterator[None]:
    try:
        yield
    except SettingsError as error:
        names = [change.partition(":")[0] for change in artifact.changes()]
        if not names or any(name.rpartition(".")[2] != "steps" for name in names):
            raise
        raise SettingsError(
            "the folder holds a run of another length, and none can be made longer or shorter",
            where=artifact.folder,
            expected=error.expected,
            found=error.found,
            hint="choose another --out; to train what this one has made further, add "
            + (
                f"--continue {artifact.folder}"
                if artifact.stage == "finetune"
                else f"--init {artifact.folder}/encoder"
            ),
        ) from None


def about(settings: Settings, parents: Mapping[str, str]) -> dict[str, Any]:
    """Give what a record says for people: all settings, and the weights that a run began with."""
    plain = settings.model_dump(mode="json", exclude={"out"})
    return {"settings": plain, "parents": dict(parents)}

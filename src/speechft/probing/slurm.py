"""Every encoder, task and seed as a job of its own, submitted through submitit."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from speechft.core.errors import SettingsError
from speechft.core.logging import get_logger
from speechft.probing.cells import Cell
from speechft.probing.data import read_all
from speechft.probing.encoders import open_encoder
from speechft.probing.failures import Failure, failure
from speechft.probing.job import Place, Workplace
from speechft.probing.outcome import Outcome
from speechft.probing.settings import EvaluateSettings
from speechft.probing.shares import choose_device

LOGS: Final = "jobs"
# What submitit calls the same on every kind of cluster.
_COMMON: Final = frozenset(
    {"name", "nodes", "tasks_per_node", "cpus_per_task", "gpus_per_node", "mem_gb", "timeout_min"}
)
_POLL_SECONDS: Final = 2.0
_logger = get_logger(__name__)


def slurm_executor(settings: EvaluateSettings) -> Any:
    """Give submitit's executor with the options of `slurm`.

    Raises:
        SettingsError: submitit is not there, there is no SLURM, or an option is unknown.
    """
    try:
        import submitit
    except ImportError:
        raise SettingsError(
            "launcher slurm needs the package submitit",
            hint='pip install "speechft[slurm]"',
        ) from None
    try:
        executor = submitit.AutoExecutor(folder=settings.out / LOGS, cluster="slurm")
        options = {_option(key): value for key, value in settings.slurm.items()}
        executor.update_parameters(**{"name": "speechft-evaluate", **options})
    except (RuntimeError, NameError, TypeError, ValueError) as error:
        raise SettingsError(
            "the jobs cannot be submitted to SLURM",
            where="slurm",
            expected="options of submitit, such as partition, timeout_min, gpus_per_node",
            found=error,
        ) from None
    return executor


def _option(key: str) -> str:
    """Give submitit's name of an option: SLURM's own ones begin with slurm_."""
    known = key in _COMMON or key.startswith("slurm_")
    return key if known else f"slurm_{key}"


def run_with_submitit(
    place: Workplace, executor: Any, on_cell: Callable[[], None] | None = None
) -> list[Outcome]:
    """Submit what is missing, wait for it, and collect; a job that fails stops no other.

    Jobs of one encoder share its hidden states through the store: whoever comes first computes a
    shard. If this process is stopped the jobs go on; the same command finds what they made.

    Args:
        place: settings and data.
        executor: of submitit.
        on_cell: called after each job that has ended.

    Returns:
        What came of each encoder, in the order of the settings.
    """
    settings = place.settings
    store = settings.store and settings.store.absolute()
    places = {"out": settings.out.absolute(), "store": store}
    values = settings.model_copy(update=places).model_dump(mode="json")
    outcomes = [Outcome() for _ in settings.encoders]
    wanted: list[tuple[int, Place]] = []
    cells_of: list[dict[Place, Cell]] = [{} for _ in settings.encoders]
    for index, spec in enumerate(settings.encoders):
        try:
            cells = place.cells(open_encoder(spec, "cpu").fingerprint(), place.places(spec))
        except Exception as error:
            outcomes[index].failures.append(failure(error, spec.label))
            continue
        cells_of[index] = cells
        outcomes[index].keys = [cell.key for cell in cells.values()]
        wanted += [(index, own) for own, cell in cells.items() if not place.is_done(cell)]
    if not wanted:
        return outcomes
    with executor.batch():
        jobs = [executor.submit(run_job, values, index, *own) for index, own in wanted]
    _logger.info("evaluate: submitted %d jobs; their logs are in %s", len(jobs), executor.folder)
    _wait(jobs, on_cell)
    for (index, own), job in zip(wanted, jobs, strict=True):
        _collect(outcomes[index], settings.encoders[index].label, own, job)
    for outcome, of in zip(outcomes, cells_of, strict=True):
        failed = {(f.task, f.seed) for f in outcome.failures}
        outcome.keys = [cell.key for own, cell in of.items() if own not in failed]
    return outcomes


def run_job(values: dict[str, Any], index: int, task: str, seed: int) -> dict[str, Any]:
    """Do one job: one encoder, one task, one seed. Runs on another machine.

    Args:
        values: the settings as plain values.
        index: of the encoder.
        task: id.
        seed: of the probe.
    """
    settings = EvaluateSettings.model_validate(values)
    data = read_all(settings, only=task)
    place = Workplace(settings, data, choose_device(settings.device))
    return place.run(settings.encoders[index], tasks=[task], seeds=[seed]).to_dict()


def _wait(jobs: list[Any], on_cell: Callable[[], None] | None) -> None:
    waiting = list(jobs)
    while waiting:
        still = [job for job in waiting if not job.done()]
        for _ in range(len(waiting) - len(still)):
            if on_cell is not None:
                on_cell()
        waiting = still
        if waiting:
            time.sleep(_POLL_SECONDS)


def _collect(outcome: Outcome, encoder: str, own: Place, job: Any) -> None:
    """Add one job's outcome to its encoder's."""
    try:
        found = Outcome.from_dict(job.result())
    except Exception as error:
        outcome.failures.append(Failure(encoder, *own, failure(error, encoder).error))
        found = None
    if found is not None:
        outcome.failures += [Failure(encoder, *own, f.error) for f in found.failures]
        outcome.passes.utterances += found.passes.utterances
        outcome.passes.audio_seconds += found.passes.audio_seconds
        outcome.seconds += found.seconds

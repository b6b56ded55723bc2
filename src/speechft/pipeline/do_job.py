"""What does one job: in this process, in another one, or on another machine."""

from __future__ import annotations

import functools
import time
import traceback
from collections.abc import Mapping
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from speechft.analysis.alpha.settings import AlphaSettings
from speechft.analysis.settings import AnalyzeSettings
from speechft.core.artifact import Artifact, processor, read_object
from speechft.core.devices import computing_threads
from speechft.core.errors import DivergedError, SpeechFTError, error_of
from speechft.core.files import remove_leftovers, write_json
from speechft.core.locks import wait_for_lock
from speechft.core.logging import set_up_logging
from speechft.core.settings import Settings, parse_settings
from speechft.merging.settings import MergeSettings
from speechft.pipeline.graph import Job, log_of, note_of, settings_of
from speechft.pipeline.job_kinds import STAGES
from speechft.probing.settings import EvaluateSettings
from speechft.reporting.settings import ReportSettings
from speechft.training.finetune.settings import FinetuneSettings
from speechft.training.pretrain.settings import PretrainSettings

if TYPE_CHECKING:
    from speechft.hidden.front_end_cache import KeptFeatures

Answer = dict[str, Any]
STOPPED: Final = "stopped"
_KEPT_BYTES: Final = 2 << 30  # of front-end features, which most jobs have in common


def order_for(job: Job, *, replace: bool) -> dict[str, Any]:
    """Give what another process needs to know of a job, as plain values.

    Args:
        job: the job.
        replace: whether it takes the place of what other settings have left in its folder.
    """
    folder = job.folder.absolute()
    values = {**settings_of(job), "out": str(folder)}
    about = {"name": job.name, "verb": job.verb, "key": job.key, "replace": replace}
    return {**about, "settings": values}


def do_here(order: Mapping[str, Any]) -> Answer:
    """Do a job in this process.

    Args:
        order: see `order_for`.

    Returns:
        Nothing, or what went wrong as plain values: "error", and "diverged" where training did.
    """
    return _attempt(order)[0]


def _attempt(order: Mapping[str, Any]) -> tuple[Answer, bool]:
    """Do a job; give what went wrong, and whether there was anything to do."""
    try:
        return {}, _do(order)
    except SpeechFTError as error:
        return {"error": error.to_dict(), "diverged": isinstance(error, DivergedError)}, True
    except Exception as error:  # it stops no other job
        text = f"{type(error).__name__}: {error}"
        return {"error": {"crash": text, "traceback": traceback.format_exc()}}, True


def do_apart(order: Mapping[str, Any], threads: int) -> Answer:
    """Do a job in a process of its own, which may be on another machine.

    What it says goes to a file beside its folder, and how long it took to another one.

    Args:
        order: see `order_for`.
        threads: of numerical libraries; results depend on them in the last bits.

    Returns:
        As `do_here`.
    """
    folder = Path(order["settings"]["out"])
    log = log_of(folder)
    log.parent.mkdir(parents=True, exist_ok=True)
    set_up_logging(0)
    with ExitStack() as stack:
        file = stack.enter_context(log.open("a", encoding="utf-8"))
        stack.enter_context(redirect_stderr(file))
        stack.enter_context(redirect_stdout(file))
        stack.enter_context(computing_threads(threads))
        # Whom a killed command left behind may still be at work there.
        stack.enter_context(wait_for_lock(folder.with_name(f".{folder.name}.lock")))
        begin, clock = time.process_time(), time.perf_counter()
        before = _stopped(order)

        def taken() -> dict[str, float]:  # seconds of processor time, without what others do
            seconds, elapsed = time.process_time() - begin, time.perf_counter() - clock
            found = {"seconds": seconds, "elapsed": elapsed}
            return {name: round(before.get(name, 0) + own, 1) for name, own in found.items()}

        try:
            answer, worked = _attempt({**order, "apart": True})
        except BaseException:
            write_json(note_of(folder), {"key": order["key"], STOPPED: taken()})
            raise
        if "error" in answer:
            file.write(answer["error"].get("traceback") or f"{render(answer['error'])}\n")
            write_json(note_of(folder), {"key": order["key"], STOPPED: taken()})
        elif worked:
            note = {"key": order["key"], **taken(), "processor": processor()}
            write_json(note_of(folder), note)
    return answer


def _stopped(order: Mapping[str, Any]) -> dict[str, float]:
    """Give how long the job has been at work before it was stopped, or failed."""
    note = read_object(note_of(Path(order["settings"]["out"]))) or {}
    found = note.get(STOPPED) if note.get("key") == order["key"] else None
    return found if isinstance(found, dict) else {}


def render(error: Mapping[str, Any]) -> str:
    """Give the message of what went wrong."""
    return str(error["crash"]) if "crash" in error else str(as_error(error))


def as_error(error: Mapping[str, Any]) -> Exception:
    """Make an error again of its plain values."""
    if "crash" in error:
        return RuntimeError(error.get("traceback") or error["crash"])
    return error_of(error)


def _do(order: Mapping[str, Any]) -> bool:
    """Do a job; say False where its result was there."""
    stage, artifact = STAGES[order["verb"]], _artifact(order)
    if artifact.done:
        return False
    if order["replace"] and artifact.before is not None and artifact.changes():
        stage.clear(artifact)
    remove_leftovers(artifact.folder)
    _carry_out(_settings(order), artifact, apart=bool(order.get("apart")))
    return True


def _carry_out(settings: Settings, artifact: Artifact, *, apart: bool) -> None:
    """Do what the settings say; what does it is imported now, since planning needs no models.

    Args:
        settings: of a stage.
        artifact: its folder.
        apart: whether this process is one of several, which starts no others.
    """
    match settings:
        case PretrainSettings():
            from speechft.training.pretrain.stage import pretrain

            pretrain(settings)
        case FinetuneSettings():
            from speechft.training.finetune.stage import finetune

            finetune(settings, kept=_kept() if apart else None)
        case MergeSettings():
            from speechft.pipeline.merge import merge

            merge(settings)
        case AlphaSettings():
            from speechft.analysis.alpha.stage import choose_alpha

            choose_alpha(settings)
        case EvaluateSettings() if apart:
            from speechft.probing.evaluate import evaluate

            evaluate(settings, kept=_kept())
        case EvaluateSettings():
            from speechft.pipeline.parallel_evaluation import evaluate as evaluate_in_parallel

            evaluate_in_parallel(settings)
        case AnalyzeSettings():
            from speechft.analysis.stage import analyze

            analyze(settings)
        case ReportSettings():
            from speechft.reporting.stage import report

            artifact.begin(replace=True)
            report(settings)
            artifact.end(["report.html", "report.md", "table.csv", "table.tex", "figures"])
        case _:
            raise TypeError(f"no job has {type(settings).__name__}")


def _settings(order: Mapping[str, Any]) -> Settings:
    return parse_settings(STAGES[order["verb"]].settings, order["settings"], where=order["name"])


def _artifact(order: Mapping[str, Any]) -> Artifact:
    return STAGES[order["verb"]].artifact(_settings(order), None)


@functools.cache
def _kept() -> KeptFeatures:
    from speechft.hidden.front_end_cache import KeptFeatures

    return KeptFeatures(_KEPT_BYTES)

"""Several processes that train together: what one does for all, and what all agree on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, parse_flag_from_env
from torch.nn import Parameter

from speechft.core.devices import computing_threads, note_device
from speechft.core.errors import SpeechFTError
from speechft.core.locks import work_alone
from speechft.training.pieces import is_piece

T = TypeVar("T")
LONGEST: Final = timedelta(hours=2)
"""What the others wait for the one that hashes a corpus, or clusters it."""


def all_processes() -> PartialState:
    """Give what this process knows of the others; the first call joins them, on CPUs too.

    Where there is no GPU of NVIDIA the CPU is taken: no other device has been tested.
    """
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available()
    return PartialState(cpu=cpu, **({"timeout": LONGEST} if several else {}))


@contextmanager
def at_work(folder: Path, threads: int) -> Iterator[None]:
    """Let one run, of one process or several, have its folder for itself while the block runs.

    Args:
        folder: of the run; the main process holds its lock.
        threads: of numerical libraries, in each process.

    Raises:
        SettingsError: another run is at work there.
        SpeechFTError: another process of this run has ended.
    """
    state = all_processes()
    with ExitStack() as stack:
        stack.enter_context(_lost_process_is_said())
        on_main(lambda: stack.enter_context(work_alone(folder)))
        stack.enter_context(computing_threads(threads))
        note_device(state.device)
        yield
        state.wait_for_everyone()


def on_main(call: Callable[[], T]) -> T:
    """Call something in the main process alone; its answer, or its error, is that of all.

    Args:
        call: gives what can be pickled.
    """
    state = all_processes()
    if state.num_processes == 1:
        return call()
    answer: list[Any] = [None, None]
    if state.is_main_process:
        try:
            answer[0] = call()
        except SpeechFTError as error:
            answer[1] = error
    broadcast_object_list(answer)
    if answer[1] is not None:
        raise answer[1]
    result: T = answer[0]
    return result


def average_gradients(parameters: Sequence[Parameter], figures: Sequence[float]) -> list[float]:
    """Replace gradients by their mean over all processes; one that a process lacks counts as 0.

    Parameters without a gradient in any process keep none, so that no optimiser moves them.

    Args:
        parameters: the same in every process.
        figures: that are averaged, too.

    Returns:
        The mean of each figure.
    """
    state = all_processes()
    if state.num_processes == 1:
        return list(figures)
    parameters = [p for p in parameters if not is_piece(p)]  # those are averaged on the way back
    there = [float(p.grad is not None) for p in parameters]
    values = torch.tensor([*figures, *there], dtype=torch.float64, device=state.device)
    means = (_sum(values) / state.num_processes).tolist()
    for parameter, share in zip(parameters, means[len(figures) :], strict=True):
        if share > 0:
            own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = _sum(own) / state.num_processes
    return [float(mean) for mean in means[: len(figures)]]


def of_all(values: Mapping[int, T]) -> dict[int, T]:
    """Give what all processes have, in the order of its numbers; what can be pickled."""
    parts: list[Any] = [dict(values)]
    if (count := all_processes().num_processes) > 1:
        parts = [None] * count
        torch.distributed.all_gather_object(parts, dict(values))
    return dict(sorted((number, value) for part in parts for number, value in part.items()))


def least(value: float) -> float:
    """Give the least of all processes' values."""
    state = all_processes()
    if state.num_processes == 1:
        return value
    values = torch.tensor([value], dtype=torch.float64, device=state.device)
    torch.distributed.all_reduce(values, op=torch.distributed.ReduceOp.MIN)
    return float(values)


def _sum(tensor: torch.Tensor) -> torch.Tensor:
    torch.distributed.all_reduce(tensor)
    return tensor


@contextmanager
def _lost_process_is_said() -> Iterator[None]:
    """Turn what torch says of a closed connection, or of none that answers, into one message."""
    try:
        yield
    except RuntimeError as error:
        first = str(error).partition("\n")[0]
        if all_processes().num_processes == 1 or not _is_of_the_group(error):
            raise
        raise SpeechFTError(
            "another process that trains along has ended, or does not answer",
            found=first[:200],
            hint="see what the others said; the same command goes on from the last state",
        ) from None


def _is_of_the_group(error: RuntimeError) -> bool:
    words = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe", "timed out")
    known = isinstance(error, torch.distributed.DistError)
    return known or any(word in str(error).lower() for word in words)

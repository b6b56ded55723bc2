"""The streaming merge: plan every tensor, compute it in float32, round once, write it.

Peak memory is a few buffers for methods that work weight by weight, and a few times the largest
tensor for the others; it does not grow with the checkpoint.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from speechft.core.errors import CheckpointError
from speechft.merging.dtypes import STORAGE, Array, decode, encode
from speechft.merging.matching import Entry
from speechft.merging.methods import Method, TensorContext
from speechft.merging.planning import Plan, fused_names
from speechft.merging.ranges import all_finite, refuse_overflow
from speechft.merging.sources import Source
from speechft.merging.statistics import values_of
from speechft.merging.tensorfile import TensorInfo
from speechft.merging.weightnorm import fuse, split

#: Elements per step of weight-by-weight methods: 1 MB of float32 stays in the processor's cache.
STEP = 1 << 18
_LOCAL = threading.local()


def compute(plan: Plan, index: int, start: int = 0, stop: int | None = None) -> Array:
    """Give the stored bits of elements [start, stop) of one tensor of the result, 1-D.

    Raises:
        CheckpointError: an input holds NaN or infinity, or the result does not fit its type.
    """
    entry, out = plan.match.entries[index], plan.outputs[index]
    stop = out.count if stop is None else stop
    alpha = plan.alpha_of(entry)
    if not entry.tuned or (alpha == 0 and plan.method.base_at_zero):
        return _copied(plan.base, entry.base.name, out, start, stop)
    if alpha == 1 and _gives_last_tuned(plan):
        return _copied(plan.tuned[-1], entry.tuned[-1], out, start, stop)
    inputs = _inputs(plan, entry, start, stop)
    if not plan.method.elementwise:  # these may drop or decompose what they are given
        _refuse_not_finite(plan, entry, inputs)
    merged = _attempt(plan, entry, alpha, inputs)
    if merged is None or not all_finite(merged):
        merged = _retry(plan, entry, alpha, inputs)
    refuse_overflow(merged, out)
    return encode(_part(plan, entry, merged), out.dtype).reshape(-1)


def _gives_last_tuned(plan: Plan) -> bool:
    alone = plan.recipe.sequential or len(plan.tuned) == 1
    return alone and plan.method.tuned_at_one and not plan.recipe.parameters.get("weights")


def steps(plan: Plan) -> Iterator[tuple[int, int, int]]:
    """Give (index of the tensor, start, stop) of all parts that can be computed by themselves."""
    for index in range(len(plan.outputs)):
        for start, stop in _spans(plan, index):
            yield index, start, stop


def _spans(plan: Plan, index: int) -> Iterator[tuple[int, int]]:
    """Give (start, stop) of the parts of one tensor."""
    entry, count = plan.match.entries[index], plan.outputs[index].count
    whole = entry.tuned and (not plan.method.elementwise or entry.name in fused_names(plan))
    size = count if whole else STEP
    for start in range(0, count, max(size, 1)):
        yield start, min(start + size, count)


def stream(plan: Plan) -> Iterator[tuple[TensorInfo, Array]]:
    """Compute the result in memory: (name, type and shape; stored bits in that shape).

    The parts are those of files, since the order of sums may follow from a part's content.
    """
    for index, out in enumerate(plan.outputs):
        with steady(plan.method):
            parts = [compute(plan, index, *span) for span in _spans(plan, index)]
        stored = parts[0] if len(parts) == 1 else np.concatenate([*parts, _empty(out)])
        yield out, stored.reshape(out.shape)


def _empty(out: TensorInfo) -> Array:
    return np.empty(0, STORAGE[out.dtype])


@contextmanager
def steady(method: Method) -> Iterator[None]:
    """Hold BLAS to one thread where the last bits of a method depend on their number."""
    if not method.single_blas:
        yield
        return
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield


def _copied(source: Source, name: str, out: TensorInfo, start: int, stop: int) -> Array:
    stored = source.read(name, start, stop)
    dtype = source.tensors[name].dtype
    if dtype == out.dtype:
        return stored
    values = decode(stored, dtype)
    refuse_overflow(values, out)
    return encode(values, out.dtype)


def _inputs(plan: Plan, entry: Entry, start: int, stop: int) -> list[Array]:
    """Read [base, tuned...] in one precision; effective kernels where they are fused."""
    sources = [plan.base, *plan.tuned]
    names = [entry.base.name, *entry.tuned]
    if entry.name in (fused := fused_names(plan)):
        arrays = [_kernel(plan, fused[entry.name], place) for place in range(len(sources))]
    else:
        arrays = [
            source.values(name, start, stop, _buffer(slot) if stop - start <= STEP else None)
            for slot, (source, name) in enumerate(zip(sources, names, strict=True))
        ]
        if not plan.method.elementwise:
            arrays = [array.reshape(entry.base.shape) for array in arrays]
    kind = np.float64 if any(a.dtype == np.float64 for a in arrays) else np.float32
    return [array.astype(kind, copy=False) for array in arrays]


def _buffer(slot: int) -> Array:
    """Give this thread's buffer for one input, made once: fresh memory costs more than a read."""
    buffers: dict[int, Array] = _LOCAL.__dict__.setdefault("buffers", {})
    if slot not in buffers:
        buffers[slot] = np.empty(STEP * 8, np.uint8)
    return buffers[slot]


def _merge(plan: Plan, entry: Entry, alpha: float, inputs: Sequence[Array]) -> Array:
    base, tuned = inputs[0], list(inputs[1:])
    method = plan.method
    extra = dict(plan.recipe.parameters)
    if "alpha" in method.parameters:
        extra["alpha"] = alpha
    if method.wants_context:
        depth = plan.depth_of(entry)
        extra["context"] = TensorContext(plan.unit_of(entry), depth, plan.recipe.seed)
    statistics = _statistics(plan, entry)
    with np.errstate(over="ignore", invalid="ignore"):
        if plan.recipe.sequential:
            for place, one in enumerate(tuned):
                if method.statistics:
                    extra["statistics"] = [statistics[place]]
                if method.wants_context:
                    extra["context"] = replace(extra["context"], first=place)
                base = method.function(base, [one], **extra)
            return base
        if len(tuned) > 1 and method.symmetric and (len(tuned) > 2 or not method.elementwise):
            order = sorted(range(len(tuned)), key=lambda i: _fingerprint(tuned[i]))
            tuned = [tuned[i] for i in order]
            statistics = [statistics[i] for i in order] if statistics else []
            if extra.get("weights"):
                extra["weights"] = tuple(extra["weights"][i] for i in order)
        if method.statistics:
            extra["statistics"] = statistics
        return method.function(base, tuned, **extra)


def _statistics(plan: Plan, entry: Entry) -> list[Array | None]:
    """Read what there is about one tensor; of a fused kernel's effective weights there is none."""
    name = "" if entry.name in fused_names(plan) else entry.name
    pairs = zip(plan.statistics, plan.statistics_names, strict=True)
    return [values_of(source, names.get(name)) for source, names in pairs]


def _kernel(plan: Plan, pair: tuple[str, str], place: int) -> Array:
    by_name = {entry.name: entry for entry in plan.match.entries}
    parts = []
    for name in pair:
        entry = by_name[name]
        source = plan.base if place == 0 else plan.tuned[place - 1]
        stored = entry.base.name if place == 0 else entry.tuned[place - 1]
        parts.append(source.values(stored).reshape(entry.base.shape))
    return fuse(*parts)


def _part(plan: Plan, entry: Entry, merged: Array) -> Array:
    """Give the tensor itself: of a fused kernel its g or its v."""
    if entry.name not in fused_names(plan):
        return merged
    pair = fused_names(plan)[entry.name]
    shape = next(e.base.shape for e in plan.match.entries if e.name == pair[0])
    return split(merged, shape)[entry.name == pair[1]]


def _attempt(plan: Plan, entry: Entry, alpha: float, inputs: Sequence[Array]) -> Array | None:
    """Merge; give nothing if a decomposition fails, as it does on numbers that overflow."""
    try:
        return _merge(plan, entry, alpha, inputs)
    except np.linalg.LinAlgError:
        return None


def _refuse_not_finite(plan: Plan, entry: Entry, inputs: Sequence[Array]) -> None:
    for source, values in zip((plan.base, *plan.tuned), inputs, strict=True):
        if not all_finite(values):
            raise CheckpointError(
                "the encoder holds NaN or infinite weights",
                where=f"{source.label}: {entry.name}",
                hint="its training diverged; use an earlier checkpoint",
            )


def _retry(plan: Plan, entry: Entry, alpha: float, inputs: Sequence[Array]) -> Array:
    """Compute again in the next wider type, where differences of huge numbers do not overflow."""
    _refuse_not_finite(plan, entry, inputs)
    wider = np.float64 if inputs[0].dtype == np.float32 else np.longdouble
    if wider is np.longdouble and not plan.method.elementwise:
        return _merge(plan, entry, alpha, inputs)
    return _merge(plan, entry, alpha, [values.astype(wider) for values in inputs])


def _fingerprint(values: Array) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data).digest()

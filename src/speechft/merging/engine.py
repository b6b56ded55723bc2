"""The streaming merge: plan every tensor, compute it in float32, round it once.

Peak memory is a few buffers for methods that work weight by weight, and a few times the largest
tensor for the others; it does not grow with the checkpoint.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from speechft.core.errors import CheckpointError, SettingsError
from speechft.merging.alpha import AlphaRules, constant
from speechft.merging.data_statistics import line_up, values_of
from speechft.merging.methods import METHODS, Method, TensorContext
from speechft.merging.sources import Source
from speechft.merging.tensor_matching import Entry, Match, layer_of, match
from speechft.merging.tensorfile import (
    BY_USER_NAME,
    STORAGE,
    USER_NAMES,
    Array,
    TensorInfo,
    all_finite,
    decode,
    encode,
    is_float,
    refuse_overflow,
)
from speechft.merging.weightnorm import fuse, pairs, split

#: Elements per step of weight-by-weight methods: 1 MB of float32 stays in the processor's cache.
STEP = 1 << 18
_LOCAL = threading.local()


@dataclass(frozen=True)
class Recipe:
    """How to merge: the fields of `MergeSettings` that say it, with alpha read.

    Args:
        alpha: for each tensor; None for the method's own default.
    """

    method: str = "linear"
    alpha: AlphaRules | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    sequential: bool = False
    weight_norm: str = "stored"
    heads: str = "drop"
    dtype: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Plan:
    """A merge whose inputs fit together, ready to be computed tensor by tensor.

    Args:
        sources: BASE θ0, every TUNED θ'_i, and every file of statistics.
        recipe: how to merge.
        alpha: of every tensor.
        method: the method.
        match: the tensors of the result.
        outputs: name, type and shape of the result's tensors, in stored order.
        statistics_names: per file of statistics, canonical name → stored name.
        fused: name → (g, v) whose effective kernel is merged, by either name.
    """

    sources: tuple[Source, ...]
    recipe: Recipe
    alpha: AlphaRules
    method: Method
    match: Match
    outputs: tuple[TensorInfo, ...]
    statistics_names: tuple[Mapping[str, str], ...]
    fused: Mapping[str, tuple[str, str]]

    @property
    def base(self) -> Source:
        """BASE."""
        return self.sources[0]

    @property
    def tuned(self) -> tuple[Source, ...]:
        """Every TUNED."""
        return self.sources[1 : len(self.sources) - len(self.statistics_names)]

    @property
    def like(self) -> Source:
        """Whose class, configuration and further files the result has: whose head it keeps."""
        return self.tuned[0] if self.match.heads else self.base

    @property
    def statistics(self) -> tuple[Source, ...]:
        """Every file of statistics."""
        return self.sources[len(self.sources) - len(self.statistics_names) :]

    @property
    def dtype(self) -> str:
        """The type of the result's numbers ("float32"), or all of them."""
        found = {USER_NAMES[info.dtype] for info in self.outputs if is_float(info.dtype)}
        return " and ".join(sorted(found))

    @property
    def nbytes(self) -> int:
        """Bytes of the result."""
        return sum(info.nbytes for info in self.outputs)

    def unit_of(self, entry: Entry) -> str:
        """Give the name of what is merged: both parts of a fused kernel are merged as one, `v`."""
        pair = self.fused.get(entry.name)
        return pair[1] if pair else entry.name

    def depth_of(self, entry: Entry) -> float:
        """Give the depth of one tensor: 0 before and in the first layer, 1 in the last and after.

        Only the final norm of pre-norm encoders stands after the layers.
        """
        layer, layers = layer_of(entry.name), self.match.layers
        if layer is not None:
            return layer / (layers - 1) if layers > 1 else 0.0
        last = bool((self.base.config or {}).get("do_stable_layer_norm"))
        return 1.0 if last and entry.name.startswith("encoder.layer_norm.") else 0.0


def plan(
    base: Source, tuned: Sequence[Source], recipe: Recipe, statistics: Sequence[Source] = ()
) -> Plan:
    """Check that encoders and settings fit together.

    Raises:
        IncompatibleModelsError: the encoders do not have the same tensors.
        SettingsError: the method, its parameters, alpha or the type are wrong.
    """
    method = METHODS[recipe.method]
    per_round = 1 if recipe.sequential else len(tuned)
    recipe = replace(recipe, parameters=method.check(recipe.parameters, per_round))
    if recipe.alpha is not None and "alpha" not in method.parameters:
        raise SettingsError(f"{method.name} has no alpha", where="alpha", found=recipe.alpha)
    if recipe.dtype is not None and recipe.dtype not in BY_USER_NAME:
        raise SettingsError(
            "unknown type", where="dtype", expected=", ".join(BY_USER_NAME), found=recipe.dtype
        )
    matched = match(base, tuned, heads=recipe.heads)
    names: tuple[Mapping[str, str], ...] = ()
    if statistics or method.statistics:
        names = line_up(method, matched, statistics, len(tuned))
    merged = {entry.name: entry for entry in matched.entries if entry.tuned}
    if recipe.alpha is not None:
        recipe.alpha.check(merged)
    wanted = BY_USER_NAME[recipe.dtype] if recipe.dtype else None
    like = next((e.base.dtype for e in merged.values()), None)  # a head has its encoder's type
    outputs = [
        TensorInfo(
            e.out_name,
            (is_float(e.base.dtype) and (wanted or (e.of_tuned and like))) or e.base.dtype,
            e.base.shape,
        )
        for e in matched.entries
    ]
    return Plan(
        sources=(base, *tuned, *statistics),
        recipe=recipe,
        alpha=recipe.alpha or constant(method.default_alpha),
        method=method,
        match=matched,
        outputs=tuple(outputs),
        statistics_names=names,
        fused=pairs(merged) if recipe.weight_norm == "fused" else {},
    )


def compute(plan: Plan, index: int, start: int = 0, stop: int | None = None) -> Array:
    """Give the stored bits of elements [start, stop) of one tensor of the result, 1-D.

    Raises:
        CheckpointError: an input holds NaN or infinity, or the result does not fit its type.
    """
    entry, out = plan.match.entries[index], plan.outputs[index]
    stop = out.count if stop is None else stop
    alpha = plan.alpha.at(plan.unit_of(entry), plan.depth_of(entry))
    if not entry.tuned or (alpha == 0 and plan.method.base_at_zero):
        return _copied(
            plan.tuned[0] if entry.of_tuned else plan.base, entry.base.name, out, start, stop
        )
    alone = plan.recipe.sequential or len(entry.tuned) == 1
    plain = plan.method.tuned_at_one and not plan.recipe.parameters.get("weights")
    if alpha == 1 and alone and plain:
        return _copied(plan.tuned[-1], entry.tuned[-1], out, start, stop)
    inputs = _inputs(plan, entry, start, stop)
    if not plan.method.elementwise:  # these may drop or decompose what they are given
        _refuse_not_finite(plan, entry, inputs)
    merged = _attempt(plan, entry, alpha, inputs)
    if merged is None or not all_finite(merged):
        merged = _retry(plan, entry, alpha, inputs)
    refuse_overflow(merged, out)
    if entry.name in plan.fused:  # give its g or its v
        pair = plan.fused[entry.name]
        shape = next(e.base.shape for e in plan.match.entries if e.name == pair[0])
        merged = split(merged, shape)[entry.name == pair[1]]
    return encode(merged, out.dtype).reshape(-1)


def steps(plan: Plan) -> Iterator[tuple[int, int, int]]:
    """Give (index of the tensor, start, stop) of all parts that can be computed by themselves."""
    for index in range(len(plan.outputs)):
        for start, stop in _spans(plan, index):
            yield index, start, stop


def _spans(plan: Plan, index: int) -> Iterator[tuple[int, int]]:
    """Give (start, stop) of the parts of one tensor."""
    entry, count = plan.match.entries[index], plan.outputs[index].count
    whole = entry.tuned and (not plan.method.elementwise or entry.name in plan.fused)
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
        if len(parts) != 1:
            parts = [np.concatenate([*parts, np.empty(0, STORAGE[out.dtype])])]
        yield out, parts[0].reshape(out.shape)


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
    sources = (plan.base, *plan.tuned)
    if entry.name in plan.fused:
        by_name = {one.name: one for one in plan.match.entries}
        pair = [by_name[name] for name in plan.fused[entry.name]]
        arrays = [
            fuse(*(source.values(_stored(e, i)).reshape(e.base.shape) for e in pair))
            for i, source in enumerate(sources)
        ]
    else:
        arrays = [
            source.values(
                _stored(entry, i), start, stop, _buffer(i) if stop - start <= STEP else None
            )
            for i, source in enumerate(sources)
        ]
        if not plan.method.elementwise:
            arrays = [array.reshape(entry.base.shape) for array in arrays]
    kind = np.float64 if any(a.dtype == np.float64 for a in arrays) else np.float32
    return [array.astype(kind, copy=False) for array in arrays]


def _stored(entry: Entry, place: int) -> str:
    """Give a tensor's stored name in BASE (place 0) or in a TUNED."""
    return entry.tuned[place - 1] if place else entry.base.name


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
    name = "" if entry.name in plan.fused else entry.name
    both = zip(plan.statistics, plan.statistics_names, strict=True)
    return [values_of(source, names.get(name)) for source, names in both]


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

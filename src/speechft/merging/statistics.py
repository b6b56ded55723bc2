"""Statistics of data (Gram matrices, Fisher information): lined up with the encoder's tensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from speechft.core.errors import CheckpointError, IncompatibleModelsError, SettingsError
from speechft.merging.dtypes import Array, is_float
from speechft.merging.matching import Match
from speechft.merging.methods import Method
from speechft.merging.names import sort_names
from speechft.merging.sources import Source


def line_up(
    method: Method, match: Match, statistics: Sequence[Source], tuned: int
) -> tuple[dict[str, str], ...]:
    """Check the statistics that a method is given against the encoder.

    Args:
        method: what the statistics are for.
        match: the tensors of the result.
        statistics: one source per tuned encoder.
        tuned: number of tuned encoders.

    Returns:
        Per source, canonical name of the encoder's tensor → stored name.

    Raises:
        SettingsError: there are too few or too many, or the method needs none.
        IncompatibleModelsError: a source has nothing about the encoder, or other shapes.
    """
    wanted = tuned if method.statistics else 0
    if len(statistics) != wanted:
        what = (
            f"{method.name} needs {method.statistics} statistics of every tuned encoder"
            if wanted
            else f"{method.name} uses no statistics"
        )
        files = f"{wanted} file{'' if wanted == 1 else 's'}"
        raise SettingsError(what, where="statistics", expected=files, found=len(statistics))
    return tuple(_names(method.statistics, match, source) for source in statistics)


def values_of(source: Source, stored: str | None) -> Array | None:
    """Read one tensor of statistics, or give nothing where there is none.

    Raises:
        CheckpointError: it holds NaN or infinity.
    """
    if stored is None:
        return None
    values = source.values(stored).reshape(source.tensors[stored].shape)
    if not np.isfinite(values).all():
        raise CheckpointError(
            "the statistics hold NaN or infinity",
            where=f"{source.label}: {stored}",
            hint="gather them again",
        )
    return values


def _names(kind: str, match: Match, source: Source) -> dict[str, str]:
    stored = sort_names(source.tensors).encoder
    known = {entry.name: entry.base.shape for entry in match.entries if entry.tuned}
    found = {name: stored[name] for name in known if name in stored}
    problems = []
    for name, place in found.items():
        shape, info = known[name], source.tensors[place]
        expected = shape if kind == "fisher" else (shape[-1:] * 2 if len(shape) == 2 else None)
        if info.shape != expected or not is_float(info.dtype):
            problems.append(f"{name}: expected {expected}, found {info.dtype} {info.shape}")
    if problems or not found:
        text = "\n".join(f"    {problem}" for problem in problems)
        raise IncompatibleModelsError(
            "the statistics do not fit the encoder" + (f"\n{text}" if text else ""),
            where=source.label,
            expected="tensors under the names of the encoder's weights",
            found=", ".join(list(source.tensors)[:4]),
            hint="gather them with the tuned encoder that they belong to",
        )
    return found

"""Statistics of data (Gram matrices, Fisher information), and how they are gathered for RegMean."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speechft.core.errors import CheckpointError, DataError, IncompatibleModelsError, SettingsError
from speechft.core.logging import get_logger
from speechft.encoders.identity import locate
from speechft.merging.methods import Method
from speechft.merging.sources import MappingSource, Source
from speechft.merging.tensor_matching import Match, canonical, sort_names
from speechft.merging.tensorfile import Array, is_float

if TYPE_CHECKING:
    from torch import Tensor

    from speechft.encoders import SpeechEncoder

log = get_logger(__name__)


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
            problems.append(f"\n    {name}: expected {expected}, found {info.dtype} {info.shape}")
    if problems or not found:
        raise IncompatibleModelsError(
            "the statistics do not fit the encoder" + "".join(problems),
            where=source.label,
            expected="tensors under the names of the encoder's weights",
            found=", ".join(list(source.tensors)[:4]),
            hint="gather them with the tuned encoder that they belong to",
        )
    return found


def gram_source(encoder: str | Path, data: str, seconds: float) -> MappingSource:
    """Gather Gram matrices with one encoder on some speech.

    Args:
        encoder: a tuned ENCODER.
        data: DATA, best of what it was tuned on; its train split is read.
        seconds: how much speech.

    Raises:
        DataError: the data has no speech.
    """
    from speechft.encoders import load_encoder

    loaded = load_encoder(locate(encoder))
    grams, frames = gather_gram(loaded, _waveforms(data, seconds))
    if not frames:
        raise DataError("the data has no speech to gather statistics on", where=data)
    log.info("merge: Gram matrices of %s on %d frames of %s", encoder, frames, data)
    return MappingSource(f"{data} through {encoder}", grams)


def gather_gram(encoder: SpeechEncoder, waveforms: Iterable[Tensor]) -> tuple[dict[str, Any], int]:
    """Give the mean of x xᵀ over all frames x that enter each linear layer, and their number.

    Utterances are encoded one by one, so that no padded frame counts.

    Args:
        encoder: frozen.
        waveforms: 1-D, 16 kHz.

    Returns:
        Canonical name of the layer's weight → (in, in) float32; number of frames.

    Raises:
        DataError: hidden states are not finite.
    """
    import torch

    from speechft.encoders.base import refuse_not_finite

    totals: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def watch(name: str, _module: Any, inputs: tuple[Tensor, ...]) -> None:
        rows = inputs[0].detach().reshape(-1, inputs[0].shape[-1]).double()
        totals[name] = totals.get(name, 0) + rows.T @ rows
        counts[name] = counts.get(name, 0) + len(rows)

    hooks = [
        module.register_forward_pre_hook(functools.partial(watch, canonical(f"{name}.weight")))
        for name, module in encoder.model.named_modules()
        if isinstance(module, torch.nn.Linear)
    ]
    try:
        with torch.inference_mode():
            for waveform in waveforms:
                encoder([waveform])
    finally:
        for hook in hooks:
            hook.remove()
    for name, total in totals.items():
        refuse_not_finite([total], name)
    grams = {name: (total / counts[name]).float().numpy() for name, total in totals.items()}
    return grams, max(counts.values(), default=0)


def _waveforms(data: str, seconds: float) -> Iterator[Tensor]:
    from speechft.data.audio import load_waveform
    from speechft.data.load import load_data, refuse_long
    from speechft.data.utterances import first_seconds

    splits = load_data(data)
    cuts = splits.get("train") or next(iter(splits.values()))
    heard = first_seconds(list(cuts), seconds)
    refuse_long(data, heard, fixed=True)
    return map(load_waveform, heard)

"""Statistics of data for RegMean: Gram matrices of what goes into each linear layer."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechft.core.errors import DataError
from speechft.core.logging import get_logger
from speechft.merging.names import canonical
from speechft.merging.sources import MappingSource

if TYPE_CHECKING:
    from torch import Tensor

    from speechft.encoders import SpeechEncoder

log = get_logger(__name__)


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
    from speechft.merging.inputs import find

    loaded = load_encoder(find(encoder))
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
    """
    import torch

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
    grams = {name: (total / counts[name]).float().numpy() for name, total in totals.items()}
    return grams, max(counts.values(), default=0)


def _waveforms(data: str, seconds: float) -> Iterator[Tensor]:
    from speechft.data.audio import load_waveform
    from speechft.data.sources import load_data

    splits = load_data(data)
    cuts = splits.get("train") or next(iter(splits.values()))
    lengths = itertools.accumulate(cut.duration for cut in cuts)
    for cut, until in zip(cuts, lengths, strict=True):
        yield load_waveform(cut)
        if until >= seconds:
            return

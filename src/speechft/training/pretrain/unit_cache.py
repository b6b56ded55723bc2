"""Units that were learned once are not learned again: a folder of them, named by what made them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from speechft.core.artifact import hash_values
from speechft.core.checksum_files import is_sealed
from speechft.core.errors import CheckpointError
from speechft.core.files import cache_folder
from speechft.core.logging import get_logger
from speechft.data.identity import audio_keys
from speechft.encoders import SpeechEncoder
from speechft.training.pretrain.settings import Iteration
from speechft.training.pretrain.units import load_units, save_units

# Part of the key: raise it with every change that changes a unit.
VERSION = 2
FOLDER = "units"

log = get_logger(__name__)


def units_key(
    iteration: Iteration,
    layer: int | None,
    encoder: SpeechEncoder,
    cuts: Sequence[Any],
    seed: int,
    fit_seconds: float,
) -> str | None:
    """Name the units by all that makes them: encoder, layer, clusters, audio, seed.

    Args:
        iteration: its number of clusters and its smoothing.
        layer: hidden layer that is clustered; none for MFCCs, which no encoder has a part in.
        encoder: whose layer it is.
        cuts: all that is clustered, in order.
        seed: of the k-means.
        fit_seconds: speech it is fitted on.

    Returns:
        The identity; none for guided units, which a training of its own makes.

    Raises:
        DataError: an audio file cannot be read.
    """
    if iteration.guide is not None:
        return None
    source = "mfcc" if layer is None else [encoder.content_id(), layer]
    made_from = [VERSION, source, iteration.clusters, iteration.smooth, seed, fit_seconds]
    return hash_values([*made_from, audio_keys(cuts)])[:32]


def cached_units(
    key: str | None, learn: Callable[[], list[NDArray[np.int32]]]
) -> list[NDArray[np.int32]]:
    """Give the units of a key from the cache, or learn them and keep them there."""
    if key is None:
        return learn()
    path = cache_folder() / FOLDER / f"{key}.npz"
    found = _read(path)
    if found is not None:
        log.info("units: learned before, read from %s", path)
        return found
    units = learn()
    try:
        save_units(path, units)
    except OSError as error:
        log.warning("the units are not kept for later runs: %s", error)
    return units


def _read(path: Path) -> list[NDArray[np.int32]] | None:
    try:
        return load_units(path) if is_sealed(path, "it is learned again") else None
    except (CheckpointError, OSError, ValueError, KeyError, BadZipFile) as error:
        log.warning("the kept units cannot be read, so they are learned again: %s", error)
        return None

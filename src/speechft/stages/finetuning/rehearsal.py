"""What is rehearsed: pre-training speech, and its units by a hidden layer of θ0."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from lhotse.cut import Cut
from numpy.typing import NDArray

from speechft.core.logging import get_logger
from speechft.core.seeding import derive_seed
from speechft.encoders import SpeechEncoder
from speechft.stages.finetuning.settings import FinetuneSettings
from speechft.training.masked_prediction import UnitPredictor
from speechft.training.rehearsal import Rehearsal
from speechft.training.units import hidden_features, learn_units, load_units, save_units
from speechft.training.waveforms import Waveforms

UNITS = "rehearsal-units.npz"
log = get_logger(__name__)


def make_rehearsal(
    settings: FinetuneSettings, encoder: SpeechEncoder, cuts: Sequence[Cut]
) -> Rehearsal:
    """Give the part that rehearses; its units are learned once and kept in the run's folder.

    Args:
        settings: of the run.
        encoder: θ0, untouched.
        cuts: what is rehearsed.

    Raises:
        SettingsError: the encoder has no such layer.
        DataError: audio cannot be read.
    """
    file = settings.out / UNITS
    if not file.exists():
        save_units(file, _learn(settings, encoder, cuts))
    torch.manual_seed(derive_seed(settings.seed, "rehearsal", "predictor"))
    predictor = UnitPredictor(encoder.hidden_size, settings.rehearsal_clusters)
    return Rehearsal(predictor, load_units(file))


def _learn(
    settings: FinetuneSettings, encoder: SpeechEncoder, cuts: Sequence[Cut]
) -> list[NDArray[np.int16]]:
    layer = settings.rehearsal_layer
    if layer is None:
        layer = (encoder.num_layers + 1) // 2
    log.info("rehearsal: clustering hidden layer %d of %d utterances", layer, len(cuts))
    source = Waveforms(cuts)
    return learn_units(
        source.load,
        source.durations,
        hidden_features(encoder, layer),
        settings.rehearsal_clusters,
        derive_seed(settings.seed, "rehearsal", "units"),
    )

"""What is rehearsed: speech, its units by a hidden layer of θ0, and what predicts them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from lhotse.cut import Cut
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from speechft.core.files import atomic_path
from speechft.core.logging import get_logger
from speechft.core.sealed import is_sealed, seal
from speechft.core.seeding import derive_seed
from speechft.data.batching import DurationBatches
from speechft.encoders import SpeechEncoder
from speechft.hidden.front_end import Waveforms
from speechft.training.finetune.rehearsal import Rehearsal, warm_up
from speechft.training.finetune.settings import FinetuneSettings
from speechft.training.pretrain.masked_prediction import UnitPredictor
from speechft.training.pretrain.units import (
    hidden_features,
    learn_units,
    load_units,
    save_units,
    way_out,
)
from speechft.training.processes import all_processes

UNITS: Final = "rehearsal-units.npz"
PREDICTOR: Final = "rehearsal-predictor.safetensors"
log = get_logger(__name__)


def make_rehearsal(
    settings: FinetuneSettings, encoder: SpeechEncoder, cuts: Sequence[Cut]
) -> Rehearsal:
    """Give the part that rehearses.

    Its units are learned once and kept in the run's folder, and so is the predictor as it is before
    the first update.

    Args:
        settings: of the run.
        encoder: θ0, untouched.
        cuts: what is rehearsed.

    Raises:
        SettingsError: the encoder has no such layer.
        DataError: audio cannot be read.
    """
    state = all_processes()
    encoder.to(state.device)  # training moves it there only later
    file = settings.out / UNITS
    with state.main_process_first():
        if not is_sealed(file, way_out(file)):
            save_units(file, _learn(settings, encoder, cuts))
    torch.manual_seed(derive_seed(settings.seed, "rehearsal", "predictor"))
    predictor = UnitPredictor(encoder.hidden_size, settings.rehearsal_clusters)
    weight = settings.rehearsal_unmasked_weight
    rehearsal = Rehearsal(predictor, load_units(file), unmasked_weight=weight)
    if settings.rehearsal_warmup:
        with state.main_process_first():
            _warm_up(settings, encoder, rehearsal, cuts)
    return rehearsal


def _warm_up(
    settings: FinetuneSettings, encoder: SpeechEncoder, rehearsal: Rehearsal, cuts: Sequence[Cut]
) -> None:
    """Train the predictor behind θ0, or load it where that has been done."""
    file = settings.out / PREDICTOR
    if not is_sealed(file, way_out(file)):
        source = Waveforms(cuts)
        seed = derive_seed(settings.seed, "rehearsal", "warm-up")
        figures = warm_up(
            rehearsal,
            encoder,
            source,
            DurationBatches(source.durations, settings.seconds, seed),
            settings.rehearsal_warmup,
            seed,
        )
        log.info(
            "rehearsal: the unit predictor begins with %.1f %% of masked frames right",
            figures["rehearsal_masked_accuracy"],
        )
        with atomic_path(file) as temporary:
            save_file(rehearsal.head.state_dict(), temporary)
        seal(file)
    rehearsal.head.load_state_dict(load_file(file))


def _learn(
    settings: FinetuneSettings, encoder: SpeechEncoder, cuts: Sequence[Cut]
) -> list[NDArray[np.int32]]:
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

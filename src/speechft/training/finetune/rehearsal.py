"""Rehearsal: some batches go on with masked prediction, so that the encoder keeps what it knew."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count, islice
from pathlib import Path
from typing import Final

import numpy as np
import torch
from lhotse.cut import Cut
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from speechft.core.checksum_files import is_sealed, seal
from speechft.core.files import atomic_path
from speechft.core.logging import get_logger
from speechft.core.seeding import derive_seed, seeded
from speechft.data.batching import DurationBatches
from speechft.encoders import SpeechEncoder
from speechft.hidden.decode_ahead import Waveforms
from speechft.training.distributed import all_processes
from speechft.training.finetune.objective import FineTuning, Part
from speechft.training.finetune.settings import FinetuneSettings
from speechft.training.freezing import FreezePlan
from speechft.training.objective import EncoderObjective
from speechft.training.pretrain.masked_prediction import UnitPredictor, predict_units
from speechft.training.pretrain.units import (
    hidden_features,
    kept_units,
    learn_units,
    load_units,
    way_out,
)

UNITS: Final = "rehearsal-units.npz"
PREDICTOR: Final = "rehearsal-predictor.safetensors"
WARM_UP_RATE: Final = 1e-3
log = get_logger(__name__)


class Rehearsal(Part):
    """A part of fine-tuning that predicts the units of masked frames, as many as in HuBERT.

    Args:
        predictor: its head.
        units: unit sequence of each utterance, by index.
        unmasked_weight: weight of the loss on frames that are not masked (0 in HuBERT).
    """

    def __init__(
        self,
        predictor: UnitPredictor,
        units: Sequence[NDArray[np.int32]],
        unmasked_weight: float = 0.0,
    ) -> None:
        self.head: UnitPredictor = predictor
        self.units, self.count = units, len(units)
        self.unmasked_weight = unmasked_weight

    def loss(
        self, host: EncoderObjective, indices: Sequence[int], items: list[Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """Give the cross entropy on masked frames; masks come from torch's global generator."""
        loss, figures = predict_units(
            host, self.head, self.units, indices, items, self.unmasked_weight
        )
        return loss, {f"rehearsal_{name}": value for name, value in figures.items()}


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
    source = Waveforms(cuts)
    parent = Path(settings.continued) / UNITS if settings.continued else None
    if parent is not None and is_sealed(parent, way_out(parent)):
        units = kept_units(settings.out / UNITS, lambda: load_units(parent))
    else:
        units = kept_units(settings.out / UNITS, lambda: _learn(settings, encoder, source))
    torch.manual_seed(derive_seed(settings.seed, "rehearsal", "predictor"))
    predictor = UnitPredictor(encoder.hidden_size, settings.rehearsal_clusters)
    weight = settings.rehearsal_unmasked_weight
    rehearsal = Rehearsal(predictor, units, unmasked_weight=weight)
    if settings.rehearsal_warmup and parent is None:  # else one that has learned is taken over
        file = settings.out / PREDICTOR
        with state.main_process_first():
            if not is_sealed(file, way_out(file)):
                _warm_up(settings, encoder, rehearsal, source)
                with atomic_path(file) as temporary:
                    save_file(predictor.state_dict(), temporary)
                seal(file)
            predictor.load_state_dict(load_file(file))
    return rehearsal


def _learn(
    settings: FinetuneSettings, encoder: SpeechEncoder, source: Waveforms
) -> list[NDArray[np.int32]]:
    """Cluster a hidden layer of θ0."""
    layer = settings.rehearsal_layer
    if layer is None:
        layer = (encoder.num_layers + 1) // 2
    number = len(source.cuts)
    log.info("rehearsal: clustering hidden layer %d of %d utterances", layer, number)
    return learn_units(
        source.load,
        source.durations,
        hidden_features(encoder, layer),
        settings.rehearsal_clusters,
        derive_seed(settings.seed, "rehearsal", "units"),
    )


def _warm_up(
    settings: FinetuneSettings, encoder: SpeechEncoder, rehearsal: Rehearsal, source: Waveforms
) -> None:
    """Train the predictor alone behind an encoder that stays as it is (AdamW, constant rate).

    A fresh predictor would pull the encoder towards where chance has put its embeddings. The
    encoder is left in its mode, its parameters without gradients, the predictor on the CPU, and
    the global generators as they were.
    """
    seed = derive_seed(settings.seed, "rehearsal", "warm-up")
    seconds, items = settings.bounds
    batches = DurationBatches(source.durations, seconds, seed, max_items=items)
    order = (batch for epoch in count() for batch in batches.epoch(epoch))
    head, updates, figures = rehearsal.head, settings.rehearsal_warmup, dict[str, float]()
    host = FineTuning(encoder, {"predictor": rehearsal}, FreezePlan(updates))  # before it moves
    training = encoder.training
    encoder.eval()
    head.to(encoder.device)
    optimizer = torch.optim.AdamW(head.parameters(), lr=WARM_UP_RATE)
    with seeded(seed, encoder.device):
        for indices in islice(order, updates):
            loss, figures = rehearsal.loss(host, indices, source.load(indices))
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    encoder.train(training)
    head.to("cpu")
    right = figures["rehearsal_masked_accuracy"]
    log.info("rehearsal: the unit predictor begins with %.1f %% of masked frames right", right)

"""One round of pre-training: learn units, then predict those of masked frames."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from speechft.core.logging import get_logger
from speechft.core.seeding import derive_seed
from speechft.encoders import SpeechEncoder
from speechft.stages.pretraining.settings import Guide, Iteration, PretrainSettings
from speechft.stages.pretraining.speech import Speech, loop_settings, reached
from speechft.training.loop import train
from speechft.training.masked_prediction import MaskedPrediction, UnitPredictor
from speechft.training.phoneme_units import phoneme_units
from speechft.training.schedule import make_schedule
from speechft.training.units import (
    Featurise,
    hidden_features,
    learn_units,
    load_units,
    mfcc_features,
    save_units,
    smoothed,
)

log = get_logger(__name__)

Units = Sequence[NDArray[np.int16]] | Mapping[int, NDArray[np.int16]]
# A guide names what it hears: nearly nothing is masked, and what is counts little.
_GUIDE_MASK_SHARE, _GUIDE_UNMASKED_WEIGHT = 0.1, 5.0


def run_iteration(
    settings: PretrainSettings,
    iteration: Iteration,
    encoder: SpeechEncoder,
    speech: Speech,
    folder: Path,
    teacher: SpeechEncoder | None = None,
) -> None:
    """Run one iteration on `encoder`, in place; goes on from what `folder` holds.

    Args:
        settings: of the whole run.
        iteration: of this round.
        encoder: what the round before left.
        speech: what is learned from and what is held out.
        folder: where units, states and metrics of the round go; its name seeds the round.
        teacher: the encoder whose layer is clustered; none for `encoder` itself.

    Raises:
        DataError: a guide's cuts have no alignment.
        SettingsError: the encoder has no such layer.
    """
    units_file = folder / "units.npz"
    if not units_file.exists():
        heard = teacher or encoder
        save_units(units_file, _learn(settings, iteration, heard, speech, folder))
    _predict(
        settings, encoder, speech, load_units(units_file), folder,
        clusters=iteration.clusters, steps=iteration.steps, learning_rate=iteration.learning_rate,
        mixing=settings.mixing,
    )  # fmt: skip


def _learn(
    settings: PretrainSettings,
    iteration: Iteration,
    encoder: SpeechEncoder,
    speech: Speech,
    folder: Path,
) -> list[NDArray[np.int16]]:
    layer = iteration.layer
    if iteration.guide:
        encoder = _guided(settings, iteration.guide, encoder, speech, folder / "guide")
    log.info("clustering %s", "MFCCs" if layer is None else f"hidden layer {layer}")
    features: Featurise = mfcc_features() if layer is None else hidden_features(encoder, layer)
    return learn_units(
        speech.source.load,
        speech.source.durations,
        smoothed(features, iteration.smooth) if iteration.smooth else features,
        iteration.clusters,
        derive_seed(settings.seed, "units", folder.name),
        settings.fit_seconds,
    )


def _guided(
    settings: PretrainSettings,
    guide: Guide,
    encoder: SpeechEncoder,
    speech: Speech,
    folder: Path,
) -> SpeechEncoder:
    """Give a copy of the encoder that learned to name phonemes on a little labelled speech."""
    log.info("guide: %g s of labelled speech", guide.seconds)
    count = reached(speech.source.durations[: speech.train], guide.seconds)
    chosen = [*range(count), *range(speech.train, speech.total)]
    units, symbols = phoneme_units([speech.source.cuts[i] for i in chosen], encoder.hop)
    teacher = copy.deepcopy(encoder)
    _predict(
        settings, teacher, speech, dict(zip(chosen, units, strict=True)), folder,
        clusters=len(symbols), steps=guide.steps, learning_rate=guide.learning_rate,
        seconds=guide.seconds, share=_GUIDE_MASK_SHARE, unmasked_weight=_GUIDE_UNMASKED_WEIGHT,
    )  # fmt: skip
    return teacher


def _predict(
    settings: PretrainSettings,
    encoder: SpeechEncoder,
    speech: Speech,
    units: Units,
    folder: Path,
    *,
    clusters: int,
    steps: int,
    learning_rate: float,
    seconds: float | None = None,
    share: float | None = None,
    unmasked_weight: float | None = None,
    mixing: float = 0.0,
) -> None:
    torch.manual_seed(derive_seed(settings.seed, "predictor", folder.name))
    objective = MaskedPrediction(
        encoder,
        UnitPredictor(encoder.hidden_size, clusters),
        units,
        unmasked_weight=settings.unmasked_weight if unmasked_weight is None else unmasked_weight,
        share=settings.mask_share if share is None else share,
        span=settings.mask_span,
        dev=lambda: speech.held_out(settings.seconds),
        mixing=mixing,
    )
    loop = loop_settings(settings, steps, learning_rate, folder.name)
    batches = speech.order(settings, folder.name, seconds)
    train(objective, batches, speech.source, make_schedule("warmup-decay", steps), loop, folder)

"""One iteration of pre-training: learn units, then predict those of masked frames."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from speechft.core.checksum_files import is_sealed
from speechft.core.errors import DataError
from speechft.core.logging import get_logger
from speechft.core.seeding import derive_seed
from speechft.encoders import SpeechEncoder
from speechft.training.distributed import all_processes, on_main
from speechft.training.loop import Hooks, Loop, Progress
from speechft.training.pretrain.carried_head import carry_predictor, make_predictor
from speechft.training.pretrain.continued_encoder import check_rates, unit_layer
from speechft.training.pretrain.masked_prediction import MaskedPrediction, UnitPredictor
from speechft.training.pretrain.phoneme_units import phoneme_units
from speechft.training.pretrain.settings import Guide, Iteration, PretrainSettings
from speechft.training.pretrain.speech import (
    Speech,
    freeze_plan,
    loop_settings,
    reached,
    train_on,
)
from speechft.training.pretrain.unit_cache import cached_units, units_key
from speechft.training.pretrain.units import (
    hidden_features,
    kept_units,
    learn_units,
    mfcc_features,
    smoothed,
    way_out,
)
from speechft.training.schedule import make_schedule
from speechft.training.sharding import in_pieces

log = get_logger(__name__)

_UNITS = "units.npz"
_NEARLY_ALL = 0.9
# A guide names what it hears: nearly nothing is masked, and what is counts little.
_GUIDE_MASK_SHARE, _GUIDE_UNMASKED_WEIGHT = 0.1, 5.0


def run_iteration(
    settings: PretrainSettings,
    iteration: Iteration,
    encoder: SpeechEncoder,
    speech: Speech,
    folder: Path,
    teacher: SpeechEncoder | None = None,
) -> Progress:
    """Run one iteration on `encoder`, in place; goes on from what `folder` holds.

    Args:
        settings: of the whole run.
        iteration: its own settings.
        encoder: what the iteration before left.
        speech: what is learned from and what is held out.
        folder: where its units, states and metrics go; its name seeds it.
        teacher: the encoder whose layer is clustered; none for `encoder` itself.

    Returns:
        Where the training stands at its end.

    Raises:
        DataError: a guide's cuts have no alignment.
        SettingsError: the encoder has no such layer, or nothing to mask frames with; units come
            at another rate than frames.
    """
    heard = teacher or encoder
    layer = unit_layer(settings, iteration, heard)
    check_rates(encoder, heard, layer)
    encoder.check_mask()
    key, units = _make_units(settings, iteration, layer, heard, speech, folder)
    refuse_one_unit(units, settings.data)
    torch.manual_seed(derive_seed(settings.seed, "predictor", folder.name))
    predictor = make_predictor(encoder, iteration.clusters, key)
    trained = in_pieces(encoder) if settings.shard else encoder
    source, steps = speech.inputs(settings, trained), iteration.steps
    objective = MaskedPrediction(
        trained,
        predictor,
        units,
        unmasked_weight=settings.unmasked_weight,
        share=settings.mask_share,
        span=settings.mask_span,
        dev=lambda: speech.held_out(settings.seconds, source),
        plan=freeze_plan(settings, steps),
        mixing=settings.mixing,
        feature_penalty=settings.feature_penalty,
    )
    rate = iteration.learning_rate
    progress = train_on(
        speech, objective, source, settings, steps, rate, folder, folder.name, encoder
    )
    carry_predictor(encoder, predictor, key)
    return progress


def refuse_one_unit(units: list[NDArray[np.int32]], data: str) -> None:
    """Refuse units that say nothing, and warn of those that say nearly nothing.

    Raises:
        DataError: all frames have the same one.
    """
    counts = np.bincount(np.concatenate(units))
    most = counts.max() / counts.sum()
    if most == 1:
        raise DataError(
            "all frames have one and the same unit, so that nothing can be learned",
            where=data,
            expected="speech with more than one sound",
            hint="look at the audio (is it silent?), or cluster another layer",
        )
    if most > _NEARLY_ALL:
        log.warning("one unit stands for %.0f %% of all frames: little can be learned", 100 * most)


def _make_units(
    settings: PretrainSettings,
    iteration: Iteration,
    layer: int | None,
    encoder: SpeechEncoder,
    speech: Speech,
    folder: Path,
) -> tuple[str | None, list[NDArray[np.int32]]]:
    """Give the iteration's units, kept in its folder, and what identifies them."""
    seed = derive_seed(settings.seed, "units", folder.name)
    source, file = speech.source, folder / _UNITS
    key = units_key(iteration, layer, encoder, source.cuts, seed, settings.fit_seconds)
    encoder.to(all_processes().device)
    heard = encoder
    # A guide is trained by all processes together; what needs no training the first one does.
    if iteration.guide and not on_main(lambda: is_sealed(file, way_out(file))):
        heard = _guided(settings, iteration.guide, encoder, speech, folder / "guide")

    def learn() -> list[NDArray[np.int32]]:
        log.info("clustering %s", "MFCCs" if layer is None else f"hidden layer {layer}")
        features = mfcc_features() if layer is None else hidden_features(heard, layer)
        return learn_units(
            source.load,
            source.durations,
            smoothed(features, iteration.smooth) if iteration.smooth else features,
            iteration.clusters,
            seed,
            settings.fit_seconds,
        )

    return key, kept_units(file, lambda: cached_units(key, learn))


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
    torch.manual_seed(derive_seed(settings.seed, "predictor", folder.name))
    copied = copy.deepcopy(encoder)
    objective = MaskedPrediction(
        copied,
        UnitPredictor(encoder.hidden_size, len(symbols)),
        dict(zip(chosen, units, strict=True)),
        unmasked_weight=_GUIDE_UNMASKED_WEIGHT,
        share=_GUIDE_MASK_SHARE,
        span=settings.mask_span,
        dev=lambda: speech.held_out(settings.seconds),
    )
    loop = loop_settings(settings, guide.steps, guide.learning_rate, folder.name)
    batches = speech.order(settings, folder.name, guide.seconds)
    schedule = make_schedule("warmup-decay", guide.steps)
    hooks = Hooks(name=lambda index: str(speech.source.cuts[index].id))
    Loop(objective, batches, speech.source, schedule, loop, folder, hooks).run()
    return copied

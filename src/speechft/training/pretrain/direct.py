"""Objectives that need no units: contrastive (wav2vec 2.0) and reconstruction (DeCoAR 2.0)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from speechft.core.seeding import derive_seed
from speechft.encoders import SpeechEncoder
from speechft.encoders.families import record_of
from speechft.training.freezing import set_trainable
from speechft.training.loop import Progress, train
from speechft.training.pretrain.carried_head import adopt_head, carry_head
from speechft.training.pretrain.contrastive import Contrastive, ContrastiveHead, check_front_end
from speechft.training.pretrain.quantised_objective import QuantisedObjective
from speechft.training.pretrain.reconstruction import (
    Reconstruction,
    ReconstructionHead,
    check_filter_banks,
)
from speechft.training.pretrain.settings import PretrainSettings
from speechft.training.pretrain.speech import Speech, SpeechSource, loop_settings, planned
from speechft.training.schedule import make_schedule


def run_direct(
    settings: PretrainSettings, encoder: SpeechEncoder, speech: Speech, folder: Path
) -> Progress:
    """Train `encoder` in place by an objective without units; goes on from what `folder` holds.

    Args:
        settings: of the whole run.
        encoder: to start from.
        speech: what is learned from and what is held out.
        folder: where states and metrics go.

    Returns:
        Where the run stands at its end.

    Raises:
        SettingsError: the objective cannot train an encoder of this family.
    """
    steps = settings.steps or 0
    torch.manual_seed(derive_seed(settings.seed, "head", settings.objective))
    build = _contrastive if settings.objective == "contrastive" else _reconstruction
    source, name = speech.inputs(settings, encoder), str(settings.objective)
    objective = build(settings, encoder, _shared(settings, speech, source))
    adopt_head(encoder, objective.head)
    loop = loop_settings(settings, steps, settings.learning_rate, name)
    batches, schedule = speech.order(settings, name), make_schedule(settings.schedule, steps)
    plan = planned(settings, objective, encoder, steps)
    hooks = speech.hooks(encoder, folder)
    progress = train(plan, batches, source, schedule, loop, folder, hooks)
    set_trainable(encoder.parameters(), True)
    carry_head(encoder, objective.head)
    return progress


def _shared(settings: PretrainSettings, speech: Speech, source: SpeechSource) -> dict[str, Any]:
    """Give what both objectives take."""
    return {
        "unmasked_weight": settings.unmasked_weight,
        "share": settings.mask_share,
        "span": settings.mask_span,
        "steps": settings.steps or 0,
        "temperatures": settings.quantiser.temperatures,
        "diversity": settings.quantiser.diversity,
        "dev": lambda: speech.held_out(settings.seconds, source),
    }


def _books(settings: PretrainSettings) -> dict[str, Any]:
    """Give the sizes of the codebooks."""
    books = settings.quantiser
    return {
        "groups": books.groups,
        "entries": books.entries,
        "width": books.width,
        "spread": books.spread,
    }


def _contrastive(
    settings: PretrainSettings, encoder: SpeechEncoder, shared: dict[str, Any]
) -> QuantisedObjective:
    check_front_end(encoder)
    books, own = settings.quantiser, settings.contrastive
    features = int(encoder.config.conv_dim[-1])
    if record_of(encoder.family).carries == "quantiser":  # the configuration says what it is like
        encoder.config.num_codevector_groups = books.groups
        encoder.config.num_codevectors_per_group = books.entries
        encoder.config.codevector_dim = encoder.config.proj_codevector_dim = books.width
    return Contrastive(
        encoder,
        ContrastiveHead(encoder.hidden_size, features, **_books(settings)),
        negatives=own.negatives,
        temperature=own.temperature,
        feature_penalty=own.feature_penalty,
        front_end_gradient=own.front_end_gradient,
        **shared,
    )


def _reconstruction(
    settings: PretrainSettings, encoder: SpeechEncoder, shared: dict[str, Any]
) -> QuantisedObjective:
    check_filter_banks(encoder)
    bins = int(encoder.config.num_mel_bins)
    head = ReconstructionHead(encoder.hidden_size, bins, **_books(settings))
    return Reconstruction(encoder, head, **shared)

"""Objectives that need no units: contrastive (wav2vec 2.0) and reconstruction (DeCoAR 2.0)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from speechft.core.seeding import derive_seed
from speechft.encoders import SpeechEncoder
from speechft.encoders.families import record_of
from speechft.training.loop import Progress
from speechft.training.pretrain.carried_head import adopt_head, carry_head
from speechft.training.pretrain.contrastive import Contrastive, ContrastiveHead, check_front_end
from speechft.training.pretrain.quantised_objective import QuantisedObjective
from speechft.training.pretrain.reconstruction import (
    Reconstruction,
    ReconstructionHead,
    check_filter_banks,
)
from speechft.training.pretrain.settings import PretrainSettings
from speechft.training.pretrain.speech import Speech, freeze_plan, train_on
from speechft.training.sharding import in_pieces


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
    steps, name = settings.steps or 0, str(settings.objective)
    torch.manual_seed(derive_seed(settings.seed, "head", settings.objective))
    trained = in_pieces(encoder) if settings.shard else encoder
    source = speech.inputs(settings, trained)
    shared = {
        "unmasked_weight": settings.unmasked_weight,
        "share": settings.mask_share,
        "span": settings.mask_span,
        "steps": steps,
        "temperatures": settings.quantiser.temperatures,
        "diversity": settings.quantiser.diversity,
        "dev": lambda: speech.held_out(settings.seconds, source),
        "plan": freeze_plan(settings, steps),
    }
    objective = _objective(settings, trained, shared)
    adopt_head(encoder, objective.head)
    rate = settings.learning_rate
    progress = train_on(speech, objective, source, settings, steps, rate, folder, name, encoder)
    carry_head(encoder, objective.head)
    return progress


def _objective(
    settings: PretrainSettings, encoder: SpeechEncoder, shared: dict[str, Any]
) -> QuantisedObjective:
    books = settings.quantiser.model_dump(include={"groups", "entries", "width", "spread"})
    config = encoder.config
    if settings.objective == "reconstruction":
        check_filter_banks(encoder)
        banks = ReconstructionHead(encoder.hidden_size, int(config.num_mel_bins), **books)
        return Reconstruction(encoder, banks, **shared)
    check_front_end(encoder)
    if record_of(encoder.family).carries == "quantiser":  # the configuration says what it is like
        config.num_codevector_groups = books["groups"]
        config.num_codevectors_per_group = books["entries"]
        config.codevector_dim = config.proj_codevector_dim = books["width"]
    head = ContrastiveHead(encoder.hidden_size, int(config.conv_dim[-1]), **books)
    return Contrastive(encoder, head, **settings.contrastive.model_dump(), **shared)

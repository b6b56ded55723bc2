"""From a name, a path or a configuration to a speech encoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from speechft.core.errors import CheckpointError, SettingsError
from speechft.encoders.base import SpeechEncoder
from speechft.encoders.checkpoint import Side, fill_model
from speechft.encoders.configs import tame_config
from speechft.encoders.families import FAMILIES, record_of
from speechft.encoders.formats.read import read_checkpoint


def load_encoder(
    path_or_id: str | Path,
    *,
    base: str | Path | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> SpeechEncoder:
    """Load a speech encoder.

    Args:
        path_or_id: a folder, a checkpoint file of any supported format, a Hub id, or a packaged
            name (`tiny-hubert`).
        base: an encoder whose configuration is used where the file holds no settings, or that a
            PEFT adapter is merged into.
        device: where the weights go.
        dtype: float32, to which half-precision files are widened, or float64. To compute in half
            precision, call the encoder under `torch.autocast`: norms stay exact there.

    Raises:
        SettingsError: the type is another one.
        CheckpointError: there is no such encoder, or its checkpoint is broken or incomplete. No
            weight is ever initialised anew.
    """
    if dtype not in (torch.float32, torch.float64):
        raise SettingsError(
            "an encoder's weights are not kept in this type",
            where="dtype",
            expected="torch.float32 or torch.float64",
            found=dtype,
            hint="for half precision call the encoder under torch.autocast",
        )
    checkpoint = read_checkpoint(path_or_id, base=base)
    model = fill_model(checkpoint, dtype)
    encoder = wrap_model(model, checkpoint.preprocessor, checkpoint.side, checkpoint.where)
    return encoder.to(device).eval()


def build_encoder(config: Mapping[str, Any] | Any, seed: int) -> SpeechEncoder:
    """Build an encoder with random weights from a transformers configuration.

    Args:
        config: a `PretrainedConfig`, or its keys and values with `model_type`; a key
            `do_normalize` says whether waveforms are normalised (default: only where every
            convolution has a layer norm).
        seed: the weights are a function of it.

    Raises:
        SettingsError: the configuration names no known model type, or its values do not fit.
    """
    from transformers import AutoConfig, AutoModel

    do_normalize: bool | None = None
    if isinstance(config, Mapping):
        values = dict(config)
        do_normalize = values.pop("do_normalize", None)
        model_type = values.pop("model_type", None)
        try:
            config = AutoConfig.for_model(model_type, **values)
        except (ValueError, TypeError, KeyError) as error:
            raise SettingsError(
                "cannot build an encoder from this configuration",
                where="model_type",
                found=error,
                hint="use a model type of transformers, such as hubert",
            ) from None
    tame_config(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModel.from_config(config)
    preprocessor = record_of(config.model_type).default_preprocessor(config, do_normalize)
    return wrap_model(model, preprocessor).eval()


def wrap_model(
    model: torch.nn.Module,
    preprocessor: dict[str, Any],
    side: Side | None = None,
    where: object | None = None,
) -> SpeechEncoder:
    """Put the encoder class that fits around a transformers model.

    Raises:
        CheckpointError: no known family has the model's modules.
    """
    return encoder_class(model, where)(model, preprocessor, side)


def encoder_class(model: torch.nn.Module, where: object | None = None) -> type[SpeechEncoder]:
    """Give the class that fits around a transformers model, which may be without weights.

    Raises:
        CheckpointError: no known family has the model's modules.
    """
    named = record_of(str(getattr(getattr(model, "config", None), "model_type", None)))
    for record in (named, *FAMILIES.values()):
        if record.encoder.fits(model):
            return record.encoder
    raise CheckpointError(
        "this is no speech encoder of a known family",
        where=where,
        found=type(model).__name__,
        expected="a CNN front end, a feature projection and a transformer",
    )

"""From a name, a path or a configuration to a checkpoint and a speech encoder.

One reader serves every format: it looks at what is there, not at what it is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechft.core.errors import CheckpointError, SettingsError
from speechft.encoders.base import SpeechEncoder
from speechft.encoders.checkpoint import Checkpoint, fill_model, new_model, tame_config
from speechft.encoders.families import FAMILIES, record_of
from speechft.encoders.formats.adapters import merge_adapter
from speechft.encoders.formats.fairseq import Described, read_fairseq_style
from speechft.encoders.formats.hf import (
    only_weights,
    read_config,
    read_hf_folder,
    read_preprocessor,
    read_safetensors,
)
from speechft.encoders.formats.unpickle import read_torch_file
from speechft.encoders.formats.write import TORCH_SUFFIXES
from speechft.encoders.hf_folder import CONFIG
from speechft.encoders.identity import (
    ADAPTER,
    ADAPTER_OF,
    ADAPTER_WEIGHTS,
    TORCH_WEIGHTS,
    WEIGHTS,
    Context,
    locate,
    refuse_changed,
)


def load_encoder(
    path_or_id: str | Path,
    *,
    base: str | Path | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    context: Context | None = None,
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
        context: what the transformer of Whisper sees: `30s`, padded as it was trained, or
            `utterance`; as the folder says if not given, `30s` where it says nothing.

    Raises:
        SettingsError: the type is another one, or the encoder has no such context.
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
    kind = encoder_class(model, checkpoint.where)
    encoder = kind(model, checkpoint.preprocessor, checkpoint.side)
    encoder.use_context(context, checkpoint.where)
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
    from transformers import AutoConfig

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
        model = new_model(config)
    preprocessor = record_of(config.model_type).default_preprocessor(config, do_normalize)
    return encoder_class(model, None)(model, preprocessor).eval()


def encoder_class(model: torch.nn.Module, where: object) -> type[SpeechEncoder]:
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


def read_checkpoint(
    path_or_id: str | Path, *, base: str | Path | None = None, allow_changed: bool = False
) -> Checkpoint:
    """Read an encoder's checkpoint of any supported format.

    Args:
        path_or_id: a folder, a file, a Hub id or a packaged name.
        base: an encoder whose configuration and preprocessor are used where the file holds no
            settings (S3PRL downstream and Lightning checkpoints), or that a PEFT adapter is merged
            into. Without it, those in the file's folder are.
        allow_changed: read it even where it is not what its record names, to look at it.

    Raises:
        CheckpointError: nothing is there, it is broken, it is no encoder, or not what its record
            says was written.
    """
    path = locate(path_or_id)
    if not allow_changed:
        refuse_changed(path)
    if path.is_dir():
        if (path / ADAPTER).is_file():
            return merge_adapter(path, read_checkpoint, base)
        alone = only_weights(path)
        if alone is None:
            return read_hf_folder(path)
        path = alone
    beside = (path.parent / CONFIG).is_file()
    if beside and path.name in (CONFIG, WEIGHTS, TORCH_WEIGHTS):
        return read_hf_folder(path.parent)
    if beside and ADAPTER_OF.fullmatch(path.name):
        return read_hf_folder(path.parent, path)

    if path.name in ADAPTER_WEIGHTS:
        raise CheckpointError(
            "these are an adapter's weights alone",
            where=path,
            expected=f"the folder that they lie in, with {ADAPTER}",
            hint=f"give the folder {path.parent}"
            if (path.parent / ADAPTER).is_file()
            else f"copy {ADAPTER} beside them, and give the folder",
        )

    @cache
    def given() -> Described | None:
        if base is not None:
            like = read_checkpoint(base)
            return Described(like.config, like.preprocessor)
        if not beside:
            return None
        config = read_config(path.parent)
        return Described(config, read_preprocessor(path.parent, config))

    return read_fairseq_style(_read_file(path), path, given)


def _read_file(path: Path) -> Any:
    if path.stat().st_size == 0:
        raise CheckpointError("the file is empty", where=path, hint="copy or download it again")
    if path.suffix == ".safetensors":
        tensors: dict[str, Tensor] = read_safetensors(path)
        return tensors
    if path.suffix not in TORCH_SUFFIXES:
        raise CheckpointError(
            "this kind of file holds no encoder",
            where=path,
            expected="a folder, or a file ending in .safetensors " + " ".join(TORCH_SUFFIXES),
        )
    return read_torch_file(path)

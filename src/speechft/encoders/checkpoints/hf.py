"""Hugging Face folders: `config.json`, weights, `preprocessor_config.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from speechft.core.errors import CheckpointError
from speechft.core.files import atomic_dir
from speechft.core.logging import get_logger
from speechft.core.nearest import did_you_mean

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
PREPROCESSOR = "preprocessor_config.json"
MASK_EMBEDDING = "masked_spec_embed"
LEGACY = {
    ".weight_g": ".parametrizations.weight.original0",
    ".weight_v": ".parametrizations.weight.original1",
}

logger = get_logger(__name__)


def read_folder(folder: Path, dtype: torch.dtype) -> tuple[nn.Module, dict[str, Any]]:
    """Read a Hugging Face folder: the base model without heads, and the preprocessor's settings.

    Raises:
        CheckpointError: a file is missing or broken, or the weights do not fill the encoder.
    """
    config = read_config(folder)
    tensors = read_tensors(folder)
    model = fill_model(config, tensors, dtype, where=folder)
    return model, _read_preprocessor(folder, config)


def read_config(folder: Path) -> Any:
    """Read `config.json` as a transformers configuration."""
    from transformers import AutoConfig

    if not (folder / CONFIG).is_file():
        raise CheckpointError(
            "this folder is no encoder",
            where=folder,
            expected=f"a file {CONFIG}",
            found="no such file",
            hint="give the folder that save() or save_pretrained() wrote",
        )
    values = _read_json(folder / CONFIG)
    model_type = values.pop("model_type", None)
    try:
        config = AutoConfig.for_model(model_type, **values)
    except ValueError:
        from transformers import CONFIG_MAPPING

        raise CheckpointError(
            "the configuration names an unknown model type",
            where=folder / CONFIG,
            found=model_type,
            hint=did_you_mean(str(model_type), list(CONFIG_MAPPING.keys())),
        ) from None
    except Exception as error:
        # transformers checks values with its own error classes, which differ between versions.
        raise CheckpointError(
            "the configuration cannot be read", where=folder / CONFIG, found=error
        ) from None
    return config


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Read all tensors of a folder's safetensors file."""
    path = folder / WEIGHTS
    if not path.is_file():
        raise CheckpointError(
            "the folder has a configuration but no weights",
            where=folder,
            expected=WEIGHTS,
            hint="copy the weights beside config.json",
        )
    return read_safetensors(path)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        CheckpointError: the file is cut short or is none.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            "the weights cannot be read: the file is cut short or is no safetensors file",
            where=path,
            found=f"{error} ({path.stat().st_size} bytes)",
            hint="copy or download it again",
        ) from None


def fill_model(
    config: Any, tensors: dict[str, Tensor], dtype: torch.dtype, where: object
) -> nn.Module:
    """Build the base model of a configuration and fill every weight from `tensors`.

    Raises:
        CheckpointError: lists every missing tensor, every unknown one and every wrong shape.
    """
    from transformers import AutoModel

    tensors = {_modern(name): tensor for name, tensor in tensors.items()}
    has_mask = any(name.endswith(MASK_EMBEDDING) for name in tensors)
    tame_config(config, has_mask_embedding=has_mask)
    with torch.device("meta"):
        model: nn.Module = AutoModel.from_config(config)
    expected = model.state_dict()
    found = _without_prefix(tensors, f"{getattr(model, 'base_model_prefix', '')}.", expected)
    _check(expected, found, where)
    filled = {
        name: found[name].to(dtype) if found[name].is_floating_point() else found[name]
        for name in expected
    }
    model.load_state_dict(filled, strict=True, assign=True)
    return model


def tame_config(config: Any, *, has_mask_embedding: bool | None = None) -> None:
    """Set what every encoder here has: no layer drop, no masking of its own, fused attention.

    Args:
        config: changed in place.
        has_mask_embedding: whether the checkpoint holds a mask embedding; transformers builds one
            only where a masking probability is set, so the configuration has to agree.
    """
    for name, value in (("layerdrop", 0.0), ("apply_spec_augment", False)):
        if hasattr(config, name):
            setattr(config, name, value)
    if has_mask_embedding is None or not hasattr(config, "mask_time_prob"):
        return
    if not has_mask_embedding:
        config.mask_time_prob = 0.0
        config.mask_feature_prob = 0.0
    elif config.mask_time_prob == 0.0 and config.mask_feature_prob == 0.0:
        config.mask_time_prob = 0.05


def default_preprocessor(config: Any, do_normalize: bool | None = None) -> dict[str, Any]:
    """Give preprocessor settings for an encoder that has none of its own."""
    if do_normalize is None:
        do_normalize = getattr(config, "feat_extract_norm", "layer") == "layer"
    return {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "sampling_rate": 16000,
        "padding_side": "right",
        "padding_value": 0.0,
        "do_normalize": do_normalize,
        "return_attention_mask": True,
    }


def write_folder(folder: Path, model: Any, preprocessor: dict[str, Any]) -> Path:
    """Write a model in the Hugging Face layout, atomically."""
    config = model.config
    config.architectures = [type(model).__name__]
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    config.dtype = next(iter(tensors.values())).dtype
    with atomic_dir(folder) as temporary:
        config.to_json_file(temporary / CONFIG)
        save_file(tensors, temporary / WEIGHTS, metadata={"format": "pt"})
        text = json.dumps(preprocessor, indent=2) + "\n"
        (temporary / PREPROCESSOR).write_text(text, encoding="utf-8")
    return folder


def _read_preprocessor(folder: Path, config: Any) -> dict[str, Any]:
    path = folder / PREPROCESSOR
    if path.is_file():
        return _read_json(path)
    settings = default_preprocessor(config)
    logger.warning(
        "%s has no %s: waveforms are %s, as usual for this style of encoder",
        folder,
        PREPROCESSOR,
        "normalised" if settings["do_normalize"] else "not normalised",
    )
    return settings


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError("this is no JSON file", where=path, found=error) from None
    if not isinstance(values, dict):
        raise CheckpointError("the file holds no settings", where=path, found=type(values).__name__)
    return values


def _modern(name: str) -> str:
    for old, new in LEGACY.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _without_prefix(
    tensors: dict[str, Tensor], prefix: str, expected: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Give the base model's tensors of a checkpoint that may have heads around it."""
    if len(prefix) > 1 and any(name.startswith(prefix) for name in tensors):
        return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    rooms = {name.partition(".")[0] for name in expected}
    return {n: t for n, t in tensors.items() if n.partition(".")[0] in rooms}


def _check(expected: dict[str, Tensor], found: dict[str, Tensor], where: object) -> None:
    lines = [f"missing: {n} {tuple(t.shape)}" for n, t in expected.items() if n not in found]
    lines += [f"unknown: {n} {tuple(t.shape)}" for n, t in found.items() if n not in expected]
    lines += [
        f"shape: {n} is {tuple(found[n].shape)}, expected {tuple(t.shape)}"
        for n, t in expected.items()
        if n in found and found[n].shape != t.shape
    ]
    if lines:
        raise CheckpointError(
            "the checkpoint does not fill this encoder:\n" + "\n".join(f"    {i}" for i in lines),
            where=where,
            found=f"{len(found)} tensors",
            expected=f"{len(expected)} tensors",
            hint="check that configuration and weights belong together",
        )

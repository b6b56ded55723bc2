"""PEFT adapter folders: low-rank updates merged into the encoder they were trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speechft.core.errors import CheckpointError
from speechft.encoders.checkpoint import Checkpoint, fill_model, listed
from speechft.encoders.folder import ADAPTER as SETTINGS
from speechft.encoders.formats.hf import modern_names, read_safetensors, read_state_dict
from speechft.encoders.identity import read_json_object

_STEM = "base_model.model."
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


def merge_adapter(
    folder: Path, read: Callable[[Any], Checkpoint], base: str | Path | None
) -> Checkpoint:
    """Read an adapter folder and give its base encoder with the adapter merged in.

    Args:
        folder: holds `adapter_config.json` and the adapter's weights.
        read: reads the base encoder.
        base: the base encoder; the one that the adapter's settings name if None.

    Raises:
        CheckpointError: the base is not found, or the adapter does not fit it.
    """
    settings = read_json_object(folder / SETTINGS)
    name = base or settings.get("base_model_name_or_path")
    if not isinstance(name, str | Path) or not str(name):
        raise CheckpointError(
            "the adapter does not say which encoder it belongs to",
            where=folder / SETTINGS,
            expected="base_model_name_or_path",
            hint="first convert it with `speechft convert ADAPTER FOLDER --to hf --base ENCODER`",
        )
    checkpoint = _read_base(name, read, folder)
    tensors, heads = _merged(checkpoint, settings, _read_weights(folder), folder)
    side = replace(checkpoint.side, tensors={**checkpoint.side.tensors, **heads})
    return replace(checkpoint, format="peft", tensors=tensors, side=side, where=folder)


def _read_base(name: str | Path, read: Callable[[Any], Checkpoint], folder: Path) -> Checkpoint:
    if (Path(name) / SETTINGS).is_file():
        raise CheckpointError(
            "the adapter belongs to another adapter, or to itself",
            where=folder / SETTINGS,
            found=name,
            expected="an encoder as base_model_name_or_path",
            hint="first convert that adapter with `speechft convert ADAPTER FOLDER --to hf`",
        )
    try:
        return read(name)
    except CheckpointError as error:
        raise CheckpointError(
            f"the adapter's encoder cannot be read: {error.what}",
            where=folder / SETTINGS,
            found=f"base_model_name_or_path: {name}",
            hint="if it lies elsewhere, convert the adapter with "
            "`speechft convert ADAPTER FOLDER --to hf --base ENCODER`",
        ) from None


def _read_weights(folder: Path) -> dict[str, Tensor]:
    for name, read in zip(WEIGHTS, (read_safetensors, read_state_dict), strict=True):
        if (folder / name).is_file():
            return read(folder / name)
    raise CheckpointError("the adapter has no weights", where=folder, expected=" or ".join(WEIGHTS))


def _merged(
    checkpoint: Checkpoint, settings: dict[str, Any], weights: dict[str, Tensor], folder: Path
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Give the merged encoder's tensors, and those of heads that were trained beside it."""
    from peft import PeftConfig, get_peft_model
    from peft.utils import set_peft_model_state_dict

    dtypes = {name: tensor.dtype for name, tensor in checkpoint.tensors.items()}
    model = fill_model(checkpoint, torch.float32)
    prefix = f"base_model.model.{getattr(model, 'base_model_prefix', '')}."
    weights = {
        f"{_STEM}{n.removeprefix(prefix)}" if n.startswith(prefix) else n: t
        for n, t in weights.items()
    }
    rooms = {name.partition(".")[0] for name in model.state_dict()}
    heads = {
        n: t for n, t in weights.items() if n.removeprefix(_STEM).partition(".")[0] not in rooms
    }
    weights = {n: t for n, t in weights.items() if n not in heads}
    own = {f"{_STEM}{name}" for name in model.state_dict()}
    settings = {**settings, "inference_mode": True, "modules_to_save": None, "task_type": None}
    try:
        with torch.random.fork_rng(devices=[]):
            peft_model = get_peft_model(model, PeftConfig.from_peft_type(**settings))
        report = set_peft_model_state_dict(peft_model, weights)
    except (ValueError, LookupError, RuntimeError, TypeError, AttributeError) as error:
        raise CheckpointError(
            "the adapter does not fit its encoder", where=folder, found=error
        ) from None
    missing = [n for n in report.missing_keys if n.replace(".base_layer.", ".") not in own]
    if missing or report.unexpected_keys:
        lines = [f"missing: {n}" for n in missing]
        lines += [f"unknown: {n}" for n in report.unexpected_keys]
        raise CheckpointError(listed("the adapter does not fit its encoder", lines), where=folder)
    merged: nn.Module = peft_model.merge_and_unload(safe_merge=True)
    tensors = modern_names(dict(merged.state_dict()))
    merged_tensors = {name: t.detach().to(dtypes[name]) for name, t in tensors.items()}
    return merged_tensors, {name.removeprefix(_STEM): t for name, t in heads.items()}

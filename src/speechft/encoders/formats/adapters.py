"""PEFT adapter folders: low-rank updates merged into the encoder they were trained on."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from speechft.core.errors import CheckpointError
from speechft.core.logging import get_logger, quieten_kernels
from speechft.encoders.checkpoint import Checkpoint, fill_model, listed
from speechft.encoders.formats.hf import modern_names, read_safetensors, read_state_dict
from speechft.encoders.identity import ADAPTER, ADAPTER_WEIGHTS, HUB_ID, read_json_object

log = get_logger(__name__)

_STEM = "base_model.model."
_NAME: Final = "default"  # that peft gives the one adapter of a model


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
    settings = read_json_object(folder / ADAPTER)
    name = base or settings.get("base_model_name_or_path")
    revision = settings.get("revision")
    if not base and isinstance(name, str) and isinstance(revision, str) and HUB_ID.fullmatch(name):
        name = name if "@" in name or Path(name).exists() else f"{name}@{revision}"
    if not isinstance(name, str | Path) or not str(name):
        raise CheckpointError(
            "the adapter does not say which encoder it belongs to",
            where=folder / ADAPTER,
            expected="base_model_name_or_path",
            hint="first convert it with `speechft convert ADAPTER FOLDER --to hf --base ENCODER`",
        )
    checkpoint = _read_base(name, read, folder)
    tensors, heads = _merged(checkpoint, settings, _read_weights(folder), folder)
    if all(torch.equal(t, checkpoint.tensors[n]) for n, t in tensors.items() if _encodes(n)):
        log.warning(
            "%s: the adapter leaves the encoder as it is: all that it adds is zero, or part of a "
            "head or a decoder",
            folder,
        )
    side = replace(checkpoint.side, tensors={**checkpoint.side.tensors, **heads})
    return replace(checkpoint, format="peft", tensors=tensors, side=side, where=folder)


def _encodes(name: str) -> bool:
    """Tell whether a tensor takes part in encoding; those of Whisper's decoder do not."""
    return not name.startswith("decoder.")


def _read_base(name: str | Path, read: Callable[[Any], Checkpoint], folder: Path) -> Checkpoint:
    if (Path(name) / ADAPTER).is_file():
        raise CheckpointError(
            "the adapter belongs to another adapter, or to itself",
            where=folder / ADAPTER,
            found=name,
            expected="an encoder as base_model_name_or_path",
            hint="first convert that adapter with `speechft convert ADAPTER FOLDER --to hf`",
        )
    try:
        return read(name)
    except CheckpointError as error:
        raise CheckpointError(
            f"the adapter's encoder cannot be read: {error.what}",
            where=folder / ADAPTER,
            found=f"base_model_name_or_path: {name}",
            hint="if it lies elsewhere, convert the adapter with "
            "`speechft convert ADAPTER FOLDER --to hf --base ENCODER`",
        ) from None


def _read_weights(folder: Path) -> dict[str, Tensor]:
    for name, read in zip(ADAPTER_WEIGHTS, (read_safetensors, read_state_dict), strict=True):
        if (folder / name).is_file():
            return read(folder / name)
    raise CheckpointError(
        "the adapter has no weights", where=folder, expected=" or ".join(ADAPTER_WEIGHTS)
    )


def _merged(
    checkpoint: Checkpoint, settings: dict[str, Any], weights: dict[str, Tensor], folder: Path
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Give the merged encoder's tensors, and those of heads that were trained beside it."""
    quieten_kernels()  # peft imports bitsandbytes where it is there
    from peft import PeftConfig, get_peft_model
    from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict

    dtypes = {name: tensor.dtype for name, tensor in checkpoint.tensors.items()}
    model = fill_model(checkpoint, torch.float32)
    around = f"{getattr(model, 'base_model_prefix', '')}."
    prefix = f"{_STEM}{around}"
    wrapped = any(name.startswith(prefix) for name in weights)
    weights = {
        f"{_STEM}{n.removeprefix(prefix)}" if n.startswith(prefix) else n: t
        for n, t in weights.items()
    }
    rooms = {name.partition(".")[0] for name in model.state_dict()}
    heads = {
        n: t for n, t in weights.items() if n.removeprefix(_STEM).partition(".")[0] not in rooms
    }
    _refuse_other_family(heads, rooms, checkpoint.family, folder)
    weights = {n: t for n, t in weights.items() if n not in heads}
    own = {f"{_STEM}{name}" for name in model.state_dict()}
    settings = _tame(settings, weights, model, around if wrapped else "", folder)
    try:
        with torch.random.fork_rng(devices=[]), _said(folder):
            empty = not _changes_base(settings) and not _is_ada_lora(settings)
            made = PeftConfig.from_peft_type(**settings)
            peft_model = get_peft_model(model, made, low_cpu_mem_usage=empty)
            report = set_peft_model_state_dict(peft_model, weights, low_cpu_mem_usage=empty)
    except (ValueError, LookupError, RuntimeError, TypeError, AttributeError) as error:
        raise CheckpointError(
            "the adapter does not fit its encoder", where=folder, found=error
        ) from None
    stored = get_peft_model_state_dict(peft_model)  # AdaLoRA counts its ranks anew, for one
    missing = [n for n in report.missing_keys if n.replace(".base_layer.", ".") not in own]
    missing = [n for n in missing if n.replace(f".{_NAME}", "") in stored]
    if missing or report.unexpected_keys:
        lines = [f"missing: {n}" for n in missing]
        lines += [f"unknown: {n}" for n in report.unexpected_keys]
        raise CheckpointError(listed("the adapter does not fit its encoder", lines), where=folder)
    with _said(folder):
        merged: nn.Module = peft_model.merge_and_unload(safe_merge=True)
    tensors = modern_names(dict(merged.state_dict()))
    merged_tensors = {name: t.detach().to(dtypes[name]) for name, t in tensors.items()}
    return merged_tensors, {name.removeprefix(_STEM): t for name, t in heads.items()}


def _refuse_other_family(
    heads: Iterable[str], rooms: Collection[str], family: str, folder: Path
) -> None:
    """Refuse what looks like a head but lies within the encoder of a model of another kind.

    Raises:
        CheckpointError: says of which.
    """
    plain = [name.removeprefix(_STEM) for name in heads]
    inner = sorted(n for n in plain if n.partition(".")[2].partition(".")[0] in rooms)
    if inner:
        raise CheckpointError(
            "the adapter was trained on an encoder of another family",
            where=folder,
            found=f"{inner[0]}, in all {len(inner)} tensors of {inner[0].partition('.')[0]}.*",
            expected=f"layers of a {family}",
            hint="put it on the encoder that its adapter_config.json names, or on one like it",
        )


_TAKING_AWAY: Final = ("exclude_modules", "layers_to_transform", "layers_pattern")
#: What is told by the weights themselves, or says how they were begun; much of it patterns.
_TOLD: Final = (
    *_TAKING_AWAY,
    *("modules_to_save", "task_type", "auto_mapping", "runtime_config"),
    *("corda_config", "eva_config", "lora_ga_config", "loftq_config"),
)


def _tame(
    settings: dict[str, Any],
    weights: dict[str, Tensor],
    model: nn.Module,
    around: str,
    folder: Path,
) -> dict[str, Any]:
    """Give settings for peft whose layers are those that the weights name, each by its whole name.

    Args:
        settings: as they were stored.
        weights: of the adapter, under the encoder's names.
        model: the encoder.
        around: how the names of its layers began where the adapter was trained, such as `hubert.`.
        folder: of the adapter.

    Raises:
        CheckpointError: a rank or alpha of some layers is told by a pattern that may never end.
    """
    modules = dict(model.named_modules())
    own = {f"{_STEM}{name}" for name in model.state_dict()}
    layers = {_layer(n.removeprefix(_STEM), modules) for n in weights if n not in own} - {""}
    lacking = _named(settings, modules, around) - layers
    if lacking:
        lines = [f"missing: {name}" for name in sorted(lacking)]
        raise CheckpointError(listed("the adapter does not fit its encoder", lines), where=folder)
    patterns = {k: v for k, v in settings.items() if k.endswith("_pattern") and v}
    by_rank = _is_ada_lora(settings)  # it stores which ranks of a tensor remain
    for key, own_patterns in patterns.items():
        if not isinstance(own_patterns, dict):
            continue
        for pattern in () if by_rank else own_patterns:
            if re.search(r"[+*{]", str(pattern).replace(".*", "", 1)):
                raise CheckpointError(
                    "the adapter names layers by a pattern that may never end",
                    where=folder / ADAPTER,
                    found=f"{key}: {pattern!r}",
                    expected="names of layers, or ends of them",
                )
    most = max((size for tensor in weights.values() for size in tensor.shape), default=0)
    if isinstance(settings.get("r"), int) and settings["r"] > most:
        raise CheckpointError(
            "the adapter does not fit its encoder",
            where=folder / ADAPTER,
            found=f"rank {settings['r']}, and weights of at most {most} rows",
        )
    begun = settings.get("init_lora_weights")
    if begun in ("corda", "loftq", "lora_ga"):
        raise CheckpointError(
            f"the adapter was begun with {begun!r}, which changed the encoder's own weights",
            where=folder / ADAPTER,
            hint="convert it to a plain LoRA adapter with peft first (subtract_init)",
        )
    told: dict[str, Any] = {"inference_mode": True, "target_modules": sorted(layers)}
    for key, own_patterns in patterns.items():
        if isinstance(own_patterns, dict):
            told[key] = (
                {name.removeprefix(around): kept for name, kept in own_patterns.items()}
                if by_rank
                else _by_layer(own_patterns, layers, around)
            )
    if isinstance(settings.get("feedforward_modules"), str):
        told["feedforward_modules"] = None
    if "init_lora_weights" in settings and not _changes_base(settings):
        told["init_lora_weights"] = True
    return {name: value for name, value in settings.items() if name not in _TOLD} | told


def _by_layer(patterns: Mapping[str, Any], layers: Iterable[str], around: str) -> dict[str, Any]:
    """Give what patterns tell of layers, by the names that these had where they were trained."""
    from peft.utils.other import get_pattern_key

    found = {}
    for layer in layers:
        key = get_pattern_key(list(patterns), f"{around}{layer}")
        if key in patterns:
            found[f"^{re.escape(layer)}"] = patterns[key]
    return found


def _named(settings: Mapping[str, Any], modules: Mapping[str, nn.Module], around: str) -> set[str]:
    """Give the layers that the settings name by ends of names; none where they also take some away.

    A tensor of one of them that is gone would not be missed otherwise.
    """
    ends = settings.get("target_modules")
    if not isinstance(ends, list) or any(settings.get(n) for n in _TAKING_AWAY):
        return set()
    return {m for m in modules if any(f".{around}{m}".endswith(f".{end}") for end in ends)}


def _changes_base(settings: Mapping[str, Any]) -> bool:
    """Tell whether peft changes the encoder's own weights, too, before it loads the adapter."""
    return str(settings.get("init_lora_weights")).startswith(("pissa", "olora"))


def _is_ada_lora(settings: Mapping[str, Any]) -> bool:
    """Tell the kind whose layers have sizes of their own, which peft looks at as it loads them."""
    return bool(settings.get("peft_type") == "ADALORA")


def _layer(name: str, modules: Mapping[str, nn.Module]) -> str:
    """Give the layer that an adapter's tensor belongs to."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name


@contextmanager
def _said(folder: Path) -> Iterator[None]:
    """Say in one line what peft does not know of the settings; what else it warns of is no news."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    unknown = [str(one.message) for one in caught if "Unexpected keyword" in str(one.message)]
    if unknown:
        names = unknown[0].partition("[")[2].partition("]")[0]
        log.warning("%s: settings of a newer peft are left out: %s", folder / ADAPTER, names)

"""Reading Hugging Face folders: configuration, weights, preprocessor, and our side file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from speechft.core.errors import CheckpointError
from speechft.core.limits import parse_own_json
from speechft.core.logging import get_logger
from speechft.core.nearest_names import did_you_mean
from speechft.core.paths import first_of
from speechft.encoders.checkpoint import MASK_EMBEDDING, Checkpoint, Side, empty_model, tame_config
from speechft.encoders.fairseq_layout import translate
from speechft.encoders.families import record_of
from speechft.encoders.formats.unpickle import read_torch_file
from speechft.encoders.hf_folder import CONFIG
from speechft.encoders.identity import (
    EXTRAS_FILE,
    TORCH_WEIGHTS,
    WEIGHTS,
    damage,
    main_files,
    no_configuration,
    no_weights,
    read_json_object,
    shards_of,
    stored_preprocessor,
)
from speechft.encoders.wrapped_names import plain_names

_LEGACY = re.compile(r"\.weight_([gv])$")

logger = get_logger(__name__)


def read_hf_folder(folder: Path, adapter: Path | None = None) -> Checkpoint:
    """Read a Hugging Face folder: the base model without heads.

    Args:
        folder: the folder.
        adapter: file of the language whose adapters take the place of the stored ones (MMS).

    Raises:
        CheckpointError: a file is missing or broken.
    """
    config = read_config(folder)
    tensors = modern_names(read_tensors(folder))
    if adapter is not None:
        tensors |= modern_names(read_safetensors(adapter))
    elif getattr(config, "adapter_attn_dim", None):
        _say_language(folder)
    has_mask = any(name.rpartition(".")[2] == MASK_EMBEDDING for name in tensors)
    tame_config(config, has_mask_embedding=has_mask)
    base, rest = split_base(config, tensors, folder)
    side = read_side(folder)
    # Heads get fairseq's names where fairseq has the same part.
    known = translate(rest, record_of(config.model_type).head_names, back=True) if rest else {}
    heads = {known.get(name, name): tensor for name, tensor in rest.items()}
    side = Side({**heads, **side.tensors}, side.source)
    return Checkpoint("hf", config, base, read_preprocessor(folder, config), side, folder)


def _say_language(folder: Path) -> None:
    """Say whose adapters an encoder with some for each language (MMS) is read with."""
    others = first_of(sorted(path.name for path in folder.glob("adapter.*.safetensors")))
    logger.warning(
        "%s: the encoder has adapters for a language, and those in its weights are taken; for "
        "another language give adapter.LANGUAGE.safetensors of its folder as ENCODER (here: %s)",
        folder,
        others or "none",
    )


def read_config(folder: Path) -> Any:
    """Read `config.json` as a transformers configuration."""
    from transformers import CONFIG_MAPPING

    if not (folder / CONFIG).is_file():
        raise no_configuration(folder)
    values = read_json_object(folder / CONFIG)
    model_type = values.pop("model_type", None)
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        raise CheckpointError(
            "the configuration names an unknown model type",
            where=folder / CONFIG,
            found=model_type,
            hint=did_you_mean(str(model_type), list(CONFIG_MAPPING.keys()))
            if isinstance(model_type, str)
            else "is this the configuration of an encoder?",
        )
    values["model_type"] = model_type
    return make_config(values, folder / CONFIG, "the configuration cannot be read")


def make_config(values: dict[str, Any], where: Path, fault: str) -> Any:
    """Make a transformers configuration of its values, `model_type` among them.

    Raises:
        CheckpointError: they do not fit; `fault` says what cannot be done then.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.for_model(**values)
    except Exception as error:
        # transformers checks values with its own error classes, which differ between versions.
        raise CheckpointError(fault, where=where, found=error) from None


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Read all tensors of a folder: one file or several, safetensors or torch."""
    for single, read in ((WEIGHTS, read_safetensors), (TORCH_WEIGHTS, read_state_dict)):
        if (folder / single).is_file():
            return read(folder / single)
        index = folder / f"{single}.index.json"
        if index.is_file():
            return _read_shards(index, read)
    raise no_weights(folder)


def only_weights(folder: Path) -> Path | None:
    """Give the one file of weights of a folder that has none under transformers' names."""
    if not (folder / CONFIG).is_file() or any(folder.glob("*.index.json")):
        return None
    files = main_files(folder)
    known = {WEIGHTS, TORCH_WEIGHTS} & files.keys()
    return next(iter(files.values())) if len(files) == 1 and not known else None


def _read_shards(index: Path, read: Any) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for path in shards_of(index).values():
        tensors |= read(path)
    missing = sorted(set(read_json_object(index)["weight_map"]) - set(tensors))
    if missing:
        raise CheckpointError(
            "the shards lack tensors that their index names: " + ", ".join(missing), where=index
        )
    return tensors


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        CheckpointError: the file is cut short or is none.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            "the weights cannot be read as a safetensors file",
            where=path,
            **damage(path, error),
        ) from None
    return plain_names(tensors, path)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a state dict that `torch.save` wrote."""
    content = read_torch_file(path)
    if not isinstance(content, dict) or not all(isinstance(t, Tensor) for t in content.values()):
        raise CheckpointError("the file holds no state dict", where=path)
    return plain_names({str(name): tensor for name, tensor in content.items()}, path)


def modern_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename weight-norm tensors from `weight_g` and `weight_v` to the parametrised names."""
    new = {"g": ".parametrizations.weight.original0", "v": ".parametrizations.weight.original1"}
    return {_LEGACY.sub(lambda old: new[old[1]], n): tensor for n, tensor in tensors.items()}


def split_base(
    config: Any, tensors: dict[str, Tensor], where: object
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Part the base model's tensors, without prefix, from those of the heads around it."""
    model = empty_model(config, where)
    own = f"{getattr(model, 'base_model_prefix', '')}."
    last = next(reversed(model.state_dict()), "")
    if not last:  # filter banks have no weights
        return tensors, {}
    found = {n.removesuffix(last) for n in tensors if n.endswith(f".{last}")} - {own}
    prefix = found.pop() if len(found) == 1 and last not in tensors else own
    if len(prefix) > 1 and any(name.startswith(prefix) for name in tensors):
        base = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        return base, {n: t for n, t in tensors.items() if not n.startswith(prefix)}
    rooms = {name.partition(".")[0] for name in model.state_dict()}
    base = {n: t for n, t in tensors.items() if n.partition(".")[0] in rooms}
    return base, {n: t for n, t in tensors.items() if n not in base}


def read_side(folder: Path) -> Side:
    """Read the side file of a folder; an empty one if there is none."""
    path = folder / EXTRAS_FILE
    if not path.is_file():
        return Side()
    tensors = read_safetensors(path)
    with safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get("source", "{}")
    try:
        source = parse_own_json(text)
    except ValueError as error:
        raise CheckpointError("the side file's settings are broken", where=path) from error
    if not isinstance(source, dict):
        raise CheckpointError("the side file's settings are broken", where=path, found=text[:80])
    return Side(tensors, source)


def read_preprocessor(folder: Path, config: Any) -> dict[str, Any]:
    """Read the preprocessor's settings, the usual ones of the family where no file says them.

    Raises:
        CheckpointError: a setting would be followed wrongly.
    """
    usual = record_of(config.model_type).default_preprocessor(config)
    settings, _ = stored_preprocessor(folder)
    needed = "do_normalize" if settings and "do_normalize" in usual else None
    if settings and (needed is None or needed in settings):
        return settings
    logger.warning(
        "%s: no file says %s: as is usual for this kind of encoder%s",
        folder,
        needed or "what the encoder is given",
        {True: ", waveforms are normalised", False: ", waveforms stay as they are", None: ""}[
            usual.get("do_normalize")
        ],
    )
    return {**settings, "do_normalize": usual["do_normalize"]} if needed else usual

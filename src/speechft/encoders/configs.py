"""Configurations of transformers: what counts in them, and what every encoder here has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from speechft.core.errors import CheckpointError

MAX_LAYERS: Final = 1000
PREPROCESSOR: Final = "preprocessor_config.json"
PROCESSOR: Final = "processor_config.json"
# Of a configuration: where it comes from, and what was used to write it.
SAYS_NOTHING: Final = frozenset(
    {"_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype"}
)


def computing(config: Mapping[str, Any]) -> dict[str, Any]:
    """Give what of a configuration may change a hidden state."""
    return {key: value for key, value in config.items() if key not in SAYS_NOTHING}


def tame_config(config: Any, *, has_mask_embedding: bool | None = None) -> None:
    """Set what every encoder here has: no layer drop, no masking of its own, fused attention.

    Args:
        config: changed in place.
        has_mask_embedding: whether the checkpoint holds a mask embedding; transformers builds one
            only where a masking probability is set, so the configuration has to agree.
    """
    for name in ("layerdrop", "encoder_layerdrop", "decoder_layerdrop"):
        if hasattr(config, name):
            setattr(config, name, 0.0)
    if hasattr(config, "apply_spec_augment"):
        config.apply_spec_augment = False
    if has_mask_embedding is None or not hasattr(config, "mask_time_prob"):
        return
    if not has_mask_embedding:
        config.mask_time_prob = 0.0
        config.mask_feature_prob = 0.0
    elif config.mask_time_prob == 0.0 and config.mask_feature_prob == 0.0:
        config.mask_time_prob = 0.05


def check_sizes(config: Any, where: object) -> None:
    """Refuse sizes that no encoder has, before anything is built of them.

    Raises:
        CheckpointError: says which.
    """
    bounds = {"num_hidden_layers": MAX_LAYERS, "num_attention_heads": 4096, "hidden_size": 1 << 20}
    values = {name: (getattr(config, name, 1), most) for name, most in bounds.items()}
    for name in ("conv_stride", "conv_kernel", "conv_dim"):
        for number, value in enumerate(getattr(config, name, None) or ()):
            values[f"{name}.{number}"] = (value, 1 << 20)
    for name, (value, most) in values.items():
        if not isinstance(value, int) or not 1 <= value <= most:
            raise CheckpointError(
                "the checkpoint's configuration holds a size that no encoder has",
                where=where,
                expected=f"{name} from 1 to {most}",
                found=repr(value),
            )


def stored_preprocessor(folder: Path) -> tuple[dict[str, Any], Path]:
    """Give the preprocessor's settings that a folder holds, and where; none if it holds none.

    They stand in `preprocessor_config.json`, or, as transformers 5 writes processors, in
    `processor_config.json` under `feature_extractor`. The first place goes first; `do_normalize` is
    taken from the second where the first does not say it.

    Raises:
        CheckpointError: a file is broken.
    """
    own, processor = folder / PREPROCESSOR, folder / PROCESSOR
    first = read_json_object(own) if own.is_file() else {}
    second = read_json_object(processor).get("feature_extractor") if processor.is_file() else None
    if not isinstance(second, dict):
        return first, own
    if not first:
        return second, processor
    said = {name: second[name] for name in ("do_normalize",) if name in second}
    return {**said, **first}, own


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError("this is no JSON file", where=path, found=error) from None
    if not isinstance(values, dict):
        raise CheckpointError("the file holds no settings", where=path, found=type(values).__name__)
    return values

"""Configurations of transformers: what counts in them, and what every encoder here has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from speechft.core.errors import CheckpointError

MAX_LAYERS: Final = 1000
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

"""Settings: fairseq's `model_cfg` on the left, transformers' configuration on the right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from speechft.core.errors import CheckpointError
from speechft.core.logging import get_logger
from speechft.encoders.formats.conv_spec import format_conv_spec, parse_conv_spec

logger = get_logger(__name__)

Field = tuple[str, str, Any]
DEFAULT_CONVOLUTIONS = "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2"

# fairseq's name, transformers' name, fairseq's default
_TRANSFORMER: tuple[Field, ...] = (
    ("encoder_layers", "num_hidden_layers", 12),
    ("encoder_embed_dim", "hidden_size", 768),
    ("encoder_ffn_embed_dim", "intermediate_size", 3072),
    ("encoder_attention_heads", "num_attention_heads", 12),
    ("activation_fn", "hidden_act", "gelu"),
    ("dropout", "hidden_dropout", 0.1),
    ("attention_dropout", "attention_dropout", 0.1),
    ("activation_dropout", "activation_dropout", 0.0),
    ("dropout_input", "feat_proj_dropout", 0.0),
    ("conv_pos_groups", "num_conv_pos_embedding_groups", 16),
)
_POSITIONS: tuple[Field, ...] = (("conv_pos", "num_conv_pos_embeddings", 128),)
_STACKED_POSITIONS: tuple[Field, ...] = (("pos_conv_depth", "num_conv_pos_embeddings", 5),)
_ORDER: tuple[Field, ...] = (("layer_norm_first", "do_stable_layer_norm", False),)
_WAVEFORM: tuple[Field, ...] = (
    ("conv_bias", "conv_bias", False),
    ("mask_prob", "mask_time_prob", 0.65),
    ("mask_length", "mask_time_length", 10),
    ("mask_channel_prob", "mask_feature_prob", 0.0),
    ("mask_channel_length", "mask_feature_length", 10),
)
_FAMILY: dict[str, tuple[Field, ...]] = {
    "hubert": (),
    "wav2vec2": (
        ("latent_vars", "num_codevectors_per_group", 320),
        ("latent_groups", "num_codevector_groups", 2),
        ("latent_dim", "codevector_dim", 0),
        ("final_dim", "proj_codevector_dim", 0),
    ),
    "wavlm": (("num_buckets", "num_buckets", 320), ("max_distance", "max_bucket_distance", 1280)),
}
# Settings that change the computation to one that no transformers model here does.
_UNSUPPORTED = {"layer_type": "transformer", "attn_type": "", "conv_pos_batch_norm": False}
_UNSUPPORTED_OF = {
    "data2vec-audio": {"layer_norm_first": False, "extractor_mode": "layer_norm"},
}


def fields(family: str) -> tuple[Field, ...]:
    """Give the rows of a family."""
    if family == "decoar2":
        return _TRANSFORMER + _POSITIONS
    if family == "data2vec-audio":
        return _TRANSFORMER + _STACKED_POSITIONS + _WAVEFORM
    return _TRANSFORMER + _POSITIONS + _ORDER + _WAVEFORM + _FAMILY[family]


def config_from_fairseq(family: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Give transformers' values for fairseq's settings; missing ones take fairseq's defaults.

    Raises:
        CheckpointError: a setting asks for a computation that is not supported.
    """
    unsupported = _UNSUPPORTED | _UNSUPPORTED_OF.get(family, {"pos_conv_depth": 1})
    for name, value in unsupported.items():
        if _plain(settings.get(name, value)) not in (value, None):
            raise CheckpointError(
                "the checkpoint uses a variant that is not supported",
                where=name,
                found=settings[name],
                expected=repr(value),
            )
    values = {new: _plain(settings.get(old, default)) for old, new, default in fields(family)}
    values["model_type"] = family
    if family == "decoar2":
        return values
    layers = parse_conv_spec(str(settings.get("conv_feature_layers", DEFAULT_CONVOLUTIONS)))
    for name, column in (("conv_dim", 0), ("conv_kernel", 1), ("conv_stride", 2)):
        values[name] = tuple(layer[column] for layer in layers)
    if family == "data2vec-audio":
        depth = max(1, int(values["num_conv_pos_embeddings"]))
        return values | {"conv_pos_kernel_size": max(3, int(settings.get("conv_pos", 95)) // depth)}
    mode = settings.get("extractor_mode", "default")
    values["feat_extract_norm"] = "layer" if _plain(mode) == "layer_norm" else "group"
    if family == "wav2vec2":
        size = values["codevector_dim"] or values["proj_codevector_dim"] or values["hidden_size"]
        values["codevector_dim"] = size
        values["proj_codevector_dim"] = values["proj_codevector_dim"] or values["hidden_size"]
    return values


def config_to_fairseq(family: str, config: Any) -> dict[str, Any]:
    """Give fairseq's settings for a transformers configuration."""
    settings = {old: getattr(config, new) for old, new, _ in fields(family) if hasattr(config, new)}
    settings["encoder_layerdrop"] = 0.0
    if family == "decoar2":
        return settings
    layers = zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True)
    settings["conv_feature_layers"] = format_conv_spec(list(layers))
    norm = getattr(config, "feat_extract_norm", "layer")
    settings["extractor_mode"] = "layer_norm" if norm == "layer" else "default"
    if family == "data2vec-audio":
        settings["conv_pos"] = config.conv_pos_kernel_size * config.num_conv_pos_embeddings
        settings |= {"layer_norm_first": False, "required_seq_len_multiple": 2}
    if family == "hubert":
        settings |= {"label_rate": 50, "final_dim": 256, "required_seq_len_multiple": 2}
    if family == "wav2vec2":
        settings |= {"quantize_targets": True, "required_seq_len_multiple": 2}
    if family == "wavlm":
        settings |= {"relative_position_embedding": True, "gru_rel_pos": True}
    return settings


def settings_from_shapes(family: str, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Infer fairseq's settings from the tensors of a file that holds none.

    Strides, attention heads and the order of norms leave no trace in shapes: they are taken as in
    the published models (heads of width 64; pre-norm exactly where every convolution has a norm).
    """
    hidden = int(weights["post_extract_proj.weight"].shape[0])
    layers = 1 + max(int(n.split(".")[2]) for n in weights if n.startswith("encoder.layers."))
    stacked = family == "data2vec-audio"
    kernel = weights["encoder.pos_conv.0.0.weight" if stacked else "encoder.pos_conv.0.weight_v"]
    settings: dict[str, Any] = {
        "encoder_layers": layers,
        "encoder_embed_dim": hidden,
        "encoder_ffn_embed_dim": int(weights["encoder.layers.0.fc1.weight"].shape[0]),
        "encoder_attention_heads": hidden // 64 if hidden % 64 == 0 else 4,
        "conv_pos": int(kernel.shape[2]),
        "conv_pos_groups": hidden // int(kernel.shape[1]),
    }
    if family != "decoar2":
        settings |= _waveform_settings(weights)
    if stacked:
        depth = sum(n.startswith("encoder.pos_conv.") and n.endswith(".weight") for n in weights)
        settings |= {"pos_conv_depth": depth, "conv_pos": depth * int(kernel.shape[2])}
        settings["layer_norm_first"] = False
    if family == "wavlm":
        bias = weights["encoder.layers.0.self_attn.relative_attention_bias.weight"]
        gate = weights["encoder.layers.0.self_attn.grep_a"]
        settings |= {"num_buckets": int(bias.shape[0]), "max_distance": 800}
        settings["encoder_attention_heads"] = int(gate.shape[1])
    logger.warning(
        "the file holds no settings: sizes are inferred from shapes; %d attention heads and %s are "
        "assumed, as in the published models",
        settings["encoder_attention_heads"],
        "pre-norm layers" if settings.get("layer_norm_first") else "post-norm layers",
    )
    return settings


def _waveform_settings(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    stem = "feature_extractor.conv_layers"
    count = 1 + max(int(n.split(".")[2]) for n in weights if n.startswith(stem))
    shapes = [weights[f"{stem}.{i}.0.weight"].shape for i in range(count)]
    layers = [(int(s[0]), int(s[2]), 5 if i == 0 else 2) for i, s in enumerate(shapes)]
    large = f"{stem}.0.2.1.weight" in weights
    return {
        "conv_feature_layers": format_conv_spec(layers),
        "conv_bias": f"{stem}.0.0.bias" in weights,
        "extractor_mode": "layer_norm" if large else "default",
        "layer_norm_first": large,
    }


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)

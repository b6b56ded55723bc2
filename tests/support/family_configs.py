"""Configurations of every family of encoders, small enough for unit tests."""

from __future__ import annotations

from typing import Any

_TRANSFORMER = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "mask_time_prob": 0.05,
    "layerdrop": 0.0,
}
_WHISPER = {
    "d_model": 32,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_layers": 2,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 64,
    "max_source_positions": 320,
    "vocab_size": 50,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "decoder_start_token_id": 0,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "hubert": _TRANSFORMER,
    "wav2vec2": _TRANSFORMER,
    "wavlm": _TRANSFORMER,
    "unispeech-sat": _TRANSFORMER,
    "data2vec-audio": {**_TRANSFORMER, "conv_pos_kernel_size": 7},
    "decoar2": _TRANSFORMER,
    "wav2vec2-bert": _TRANSFORMER,
    "whisper": _WHISPER,
}


def config_of(family: str) -> dict[str, Any]:
    """Give the configuration of a family."""
    return {"model_type": family, **FAMILIES[family]}

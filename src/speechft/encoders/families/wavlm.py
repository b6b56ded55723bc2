"""WavLM: HuBERT's units under noise, and a gated relative position bias in the attention.

Chen et al. 2022, "WavLM: Large-Scale Self-Supervised Pre-Training for Full Stack Speech
Processing".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from speechft.encoders.convolutional import ConvolutionalEncoder
from speechft.encoders.fairseq_layout import Name, Setting, WaveformLayout
from speechft.encoders.family import Family, register

_ATTENTION = "encoder.layers.{l}.self_attn"


class WavLMLayout(WaveformLayout):
    """WavLM's original files, which S3PRL reads too; their readers take the encoder alone."""

    kind: ClassVar[str] = "wavlm"
    names: ClassVar[tuple[Name, ...]] = (
        *WaveformLayout.names,
        (f"{_ATTENTION}.grep_linear.{{p}}", "encoder.layers.{l}.attention.gru_rel_pos_linear.{p}"),
        (f"{_ATTENTION}.grep_a", "encoder.layers.{l}.attention.gru_rel_pos_const"),
        (
            f"{_ATTENTION}.relative_attention_bias.weight",
            "encoder.layers.{l}.attention.rel_attn_embed.weight",
        ),
    )
    settings: ClassVar[tuple[Setting, ...]] = (
        *WaveformLayout.settings,
        ("num_buckets", "num_buckets", 320),
        ("max_distance", "max_bucket_distance", 1280),
    )
    extras: ClassVar[re.Pattern[str]] = re.compile(r"final_proj\.|label_embs_concat$|target_glu\.")
    writes_extras: ClassVar[bool] = False
    constants: ClassVar[Mapping[str, Any]] = {
        "relative_position_embedding": True,
        "gru_rel_pos": True,
    }
    is_flat: ClassVar[bool] = True

    def evidence(self, weights: Mapping[str, Tensor], said: str) -> int:  # noqa: ARG002
        """Know it by its position bias."""
        marks = (".grep_", "relative_attention_bias")
        return 5 if any(mark in name for name in weights for mark in marks) else 0

    def settings_from_shapes(self, weights: Mapping[str, Tensor]) -> dict[str, Any]:
        """Infer the settings; the gate says how many attention heads there are."""
        bias = weights["encoder.layers.0.self_attn.relative_attention_bias.weight"]
        gate = weights["encoder.layers.0.self_attn.grep_a"]
        return {
            **super().settings_from_shapes(weights),
            "num_buckets": int(bias.shape[0]),
            "max_distance": 800,
            "encoder_attention_heads": int(gate.shape[1]),
        }

    def s3prl_content(
        self, weights: Mapping[str, Tensor], model_cfg: dict[str, Any], task_cfg: dict[str, Any]
    ) -> dict[str, Any]:
        """Give the original file's content."""
        return {"cfg": {**model_cfg, "normalize": task_cfg["normalize"]}, "model": weights}


register(Family("wavlm", ConvolutionalEncoder, carries="units", fairseq=WavLMLayout()))

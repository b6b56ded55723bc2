"""data2vec for audio: states of a teacher, predicted where the input is masked.

Baevski et al. 2022, "data2vec: A General Framework for Self-supervised Learning in Speech, Vision
and Language".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from speechft.encoders.convolutional import ConvolutionalEncoder
from speechft.encoders.fairseq_layout import (
    LAYER_NORM_NAMES,
    TRANSFORMER_NAMES,
    TRANSFORMER_SETTINGS,
    WAVEFORM_NAMES,
    WAVEFORM_SETTINGS,
    Name,
    Setting,
    WaveformLayout,
    linear_shapes,
    transformer_from_shapes,
    waveform_from_shapes,
)
from speechft.encoders.family import Family, register


class Data2VecLayout(WaveformLayout):
    """data2vec in fairseq's and S3PRL's files: several positional convolutions, post-norm layers.

    `_ema` is the teacher of its pre-training.
    """

    kind: ClassVar[str] = "data2vec_audio"
    names: ClassVar[tuple[Name, ...]] = (
        *(*WAVEFORM_NAMES, LAYER_NORM_NAMES),
        ("encoder.pos_conv.{i}.0.{p}", "encoder.pos_conv_embed.layers.{i}.conv.{p}"),
        *TRANSFORMER_NAMES,
    )
    settings: ClassVar[tuple[Setting, ...]] = (
        *TRANSFORMER_SETTINGS,
        ("pos_conv_depth", "num_conv_pos_embeddings", 5),
        *WAVEFORM_SETTINGS,
    )
    constants: ClassVar[Mapping[str, Any]] = {
        "layer_norm_first": False,
        "required_seq_len_multiple": 2,
    }
    supported: ClassVar[Mapping[str, Any]] = {
        **{name: v for name, v in WaveformLayout.supported.items() if name != "pos_conv_depth"},
        "layer_norm_first": False,
        "extractor_mode": "layer_norm",
    }
    extras: ClassVar[re.Pattern[str]] = re.compile(r"final_proj\.|_ema\.")
    has_teacher: ClassVar[bool] = True

    def evidence(self, weights: Mapping[str, Tensor], said: str) -> int:  # noqa: ARG002
        """Know it by its second positional convolution's names."""
        return 5 if "encoder.pos_conv.0.0.weight" in weights else 0

    def all_names(self, config: Any) -> tuple[Name, ...]:  # noqa: ARG002
        """Give the rows of names: a layer norm in every convolution."""
        return self.names

    def config_values(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Give the configuration, with the width of one positional convolution."""
        values = super().config_values(settings)
        del values["feat_extract_norm"]
        depth = max(1, int(settings.get("pos_conv_depth", 5)))
        width = max(3, int(settings.get("conv_pos", 95)) // depth)
        return {**values, "conv_pos_kernel_size": width}

    def settings_of(self, config: Any) -> dict[str, Any]:
        """Give the settings, with the width of all positional convolutions."""
        width = config.conv_pos_kernel_size * config.num_conv_pos_embeddings
        return {**super().settings_of(config), "conv_pos": width}

    def settings_from_shapes(self, weights: Mapping[str, Tensor]) -> dict[str, Any]:
        """Infer the settings; the order of norms is always the same."""
        kernel = weights["encoder.pos_conv.0.0.weight"]
        depth = sum(n.startswith("encoder.pos_conv.") and n.endswith(".weight") for n in weights)
        return {
            **transformer_from_shapes(weights, kernel),
            **waveform_from_shapes(weights),
            "pos_conv_depth": depth,
            "conv_pos": depth * int(kernel.shape[2]),
            "layer_norm_first": False,
        }

    def missing_parts(self, config: Any, weights: Mapping[str, Tensor]) -> dict[str, list[int]]:
        """Give the regression head."""
        head = linear_shapes("final_proj", config.hidden_size, config.hidden_size)
        return {**super().missing_parts(config, weights), **head}


register(Family("data2vec-audio", ConvolutionalEncoder, fairseq=Data2VecLayout()))

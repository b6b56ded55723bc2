"""wav2vec 2.0, XLS-R and MMS: quantised features, told from others of the utterance.

Baevski et al. 2020, "wav2vec 2.0: A Framework for Self-Supervised Learning of Speech
Representations".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from speechft.encoders.convolutional import ConvolutionalEncoder
from speechft.encoders.fairseq_layout import Setting, WaveformLayout, linear_shapes
from speechft.encoders.family import Family, register


class Wav2Vec2Layout(WaveformLayout):
    """wav2vec 2.0 in fairseq's and S3PRL's files."""

    kind: ClassVar[str] = "wav2vec2"
    settings: ClassVar[tuple[Setting, ...]] = (
        *WaveformLayout.settings,
        ("latent_vars", "num_codevectors_per_group", 320),
        ("latent_groups", "num_codevector_groups", 2),
        ("latent_dim", "codevector_dim", 0),
        ("final_dim", "proj_codevector_dim", 0),
    )
    extras: ClassVar[re.Pattern[str]] = re.compile(
        r"(input_)?quantizer\.|project_q\.|final_proj\.|target_glu\."
    )
    constants: ClassVar[Mapping[str, Any]] = {
        "quantize_targets": True,
        "required_seq_len_multiple": 2,
    }

    def evidence(self, weights: Mapping[str, Tensor], said: str) -> int:
        """Know it by its quantiser, or by its name."""
        if "quantizer.vars" in weights or "project_q.weight" in weights:
            return 4
        return 2 if "w2v" in said or "wav2vec" in said else 0

    def config_values(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Give the configuration; code vectors are as wide as fairseq makes them by default."""
        values = super().config_values(settings)
        hidden, final = values["hidden_size"], values["proj_codevector_dim"]
        return {
            **values,
            "codevector_dim": values["codevector_dim"] or final or hidden,
            "proj_codevector_dim": final or hidden,
        }

    def missing_parts(self, config: Any, weights: Mapping[str, Tensor]) -> dict[str, list[int]]:
        """Give the quantiser and the two projections."""
        hidden, channels = weights["post_extract_proj.weight"].shape
        groups, entries = config.num_codevector_groups, config.num_codevectors_per_group
        code, dim = config.codevector_dim, config.proj_codevector_dim
        return {
            **super().missing_parts(config, weights),
            "quantizer.vars": [1, groups * entries, code // groups],
            **linear_shapes("quantizer.weight_proj", groups * entries, channels),
            **linear_shapes("project_q", dim, code),
            **linear_shapes("final_proj", dim, hidden),
        }


register(
    Family(
        "wav2vec2",
        ConvolutionalEncoder,
        objective="contrastive",
        carries="quantiser",
        fairseq=Wav2Vec2Layout(),
        head_names=(
            ("quantizer.vars", "quantizer.codevectors"),
            ("quantizer.weight_proj.{p}", "quantizer.weight_proj.{p}"),
            ("project_q.{p}", "project_q.{p}"),
            ("final_proj.{p}", "project_hid.{p}"),
        ),
    )
)

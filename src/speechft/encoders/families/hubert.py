"""HuBERT: units of a clustering, predicted where the input is masked.

Hsu et al. 2021, "HuBERT: Self-Supervised Speech Representation Learning by Masked Prediction of
Hidden Units".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from torch import Tensor

from speechft.encoders.convolutional import ConvolutionalEncoder
from speechft.encoders.fairseq_layout import WaveformLayout, linear_shapes
from speechft.encoders.family import Family, register

UNITS: Final = 504
PROJECTION: Final = 256


class HubertLayout(WaveformLayout):
    """HuBERT in fairseq's and S3PRL's files; what carries no sign of another family is taken so."""

    kind: ClassVar[str] = "hubert"
    task: ClassVar[str] = "hubert_pretraining"
    extras: ClassVar[re.Pattern[str]] = re.compile(r"final_proj\.|label_embs_concat$|target_glu\.")
    constants: ClassVar[Mapping[str, Any]] = {
        "label_rate": 50,
        "final_dim": PROJECTION,
        "required_seq_len_multiple": 2,
    }
    has_units: ClassVar[bool] = True

    def evidence(self, weights: Mapping[str, Tensor], said: str) -> int:
        """Know it by its label embeddings, or by its name."""
        return 3 if "label_embs_concat" in weights or "hubert" in said else 1

    def settings_of_parts(self, weights: Mapping[str, Tensor]) -> dict[str, Any]:
        """Give the head's width: one of another width came with continued pre-training."""
        return {"final_dim": _width(weights)}

    def missing_parts(self, config: Any, weights: Mapping[str, Tensor]) -> dict[str, list[int]]:
        """Give the head and the label embeddings."""
        width, hidden = _width(weights), config.hidden_size
        return {
            **super().missing_parts(config, weights),
            **linear_shapes("final_proj", width, hidden),
            "label_embs_concat": [UNITS, width],
        }


def _width(weights: Mapping[str, Tensor]) -> int:
    head = weights.get("final_proj.weight")
    return PROJECTION if head is None else len(head)


register(Family("hubert", ConvolutionalEncoder, carries="units", fairseq=HubertLayout()))

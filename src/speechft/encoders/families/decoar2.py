"""DeCoAR 2.0: filter banks, a positional convolution, a post-norm transformer.

Ling and Liu 2020, "DeCoAR 2.0: Deep Contextualized Acoustic Representations with Vector
Quantization". The computation follows S3PRL 0.4.18, `upstream/decoar2`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2Encoder

from speechft.core.lengths import conv_lengths
from speechft.encoders.base import EncoderOutput
from speechft.encoders.convolutional import TransformerEncoder
from speechft.encoders.fairseq_layout import FairseqLayout
from speechft.encoders.family import Family, register
from speechft.encoders.kaldi_fbank import BINS, FRAME, SHIFT, log_mel_filter_bank, normalised

DECIMATION = 2
_PUBLISHED: Final[dict[str, Any]] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "hidden_dropout": 0.1,
    "attention_dropout": 0.1,
    "activation_dropout": 0.0,
    "feat_proj_dropout": 0.1,
    "layerdrop": 0.0,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "num_mel_bins": BINS,
    "layer_norm_eps": 1e-5,
    "initializer_range": 0.02,
}


class Decoar2Config(PretrainedConfig):  # type: ignore[misc]
    """Configuration of DeCoAR 2.0; the defaults are the published model's."""

    model_type = "decoar2"

    def __init__(self, **values: Any) -> None:
        super().__init__(**{**_PUBLISHED, **values})


class Decoar2Model(PreTrainedModel):  # type: ignore[misc]
    """DeCoAR 2.0 as a transformers model: waveforms in, the last hidden state out."""

    config_class = Decoar2Config
    base_model_prefix = "decoar2"
    main_input_name = "input_values"
    _supports_sdpa = True
    supports_gradient_checkpointing = True

    def __init__(self, config: Decoar2Config) -> None:
        super().__init__(config)
        self.post_extract_proj = nn.Linear(config.num_mel_bins, config.hidden_size)
        self.dropout = nn.Dropout(config.feat_proj_dropout)
        self.encoder = Wav2Vec2Encoder(config)
        self.post_init()

    def forward(
        self, input_values: Tensor, attention_mask: Tensor | None = None, **_: Any
    ) -> BaseModelOutput:
        """Encode waveforms (B, S) in [-1, 1]; `attention_mask` (B, S) is 0 where padded."""
        size = input_values.shape[1]
        lengths = torch.full((len(input_values),), size, device=input_values.device)
        if attention_mask is not None:
            lengths = attention_mask.sum(dim=1)
        output = Decoar2Encoder(self, {})(input_values, lengths)
        return BaseModelOutput(
            last_hidden_state=output.hidden_states[-1], hidden_states=output.hidden_states
        )


class Decoar2Encoder(TransformerEncoder):
    """DeCoAR 2.0. Its front end has no parameters: filter banks, normalised, every second frame.

    State 0 is the transformer's input: projection plus positional convolution, normalised.
    """

    projection_prefixes: ClassVar[tuple[str, ...]] = ("post_extract_proj.",)
    style: ClassVar[str] = "base: post-norm layers"
    front_end_input: ClassVar[str] = "80 filter banks, normalised per utterance and bin"

    @staticmethod
    def fits(model: nn.Module) -> bool:
        """Tell whether a model is DeCoAR 2.0."""
        return isinstance(model, Decoar2Model)

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return SHIFT * DECIMATION

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Give the exact number of frames (B,) of utterances of `lengths` samples (B,)."""
        return (conv_lengths(lengths, [FRAME], [SHIFT]) + 1) // DECIMATION

    def front_end(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Give filter banks (B, T, 80), normalised per utterance and bin, and frames (B,)."""
        frames = conv_lengths(lengths, [FRAME], [SHIFT])
        with torch.autocast(waveforms.device.type, enabled=False):
            energies = log_mel_filter_bank(waveforms.float())
            features = normalised(energies, frames)
        return features[:, ::DECIMATION], self.frame_lengths(lengths)

    def project(self, features: Tensor) -> Tensor:
        """Bring features (B, T, 80) to the transformer's width."""
        hidden: Tensor = self.model.dropout(self.model.post_extract_proj(features))
        return hidden

    def from_front_end(
        self, features: Tensor, frame_lengths: Tensor, *, mask_time: Tensor | None = None
    ) -> EncoderOutput:
        """Apply projection, positional convolution and transformer."""
        return self.transform(self.project(features), frame_lengths, mask_time)


class Decoar2Layout(FairseqLayout):
    """The original file, which S3PRL reads too. What is no encoder's is its pre-training's."""

    kind: ClassVar[str] = "decoar2"
    extras: ClassVar[re.Pattern[str]] = re.compile(r"(?!encoder\.|post_extract_proj\.)")
    is_flat: ClassVar[bool] = True

    def evidence(self, weights: Mapping[str, Tensor], said: str) -> int:  # noqa: ARG002
        """Know it by the CNN front end that it lacks, and by the width of its filter banks."""
        if any("feature_extractor.conv_layers" in name for name in weights):
            return 0
        projection = weights.get("post_extract_proj.weight")
        return 5 if projection is not None and projection.shape[-1:] == (BINS,) else 3

    def s3prl_content(
        self,
        weights: Mapping[str, Tensor],
        model_cfg: dict[str, Any],
        task_cfg: dict[str, Any],  # noqa: ARG002
    ) -> dict[str, Any]:
        """Give the original file's content."""
        return {"model": weights, "cfg": model_cfg}


AutoConfig.register("decoar2", Decoar2Config, exist_ok=True)
AutoModel.register(Decoar2Config, Decoar2Model, exist_ok=True)
register(
    Family(
        "decoar2",
        Decoar2Encoder,
        objective="reconstruction",
        carries="quantiser",
        normalizes=False,
        fairseq=Decoar2Layout(),
    )
)

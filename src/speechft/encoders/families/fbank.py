"""Filter banks as an encoder without weights: SUPERB's zero point (S3PRL 0.4.18, `fbank`)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from speechft.core.lengths import conv_lengths
from speechft.encoders.base import EncoderOutput, SpeechEncoder
from speechft.encoders.family import Family, register
from speechft.encoders.kaldi_fbank import (
    BINS,
    FRAME,
    SHIFT,
    differences,
    log_mel_filter_bank,
    normalised,
)


class FilterBankConfig(PretrainedConfig):  # type: ignore[misc]
    """There is nothing to choose."""

    model_type = "fbank"

    def __init__(self, hidden_size: int = 3 * BINS, **values: Any) -> None:
        super().__init__(**values)
        self.hidden_size = hidden_size


class FilterBankModel(PreTrainedModel):  # type: ignore[misc]
    """Filter banks as a transformers model: waveforms (B, S) in, the only state out."""

    config_class = FilterBankConfig
    base_model_prefix = "fbank"
    main_input_name = "input_values"

    def __init__(self, config: FilterBankConfig) -> None:
        super().__init__(config)
        self.post_init()

    def forward(self, input_values: Tensor, **_: Any) -> BaseModelOutput:
        """Give the features of waveforms in [-1, 1] that are equally long."""
        states = FilterBankEncoder(self, {})(input_values).hidden_states
        return BaseModelOutput(last_hidden_state=states[-1], hidden_states=states)


class FilterBankEncoder(SpeechEncoder):
    """80 log mel filter banks and two differences of them, normalised per utterance."""

    front_end_prefixes: ClassVar[tuple[str, ...]] = ()
    style: ClassVar[str] = "no layers, no weights"
    front_end_input: ClassVar[str] = "waveform in [-1, 1]"

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.register_buffer("_place", torch.zeros(0), persistent=False)

    @staticmethod
    def fits(model: nn.Module) -> bool:
        """Tell whether a model is this one."""
        return isinstance(model, FilterBankModel)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._buffers["_place"].device  # type: ignore[union-attr]

    @property
    def num_layers(self) -> int:
        """There are none: the filter banks are the only state."""
        return 0

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return SHIFT

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Give the exact number of frames (B,) of utterances of `lengths` samples (B,)."""
        return conv_lengths(lengths, [FRAME], [SHIFT])

    def front_end(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Give the features (B, T, 240) and frames (B,)."""
        frames = self.frame_lengths(lengths)
        with torch.autocast(waveforms.device.type, enabled=False):
            own = log_mel_filter_bank(waveforms.float(), "povey")
            first = differences(own, frames)
            both = torch.cat([own, first, differences(first, frames)], dim=-1)
            return normalised(both, frames), frames

    def from_front_end(
        self, features: Tensor, frame_lengths: Tensor, *, mask_time: Tensor | None = None
    ) -> EncoderOutput:
        """Give the features as they are."""
        if mask_time is not None:
            self._mask_embedding()
        return EncoderOutput((features,), frame_lengths)


AutoConfig.register("fbank", FilterBankConfig, exist_ok=True)
AutoModel.register(FilterBankConfig, FilterBankModel, exist_ok=True)
register(Family("fbank", FilterBankEncoder, normalizes=False))

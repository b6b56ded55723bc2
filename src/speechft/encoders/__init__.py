"""Speech encoders: waveforms in, padding-invariant hidden states out, for every family."""

from typing import TYPE_CHECKING

from speechft.core.registry import lazily

if TYPE_CHECKING:
    from speechft.encoders.base import EncoderOutput, SpeechEncoder
    from speechft.encoders.load import build_encoder, load_encoder

__all__ = ["EncoderOutput", "SpeechEncoder", "build_encoder", "load_encoder"]

__getattr__ = lazily(
    __name__, {"base": "EncoderOutput SpeechEncoder", "load": "build_encoder load_encoder"}
)

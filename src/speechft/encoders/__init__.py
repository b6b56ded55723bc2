"""Speech encoders: waveforms in, padding-invariant hidden states out, for every family."""

from speechft.encoders.base import EncoderOutput, SpeechEncoder
from speechft.encoders.load import build_encoder, load_encoder

__all__ = ["EncoderOutput", "SpeechEncoder", "build_encoder", "load_encoder"]

"""UniSpeech: wav2vec 2.0 with phonemes.

Wang et al. 2021, "UniSpeech: Unified Speech Representation Learning with Labeled and Unlabeled
Data".
"""

from __future__ import annotations

from speechft.encoders.convolutional import ConvolutionalEncoder
from speechft.encoders.family import Family, register

register(Family("unispeech", ConvolutionalEncoder))

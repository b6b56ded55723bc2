"""UniSpeech-SAT: HuBERT that is told speakers apart.

Chen et al. 2022, "UniSpeech-SAT: Universal Speech Representation Learning with Speaker Aware
Pre-Training".
"""

from __future__ import annotations

from speechft.encoders.convolutional import ConvolutionalEncoder
from speechft.encoders.family import Family, register

register(Family("unispeech-sat", ConvolutionalEncoder))

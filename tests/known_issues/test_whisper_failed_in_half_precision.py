"""Whisper's encoder could not be called under `torch.autocast("cpu", torch.bfloat16)`.

The feature extractor multiplied its spectrogram in bfloat16, which NumPy does not know, so that
`embed --precision bfloat16` and fine-tuning in bf16 on a CPU ended in a TypeError.
"""

from __future__ import annotations

import pytest
import torch
from family_configs import config_of

from speechft.encoders import build_encoder


@pytest.mark.parametrize("context", ["30s", "utterance"])
def test_it_computes_in_bfloat16(context):
    encoder = build_encoder(config_of("whisper"), seed=0)
    encoder.use_context(context)
    waves = [torch.randn(8000) / 10, torch.randn(12000) / 10]
    with torch.no_grad():
        exact = encoder(waves).hidden_states[-1]
        with torch.autocast("cpu", torch.bfloat16):
            half = encoder(waves).hidden_states[-1]
    assert float((half - exact).std() / exact.std()) < 0.05

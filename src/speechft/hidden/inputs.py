"""From what a source loads to the front end's output: waveforms, or features that are kept."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechft.core.lengths import pad_waveforms
from speechft.encoders import SpeechEncoder


def front_end_output(encoder: SpeechEncoder, items: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Give the front end's features (B, T, C) and lengths (B,) on the encoder's device.

    Args:
        encoder: the encoder.
        items: 1-D waveforms, or features (T, C) that the front end made of each utterance.
    """
    device = encoder.device
    if items[0].dim() == 1:
        waveforms, samples = pad_waveforms(items)
        return encoder.front_end(waveforms.to(device), samples.to(device))
    lengths = torch.tensor([len(item) for item in items], dtype=torch.long)
    return pad_sequence(list(items), batch_first=True).to(device), lengths.to(device)


@torch.no_grad()
def features_of(encoder: SpeechEncoder, waveforms: Sequence[Tensor]) -> list[Tensor]:
    """Give a frozen front end's features (T, C) of each 1-D waveform, on the encoder's device.

    On a CPU every utterance goes through alone, so that its features do not depend, not even in the
    last bit, on which batch asked for them first. A GPU would wait for the calls of so little work:
    there all go together, and a last bit may differ.
    """
    if not waveforms:
        return []
    alone = encoder.device.type == "cpu"
    found: list[Tensor] = []
    for group in [[wave] for wave in waveforms] if alone else [list(waveforms)]:
        features, frames = front_end_output(encoder, group)
        pairs = zip(features, frames.tolist(), strict=True)
        found += [own[:length].float() for own, length in pairs]
    return found

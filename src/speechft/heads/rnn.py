"""Recurrent heads, in float32 whatever precision the encoder computes in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from speechft.core.lengths import reversal

_LESS = (torch.bfloat16, torch.float16)


class BidirectionalLSTM(nn.Module):
    """One bidirectional LSTM layer on padded batches, exact for every length.

    The backward direction reads each utterance reversed within its own length. The result is that
    of a packed `nn.LSTM(bidirectional=True)`, several times faster on a CPU.

    Args:
        input_dim: width of the input.
        hidden: width of each direction.
    """

    def __init__(self, input_dim: int, hidden: int) -> None:
        super().__init__()
        self.forwards = nn.LSTM(input_dim, hidden, batch_first=True)
        self.backwards = nn.LSTM(input_dim, hidden, batch_first=True)

    def forward(self, x: Tensor, turn: Tensor) -> Tensor:
        """Give (B, T, 2 * hidden) for (B, T, D); `turn` is the lengths' `reversal` (B, T)."""
        ahead, _ = self.forwards(x)
        back, _ = self.backwards(_take(x, turn))
        return torch.cat([ahead, _take(back, turn)], dim=-1)


class RecurrentCTC(nn.Module):
    """Linear, stacked bidirectional LSTM layers with dropout on their outputs, Linear.

    SUPERB's head of ASR and SF (projection and hidden 1024, two layers), and the head of
    Speech-FT's ASR fine-tuning (256, 256, three layers). Padding changes nothing.

    Args:
        input_dim: D, width of the hidden states.
        vocab: V, number of symbols, the CTC blank included.
        projection: width of the first linear layer.
        hidden: width of each direction.
        layers: number of bidirectional layers.
        dropout: share dropped from the output of every layer in training.
    """

    def __init__(
        self,
        input_dim: int,
        vocab: int,
        projection: int = 1024,
        hidden: int = 1024,
        layers: int = 2,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.projection = nn.Linear(input_dim, projection)
        widths = [projection] + [2 * hidden] * (layers - 1)
        self.layers = nn.ModuleList(BidirectionalLSTM(width, hidden) for width in widths)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(2 * hidden, vocab)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Give logits (B, T, V) for frames (B, T, D) with valid `lengths` (B,).

        Rows beyond an item's length hold no meaning.
        """
        turn = reversal(lengths.to(x.device), x.shape[1])
        x = self.projection(x)
        with full_precision(x) as x:
            for layer in self.layers:
                x = self.dropout(layer(x, turn))
            logits: Tensor = self.output(x)
        return logits


def _take(x: Tensor, frames: Tensor) -> Tensor:
    return x.gather(1, frames[..., None].expand(-1, -1, x.shape[-1]))


class Diarizer(nn.Module):
    """SUPERB's head of SD: a unidirectional LSTM without projection, Linear.

    Args:
        input_dim: D, width of the hidden states.
        speakers: S.
        hidden: width of the LSTM.
    """

    def __init__(self, input_dim: int, speakers: int = 2, hidden: int = 512) -> None:
        super().__init__()
        self.lstm = nn.LSTM(input_dim, hidden, batch_first=True)
        self.output = nn.Linear(hidden, speakers)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Give logits (B, T, S) for frames (B, T, D); padding behind a frame cannot reach it."""
        with full_precision(x) as x:
            x, _ = self.lstm(x)
            logits: Tensor = self.output(x)
        return logits


@contextmanager
def full_precision(x: Tensor) -> Iterator[Tensor]:
    """Give x in float32, outside of any autocast.

    On a GPU autocast runs LSTMs in float16 even where bfloat16 is asked for, and without scaling
    of the loss small gradients would vanish there. Products of cosines would be rounded to 8 bits.
    """
    with torch.autocast(x.device.type, enabled=False):
        yield x.float() if x.dtype in _LESS else x

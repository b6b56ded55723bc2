"""Recurrent head: projection, bidirectional LSTM layers, one row of logits per frame."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class RecurrentCTC(nn.Module):
    """Linear, stacked bidirectional LSTM layers with dropout on their outputs, Linear.

    SUPERB's head of ASR and SF (projection and hidden 1024, two layers), and the head of
    Speech-FT's ASR fine-tuning (256, 256, three layers). Sequences are packed, so padding
    changes nothing.

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
        self.layers = nn.ModuleList(
            nn.LSTM(width, hidden, batch_first=True, bidirectional=True) for width in widths
        )
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(2 * hidden, vocab)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Give logits (B, T, V) for frames (B, T, D) with valid `lengths` (B,).

        Rows beyond an item's length hold what the last layer makes of zeros; do not read them.
        """
        total = x.shape[1]
        packed = pack_padded_sequence(
            self.projection(x), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        for layer in self.layers:
            packed, _ = layer(packed)
            packed = packed._replace(data=self.dropout(packed.data))
        frames, _ = pad_packed_sequence(packed, batch_first=True, total_length=total)
        logits: Tensor = self.output(frames)
        return logits

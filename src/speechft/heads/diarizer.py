"""Diarization head: one LSTM, one logit per frame and speaker."""

from __future__ import annotations

from torch import Tensor, nn

from speechft.heads.full_precision import full_precision


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

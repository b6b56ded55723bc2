"""The recurrent heads of ASR and SF, by purpose and size."""

from __future__ import annotations

from typing import Final

from torch import nn

from speechft.heads.rnn import RecurrentCTC
from speechft.tasks.base import Purpose, Size

# projection, hidden units per direction, layers
_WIDTHS: Final[dict[tuple[Purpose, Size], tuple[int, int, int]]] = {
    ("probe", "superb"): (1024, 1024, 2),
    ("probe", "mini"): (128, 128, 1),
    ("finetune", "superb"): (256, 256, 3),
    ("finetune", "mini"): (128, 128, 1),
}


def recurrent_head(input_dim: int, vocab: int, purpose: Purpose, size: Size) -> nn.Module:
    """Build the head: SUPERB's for probing, Speech-FT's for fine-tuning, one small layer in mini.

    Args:
        input_dim: D, width of the hidden states.
        vocab: V, number of symbols with the blank.
        purpose: "probe" or "finetune".
        size: "superb" or "mini".
    """
    projection, hidden, layers = _WIDTHS[purpose, size]
    return RecurrentCTC(input_dim, vocab, projection, hidden, layers)

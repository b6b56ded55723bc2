"""What training changes, taken from a state."""

import torch
from torch import nn

from speechft.training.trained import Trained


def test_moments_that_lay_in_pieces_go_where_the_weights_are():
    """A state in pieces is read on the CPU; Adam wants weights and moments in one place."""
    module = nn.Linear(2, 3, device="meta")  # as a GPU would be: another place than the CPU
    optimizer = torch.optim.AdamW(module.parameters())
    kept = {"step": torch.tensor(1.0), "exp_avg": torch.ones(3, 2), "exp_avg_sq": torch.ones(3, 2)}
    trained = Trained(module, optimizer, list(module.parameters()), ())
    trained.take_moments({"moments": {"weight": kept}})
    found = optimizer.state[module.weight]
    assert found.keys() == kept.keys()
    assert {value.device.type for value in found.values()} == {"meta"}

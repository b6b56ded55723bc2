"""Encoders whose layers lie in pieces in all processes: weights, gradients, moments, averages.

torch's `fully_shard` (FSDP2): before a layer computes, its weights are gathered from all processes,
and its gradients are averaged by the process that keeps the piece. What is not inside of a layer,
heads and CNN front end among it, is whole in every process.

Source: Zhao et al. 2023, "PyTorch FSDP"; Rajbhandari et al. 2020, "ZeRO", stage 3.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from speechft.core.errors import SettingsError
from speechft.encoders import SpeechEncoder
from speechft.training.distributed import all_processes
from speechft.training.pieces import whole


def in_pieces(encoder: SpeechEncoder) -> SpeechEncoder:
    """Give a copy of an encoder whose layers lie in pieces in all processes.

    The encoder stays where it is, whole, for `gather`. Where one process trains it is given back.

    Raises:
        SettingsError: its layers are not computed as one piece each.
    """
    state = all_processes()
    if state.num_processes == 1:
        return encoder
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    shared = copy.deepcopy(encoder)
    shared.model.config = encoder.model.config  # an objective may note there what it learns
    shared.to(state.device)
    mesh = init_device_mesh(state.device.type, (state.num_processes,))
    layers = shared.whole_layers()
    if not layers:
        raise SettingsError(
            "the layers of this encoder cannot lie in pieces",
            where="shard",
            expected="wav2vec 2.0, HuBERT, data2vec, w2v-BERT 2.0, Whisper or DeCoAR 2.0",
            found=encoder.family,
            hint="leave shard out; checkpointing and micro_batch save memory, too",
        )
    for layer in layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)
    return shared


@torch.no_grad()
def gather(shared: nn.Module, into: nn.Module) -> None:
    """Copy a module's tensors into one that has them whole; all processes do so together."""
    if shared is into:
        return
    targets = into.state_dict()
    for name, tensor in shared.state_dict().items():
        targets[name].copy_(whole(tensor))

"""The quantiser and its projections across runs: an encoder carries what it was pre-trained with.

They were learned together with the encoder, and their entries mean the same on any speech. So a
run that goes on from an encoder goes on from its head too, wherever all of it is there and fits.
"""

from __future__ import annotations

from torch import nn

from speechft.core.logging import get_logger
from speechft.encoders import SpeechEncoder
from speechft.encoders.checkpoint import Side
from speechft.encoders.families import record_of

log = get_logger(__name__)


def adopt_head(encoder: SpeechEncoder, head: nn.Module) -> bool:
    """Fill a new head with the one that the encoder carries; leave it as it is if that differs."""
    found, wanted = encoder.side.tensors, head.state_dict()
    if not _carries(encoder) or not found.keys() & wanted.keys():
        return False
    if any(n not in found or found[n].shape != t.shape for n, t in wanted.items()):
        log.warning("the encoder's own quantiser has other sizes: a new one begins")
        return False
    head.load_state_dict({name: found[name].to(t.dtype) for name, t in wanted.items()})
    log.info("the encoder's own quantiser goes on")
    return True


def carry_head(encoder: SpeechEncoder, head: nn.Module) -> None:
    """Let the encoder carry the head, in place of what it came with."""
    if not _carries(encoder):
        return
    tensors = {name: tensor.detach().cpu() for name, tensor in head.state_dict().items()}
    encoder.side = Side({**encoder.side.tensors, **tensors}, encoder.side.source)


def carried_sizes(encoder: SpeechEncoder) -> dict[str, int]:
    """Give groups, entries and width of the quantiser that an encoder carries; empty if none."""
    found = encoder.side.tensors
    book = found.get("quantizer.vars")
    reader = found.get("project_q.weight", found.get("decoder.0.weight"))
    if not _carries(encoder) or book is None or reader is None:
        return {}
    if book.dim() != 3 or reader.dim() != 2 or reader.shape[1] % book.shape[2]:
        return {}
    groups = int(reader.shape[1] // book.shape[2])
    return {"groups": groups, "entries": int(book.shape[1]) // groups, "width": reader.shape[1]}


def _carries(encoder: SpeechEncoder) -> bool:
    return record_of(encoder.family).carries == "quantiser"

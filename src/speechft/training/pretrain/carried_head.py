"""The head of pre-training across runs: an encoder carries what it was pre-trained with.

A quantiser and its projections were learned together with the encoder, and their entries mean the
same on any speech. So a run that goes on from an encoder goes on from its head too, wherever all of
it is there and fits.

A unit predictor (`final_proj` and `label_embs_concat` in checkpoints of HuBERT and WavLM) has
embeddings that stand for units, and unit 7 of one clustering has nothing to do with unit 7 of
another. So it is kept whole where it was trained on the very units of the new run, and not at all
otherwise.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from speechft.core.logging import get_logger
from speechft.encoders import SpeechEncoder
from speechft.encoders.checkpoint import Side
from speechft.encoders.families import record_of
from speechft.training.pretrain.masked_prediction import UnitPredictor

PROJECTION = 128
_NAMES = ("final_proj.weight", "final_proj.bias", "label_embs_concat")
_UNITS = "units"

log = get_logger(__name__)


def adopt_head(encoder: SpeechEncoder, head: nn.Module) -> bool:
    """Fill a new head with the one that the encoder carries; leave it as it is if that differs."""
    found, wanted = _carried(encoder, "quantiser"), head.state_dict()
    if not found.keys() & wanted.keys():
        return False
    if any(n not in found or found[n].shape != t.shape for n, t in wanted.items()):
        log.warning("the encoder's own quantiser has other sizes: a new one begins")
        return False
    head.load_state_dict({name: found[name].to(t.dtype) for name, t in wanted.items()})
    log.info("the encoder's own quantiser goes on")
    return True


def carry_head(encoder: SpeechEncoder, head: nn.Module) -> None:
    """Let the encoder carry the head, in place of what it came with."""
    if record_of(encoder.family).carries == "quantiser":
        _carry(encoder, head, encoder.side.source)


def carried_sizes(encoder: SpeechEncoder) -> dict[str, int]:
    """Give groups, entries and width of the quantiser that an encoder carries; empty if none."""
    found = _carried(encoder, "quantiser")
    book = found.get("quantizer.vars")
    reader = found.get("project_q.weight", found.get("decoder.0.weight"))
    if book is None or reader is None:
        return {}
    if book.dim() != 3 or reader.dim() != 2 or reader.shape[1] % book.shape[2]:
        return {}
    groups = int(reader.shape[1] // book.shape[2])
    return {"groups": groups, "entries": int(book.shape[1]) // groups, "width": reader.shape[1]}


def make_predictor(encoder: SpeechEncoder, clusters: int, units: str | None) -> UnitPredictor:
    """Give the unit predictor: the encoder's own where it fits, else a new one.

    Args:
        encoder: with what its checkpoint carries.
        clusters: number of units.
        units: what identifies them; none where they cannot be those of an earlier run.
    """
    kept = _kept(encoder, clusters, units)
    width = len(kept["final_proj.bias"]) if kept else PROJECTION
    predictor = UnitPredictor(encoder.hidden_size, clusters, width)
    if kept:
        log.info("the head of the checkpoint is kept: it was trained on the same units")
        predictor.load_state_dict(kept)
    elif _NAMES[2] in encoder.side.tensors:
        log.info("the head of the checkpoint is replaced: it was trained on other units")
    return predictor


def carry_predictor(encoder: SpeechEncoder, predictor: UnitPredictor, units: str | None) -> None:
    """Let the encoder carry the predictor, in place of the one it came with."""
    if record_of(encoder.family).carries == "units":
        source = {key: value for key, value in encoder.side.source.items() if key != _UNITS}
        _carry(encoder, predictor, source if units is None else {**source, _UNITS: units})


def _kept(encoder: SpeechEncoder, clusters: int, units: str | None) -> dict[str, Tensor]:
    if units is None or encoder.side.source.get(_UNITS) != units:
        return {}
    found = _carried(encoder, "units")
    head = {name: found[name] for name in _NAMES if name in found}
    fits = len(head) == len(_NAMES) and len(head["label_embs_concat"]) == clusters
    return head if fits else {}


def _carried(encoder: SpeechEncoder, kind: str) -> dict[str, Tensor]:
    """Give what an encoder carries beside its own tensors, if its family carries this kind."""
    return dict(encoder.side.tensors) if record_of(encoder.family).carries == kind else {}


def _carry(encoder: SpeechEncoder, head: nn.Module, source: dict[str, Any]) -> None:
    tensors = {name: tensor.detach().cpu() for name, tensor in head.state_dict().items()}
    encoder.side = Side({**encoder.side.tensors, **tensors}, source)

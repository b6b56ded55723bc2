"""The head of masked prediction across runs: what a checkpoint's head may be kept for.

A checkpoint of HuBERT or WavLM may carry `final_proj` and `label_embs_concat` beside the encoder.
The embeddings stand for units, and unit 7 of one clustering has nothing to do with unit 7 of
another. So a head is kept whole where it was trained on the very units of the new run, and not at
all otherwise.
"""

from __future__ import annotations

from torch import Tensor

from speechft.core.logging import get_logger
from speechft.encoders import SpeechEncoder
from speechft.encoders.checkpoint import Side
from speechft.encoders.families import record_of
from speechft.training.pretrain.masked_prediction import UnitPredictor

PROJECTION = 128
_NAMES = ("final_proj.weight", "final_proj.bias", "label_embs_concat")
_UNITS = "units"

log = get_logger(__name__)


def make_predictor(encoder: SpeechEncoder, clusters: int, units: str | None) -> UnitPredictor:
    """Give the head: the encoder's own where it fits, else a new one of the units' number.

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
    """Let the encoder carry the head, in place of the one it came with."""
    if not _carries(encoder):
        return
    head = {name: tensor.detach().cpu() for name, tensor in predictor.state_dict().items()}
    source = {key: value for key, value in encoder.side.source.items() if key != _UNITS}
    if units is not None:
        source[_UNITS] = units
    encoder.side = Side({**encoder.side.tensors, **head}, source)


def _kept(encoder: SpeechEncoder, clusters: int, units: str | None) -> dict[str, Tensor]:
    side = encoder.side
    if not _carries(encoder) or units is None or side.source.get(_UNITS) != units:
        return {}
    head = {name: side.tensors[name] for name in _NAMES if name in side.tensors}
    fits = len(head) == len(_NAMES) and len(head["label_embs_concat"]) == clusters
    return head if fits else {}


def _carries(encoder: SpeechEncoder) -> bool:
    return record_of(encoder.family).carries == "units"

"""One name for each tensor, whatever class or library version stored it, and which are heads."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

#: Names under which wrapping classes hold the encoder.
PREFIXES = (
    "hubert",
    "wav2vec2",
    "wavlm",
    "data2vec_audio",
    "unispeech",
    "unispeech_sat",
    "sew",
    "sew_d",
    "wav2vec2_bert",
    "wav2vec2_conformer",
    "model",
    "module",
)
#: First parts of names that belong to heads and pre-training projections, never to the encoder.
HEADS = frozenset(
    {
        "classifier",
        "codevector_perplexity",
        "ctc",
        "ctc_head",
        "ctc_proj",
        "final_proj",
        "head",
        "label_embs_concat",
        "layer_weights",
        "lm_head",
        "objective",
        "project_hid",
        "project_q",
        "projector",
        "qa_outputs",
        "quantizer",
        "speaker_proj",
        "tdnn",
    }
)
#: Tensors that are taken from BASE when TUNED lacks them (it was stored without input masking).
OPTIONAL = frozenset({"masked_spec_embed", "mask_emb"})

_WEIGHT_NORM = (
    (re.compile(r"\.parametrizations\.(\w+)\.original0$"), r".\1_g"),
    (re.compile(r"\.parametrizations\.(\w+)\.original1$"), r".\1_v"),
)
_LAYER = re.compile(r"(?:^|\.)(?:layers?|blocks?|h)\.(\d+)\.")


@dataclass(frozen=True)
class Names:
    """Stored names of one checkpoint, sorted into encoder and heads.

    Args:
        encoder: canonical name → stored name.
        heads: stored names of heads and pre-training projections.
        prefix: what stands before the encoder's names ("hubert."), or "".
    """

    encoder: dict[str, str]
    heads: tuple[str, ...]
    prefix: str


def canonical(name: str) -> str:
    """Give a name with weight-norm parts spelled `weight_g` and `weight_v`."""
    for pattern, replacement in _WEIGHT_NORM:
        name = pattern.sub(replacement, name)
    return name


def sort_names(stored: Iterable[str]) -> Names:
    """Find the encoder's prefix, and tell its tensors from heads.

    With a prefix, all names without it are heads. Without one, heads are told by `HEADS`.
    """
    names = list(stored)
    prefix = ""
    while step := _next_prefix(names, prefix):
        prefix += step
    encoder: dict[str, str] = {}
    heads: list[str] = []
    for name in names:
        inner = name[len(prefix) :]
        if not name.startswith(prefix) or inner.split(".", 1)[0] in HEADS:
            heads.append(name)
        else:
            encoder[canonical(inner)] = name
    return Names(encoder, tuple(heads), prefix)


def layer_of(name: str) -> int | None:
    """Give the index of the transformer layer that a canonical name lies in."""
    if not name.startswith(("encoder.", "decoder.", "layers.")):
        return None
    found = _LAYER.search(name)
    return int(found.group(1)) if found else None


def count_layers(names: Iterable[str]) -> int:
    """Give the number of transformer layers that canonical names speak of."""
    layers = [index for name in names if (index := layer_of(name)) is not None]
    return max(layers) + 1 if layers else 0


def _next_prefix(names: list[str], so_far: str) -> str:
    inner = [name[len(so_far) :] for name in names if name.startswith(so_far)]
    firsts = {name.split(".", 1)[0] for name in inner if "." in name}
    for prefix in PREFIXES:
        if prefix in firsts:
            return f"{prefix}."
    return ""

"""Tensor names: fairseq (also S3PRL, WavLM, DeCoAR 2.0) on the left, transformers on the right.

Each row goes both ways. `{l}` is a layer's number, `{i}` a convolution's, `{p}` weight or bias,
`{x}` one of q, k, v, out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

Row = tuple[str, str]

_POSITIONS: tuple[Row, ...] = (
    (
        "encoder.pos_conv.0.weight_g",
        "encoder.pos_conv_embed.conv.parametrizations.weight.original0",
    ),
    (
        "encoder.pos_conv.0.weight_v",
        "encoder.pos_conv_embed.conv.parametrizations.weight.original1",
    ),
    ("encoder.pos_conv.0.bias", "encoder.pos_conv_embed.conv.bias"),
)
_STACKED_POSITIONS: tuple[Row, ...] = (
    ("encoder.pos_conv.{i}.0.{p}", "encoder.pos_conv_embed.layers.{i}.conv.{p}"),
)
_TRANSFORMER: tuple[Row, ...] = (
    ("encoder.layer_norm.{p}", "encoder.layer_norm.{p}"),
    ("encoder.layers.{l}.self_attn.{x}_proj.{p}", "encoder.layers.{l}.attention.{x}_proj.{p}"),
    ("encoder.layers.{l}.self_attn_layer_norm.{p}", "encoder.layers.{l}.layer_norm.{p}"),
    ("encoder.layers.{l}.fc1.{p}", "encoder.layers.{l}.feed_forward.intermediate_dense.{p}"),
    ("encoder.layers.{l}.fc2.{p}", "encoder.layers.{l}.feed_forward.output_dense.{p}"),
    ("encoder.layers.{l}.final_layer_norm.{p}", "encoder.layers.{l}.final_layer_norm.{p}"),
)
_WAVEFORM: tuple[Row, ...] = (
    ("mask_emb", "masked_spec_embed"),
    ("feature_extractor.conv_layers.{i}.0.{p}", "feature_extractor.conv_layers.{i}.conv.{p}"),
    ("layer_norm.{p}", "feature_projection.layer_norm.{p}"),
    ("post_extract_proj.{p}", "feature_projection.projection.{p}"),
)
_NORMS: dict[str, Row] = {
    "group": (
        "feature_extractor.conv_layers.{i}.2.{p}",
        "feature_extractor.conv_layers.{i}.layer_norm.{p}",
    ),
    "layer": (
        "feature_extractor.conv_layers.{i}.2.1.{p}",
        "feature_extractor.conv_layers.{i}.layer_norm.{p}",
    ),
}
_WAVLM: tuple[Row, ...] = (
    (
        "encoder.layers.{l}.self_attn.grep_linear.{p}",
        "encoder.layers.{l}.attention.gru_rel_pos_linear.{p}",
    ),
    ("encoder.layers.{l}.self_attn.grep_a", "encoder.layers.{l}.attention.gru_rel_pos_const"),
    (
        "encoder.layers.{l}.self_attn.relative_attention_bias.weight",
        "encoder.layers.{l}.attention.rel_attn_embed.weight",
    ),
)
_DECOAR: tuple[Row, ...] = (("post_extract_proj.{p}", "post_extract_proj.{p}"),)

# Parts of pre-training that no encoder needs; carried along for the way back.
EXTRAS: dict[str, re.Pattern[str]] = {
    "hubert": re.compile(r"final_proj\.|label_embs_concat$|target_glu\."),
    "wav2vec2": re.compile(r"(input_)?quantizer\.|project_q\.|final_proj\.|target_glu\."),
    "wavlm": re.compile(r"final_proj\.|label_embs_concat$|target_glu\."),
    # `_ema` is the teacher of data2vec's pre-training.
    "data2vec-audio": re.compile(r"final_proj\.|_ema\."),
    "decoar2": re.compile(r"(?!encoder\.|post_extract_proj\.)"),
}
# The same parts where transformers has a place for them (`Wav2Vec2ForPreTraining`).
EXTRA_ROWS: tuple[Row, ...] = (
    ("quantizer.vars", "quantizer.codevectors"),
    ("quantizer.weight_proj.{p}", "quantizer.weight_proj.{p}"),
    ("project_q.{p}", "project_q.{p}"),
    ("final_proj.{p}", "project_hid.{p}"),
)
_HOLES = {
    "l": r"(?P<l>\d+)",
    "i": r"(?P<i>\d+)",
    "p": r"(?P<p>weight|bias)",
    "x": r"(?P<x>[qkv]|out)",
}


def key_map(family: str, style: str) -> tuple[Row, ...]:
    """Give the rows of a family and style (group, layer).

    Families: hubert, wav2vec2, wavlm, data2vec-audio, decoar2.
    """
    if family == "decoar2":
        return _DECOAR + _POSITIONS + _TRANSFORMER
    if family == "data2vec-audio":
        return (*_WAVEFORM, _NORMS["layer"], *_STACKED_POSITIONS, *_TRANSFORMER)
    rows = (*_WAVEFORM, _NORMS[style], *_POSITIONS, *_TRANSFORMER)
    return rows + _WAVLM if family == "wavlm" else rows


def translate(names: Iterable[str], rows: Sequence[Row], *, back: bool = False) -> dict[str, str]:
    """Give old name → new name for every name that a row knows.

    Args:
        names: names to translate.
        rows: the key map.
        back: from transformers to fairseq, instead of the other way.
    """
    compiled = _compile(tuple(rows), back)
    found: dict[str, str] = {}
    for name in names:
        for pattern, template in compiled:
            match = pattern.fullmatch(name)
            if match:
                found[name] = template.format(**match.groupdict())
                break
    return found


@lru_cache
def _compile(rows: tuple[Row, ...], back: bool) -> list[tuple[re.Pattern[str], str]]:
    pairs = [(new, old) if back else (old, new) for old, new in rows]
    return [(_pattern(source), target) for source, target in pairs]


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w)\}", template)
    text = "".join(_HOLES[p] if n % 2 else re.escape(p) for n, p in enumerate(parts))
    return re.compile(text)

"""Line up the tensors of BASE and TUNED under one name each, and say all that does not fit.

Tensors whose names and shapes fit may mean something else: the configurations tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from speechft.core.errors import IncompatibleModelsError
from speechft.core.logging import get_logger
from speechft.encoders.identity import CONTEXT, PREPROCESSOR, computing
from speechft.merging.sources import FAIRSEQ, Source, preprocessor_of
from speechft.merging.tensorfile import TensorInfo, is_float

log = get_logger(__name__)

#: Names under which wrapping classes hold the encoder.
PREFIXES: Final = (
    *("hubert", "wav2vec2", "wavlm", "data2vec_audio", "unispeech", "unispeech_sat", "sew"),
    *("sew_d", "wav2vec2_bert", "wav2vec2_conformer", "model", "module"),
)
#: First parts of names that belong to heads and pre-training projections, never to the encoder.
HEADS: Final = frozenset(
    {
        *(
            "classifier",
            "codevector_perplexity",
            "ctc",
            "ctc_head",
            "ctc_proj",
            "final_proj",
            "head",
        ),
        *("label_embs_concat", "layer_weights", "lm_head", "objective", "project_hid", "project_q"),
        *("projector", "qa_outputs", "quantizer", "speaker_proj", "tdnn"),
    }
)
#: Tensors that are taken from BASE when TUNED lacks them (it was stored without input masking).
OPTIONAL: Final = frozenset({"masked_spec_embed", "mask_emb"})
_SHOWN: Final = 8  # tensors of one kind in a message
_WEIGHT_NORM: Final = re.compile(r"\.parametrizations\.(\w+)\.original([01])$")
_LAYER: Final = re.compile(r"(?:^|\.)(?:layers?|blocks?|h)\.(\d+)\.")
#: Fields that change no hidden state of a trained encoder: heads, losses, masks, how it is trained
#: and how text is made. Sizes are left out, too: they show in the tensors.
_OF_NO_WEIGHT: Final = re.compile(
    r".*(drop|mask|token|label|loss|ctc|codevector|negatives|contrastive|gradient|init|vocab|tdnn"
    r"|xvector|classifier|_proj_size|weighted_layer_sum|problem|finetun|spec_augment|decoder_ids).*"
    r"|model_type|use_cache|output_(attentions|hidden_states)|return_dict|torchscript|tie_.*|is_.*"
    r"|chunk_size_feed_forward|pruned_heads|median_filter_width|add_cross_attention|cross_attention_hidden_size"
    r"|max_(source|target|length).*|auto_map|_.*|speechft.*"
)
#: What a field means where a configuration lacks it (transformers' defaults).
_DEFAULTS: Final[Mapping[str, Any]] = {
    "add_adapter": False,
    "conv_pos_batch_norm": False,
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "do_stable_layer_norm": False,
    "feat_extract_activation": "gelu",
    "feat_extract_norm": "group",
    "feat_proj_layer_norm": True,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "num_attention_heads": 12,
    "num_conv_pos_embedding_groups": 16,
}


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
    return _WEIGHT_NORM.sub(lambda found: f".{found[1]}_{'gv'[int(found[2])]}", name)


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
    return next((f"{prefix}." for prefix in PREFIXES if prefix in firsts), "")


@dataclass(frozen=True)
class Entry:
    """One tensor of the result.

    Args:
        name: canonical name ("encoder.layers.0.attention.k_proj.weight").
        out_name: name in the result.
        base: BASE's tensor.
        tuned: stored name in each TUNED; empty if the tensor is kept from BASE as it is.
        of_tuned: `base` is a tensor of TUNED's head, which is kept as it is.
    """

    name: str
    out_name: str
    base: TensorInfo
    tuned: tuple[str, ...]
    of_tuned: bool = False


@dataclass(frozen=True)
class Match:
    """All tensors of the result, and what happened to the others.

    Args:
        entries: in the order that BASE stores them.
        layers: number of transformer layers.
        dropped: BASE's heads that the result does not have.
        kept: canonical or stored names taken from BASE unmerged.
        heads: stored names of TUNED's heads that the result has.
        ignored: per TUNED, heads and buffers that were not used.
    """

    entries: tuple[Entry, ...]
    layers: int
    dropped: tuple[str, ...]
    kept: tuple[str, ...]
    ignored: tuple[tuple[str, ...], ...]
    heads: tuple[str, ...] = ()


def match(base: Source, tuned: Sequence[Source], *, heads: str = "drop") -> Match:
    """Line up encoders.

    Rules: only the encoder is merged. Heads and pre-training projections are dropped
    (`heads="drop"`, the prefix of the encoder's names goes too), or those of BASE (`"base"`) or of
    the one TUNED (`"tuned"`, names as TUNED's) are kept unmerged. Integer buffers are BASE's. An
    embedding for input masking that TUNED lacks is BASE's; one that only TUNED has is ignored.

    Raises:
        IncompatibleModelsError: names missing, extra and mis-shaped tensors of every TUNED.
    """
    for source in (base, *tuned):
        if not source.tensors:
            raise IncompatibleModelsError(
                "this encoder has no weights, so there is nothing to merge",
                where=source.label,
                expected="an encoder that was trained",
            )
    of_base = sort_names(base.tensors)
    of_tuned = [sort_names(source.tensors) for source in tuned]
    problems = [
        problem
        for source, names in zip(tuned, of_tuned, strict=True)
        if (problem := _compare(base, of_base, source, names))
    ]
    if problems:
        raise IncompatibleModelsError(
            "these encoders cannot be merged\n" + "\n".join(f"  {problem}" for problem in problems),
            where=base.label,
            expected="the encoder's tensors of BASE in every TUNED, with the same shapes",
            hint="merge a TUNED that was fine-tuned from this BASE",
        )
    keep_heads = heads in ("base", "keep")  # sweeps of earlier versions say "keep"
    like = of_tuned[0] if heads == "tuned" and of_tuned[0].heads else None
    by_stored = {stored: name for name, stored in of_base.encoder.items()}
    entries: list[Entry] = []
    kept: list[str] = []
    for stored, info in base.tensors.items():
        name = by_stored.get(stored)
        if name is None:
            if keep_heads:
                entries.append(Entry(stored, stored, info, ()))
                kept.append(stored)
            continue
        merged = is_float(info.dtype) and all(name in names.encoder for names in of_tuned)
        parents = tuple(names.encoder[name] for names in of_tuned) if merged else ()
        strip = len(of_base.prefix) if of_base.heads and not keep_heads else 0
        out_name = stored[strip:]
        if like is not None:
            out_name = like.encoder.get(name, like.prefix + stored[len(of_base.prefix) :])
        entries.append(Entry(name, out_name, info, parents))
        if not merged:
            kept.append(name)
    own = like.heads if like is not None else ()
    entries += [Entry(n, n, tuned[0].tensors[n], (), of_tuned=True) for n in own]
    return Match(
        entries=tuple(entries),
        layers=count_layers(of_base.encoder),
        dropped=() if keep_heads else of_base.heads,
        kept=tuple(kept),
        ignored=tuple(
            names.heads + tuple(n for c, n in names.encoder.items() if c not in of_base.encoder)
            for names in of_tuned
        )
        if like is None
        else ((),),
        heads=own,
    )


def _compare(base: Source, of_base: Names, tuned: Source, names: Names) -> str:
    """Give the lines that say what is wrong with one TUNED, or nothing."""
    lacking = [f"missing    {name}" for name in _only_in(of_base, base, names)]
    extra = [f"extra      {name}" for name in _only_in(names, tuned, of_base)]
    shapes = list(_shape_problems(base, of_base, tuned, names))
    if not (lacking or extra or shapes):
        return ""
    cause = _cause(base, of_base, tuned, names)
    lines = [f"{tuned.label}: {len(lacking)} missing, {len(extra)} extra, {len(shapes)} mis-shaped"]
    lines += [f"  {cause}"] if cause else []
    shown = [line for kind in (lacking, extra, shapes) for line in _first(kind)]
    return "\n".join(lines + [f"    {line}" for line in shown])


def _first(lines: list[str]) -> list[str]:
    more = len(lines) - _SHOWN
    return lines if more < 2 else [*lines[:_SHOWN], f"and {more} more"]


def _only_in(names: Names, source: Source, others: Names) -> Iterator[str]:
    for name, stored in names.encoder.items():
        lacking = name not in others.encoder and name not in OPTIONAL
        if lacking and is_float(source.tensors[stored].dtype):
            yield name


def _shape_problems(base: Source, of_base: Names, tuned: Source, names: Names) -> Iterator[str]:
    for name, stored in of_base.encoder.items():
        other = names.encoder.get(name)
        if other is None:
            continue
        expected, found = base.tensors[stored], tuned.tensors[other]
        if not is_float(expected.dtype) and not is_float(found.dtype):
            continue
        if expected.shape != found.shape:
            yield f"mis-shaped {name}: BASE {list(expected.shape)}, TUNED {list(found.shape)}"
        elif is_float(found.dtype) != is_float(expected.dtype):
            yield f"mis-shaped {name}: BASE holds {expected.dtype}, TUNED {found.dtype}"


def _cause(base: Source, of_base: Names, tuned: Source, names: Names) -> str:
    """Guess why the tensors differ."""
    theirs, ours = names.encoder, of_base.encoder
    if any("lora_" in name for name in theirs):
        return "TUNED holds LoRA adapters: merge them into the encoder first"
    families = [(source.config or {}).get("model_type") for source in (base, tuned)]
    if None not in families and families[0] != families[1]:
        return f"TUNED is of the family {families[1]}, BASE of {families[0]}"
    if any(name.startswith(FAIRSEQ) for name in set(theirs) ^ set(ours)):
        return "one has fairseq's names, the other not: convert it (`speechft convert`)"
    if not set(theirs) & set(ours):
        return "they have no tensor in common: are both speech encoders?"
    layers = count_layers(ours), count_layers(theirs)
    if layers[0] != layers[1]:
        size = "is it a Large?" if layers[1] > layers[0] else "is it a Base or a distilled one?"
        return f"TUNED has {layers[1]} layers, BASE {layers[0]}: {size}"
    widths = _width(base, ours), _width(tuned, theirs)
    if None not in widths and widths[0] != widths[1]:
        return f"TUNED is {widths[1]} wide, BASE {widths[0]}: are they of the same size?"
    return ""


def _width(source: Source, names: Mapping[str, str]) -> int | None:
    stored = names.get("encoder.layer_norm.weight")
    return source.tensors[stored].shape[0] if stored else None


def refuse_other_meaning(base: Source, tuned: Sequence[Source]) -> None:
    """Refuse a TUNED whose configuration makes other hidden states of the same tensors.

    A TUNED of another family whose settings agree is merged with a warning.

    Raises:
        IncompatibleModelsError: names every such field with both values.
    """
    common_context(base, tuned)
    for one in tuned:
        if base.config is None or one.config is None:
            continue
        fields = differing_fields(base.config, one.config)
        if fields:
            raise IncompatibleModelsError(
                "the tensors fit, but these encoders compute something else with them",
                where=f"{one.label}: config.json",
                expected=", ".join(f"{name} {a}" for name, (a, _) in fields.items()),
                found=", ".join(f"{name} {b}" for name, (_, b) in fields.items()),
                hint="merge a TUNED that was fine-tuned from this BASE",
            )
        families = base.config.get("model_type"), one.config.get("model_type")
        if None not in families and families[0] != families[1]:
            log.warning(
                "BASE is a %s, %s a %s: their difference is no task vector of fine-tuning",
                *(families[0], one.label, families[1]),
            )


def warn_of_normalisation(base: Source, tuned: Sequence[Source], kept: str = "BASE") -> None:
    """Say where encoders are given waveforms differently: one setting serves what is merged."""
    said = [preprocessor_of(source) for source in (base, *tuned)]
    if len({one.get("do_normalize") for one in said if one is not None}) > 1:
        log.warning("BASE and TUNED normalise waveforms differently; %s's setting is kept", kept)


def common_context(base: Source, tuned: Sequence[Source]) -> str | None:
    """Give the context of Whisper's encoder that a merge has; None where nobody says one.

    A BASE that says none, as published ones do, takes TUNED's: in that one it was moved.

    Raises:
        IncompatibleModelsError: two of them have different ones.
    """
    contexts = [(preprocessor_of(source) or {}).get(CONTEXT) for source in (base, *tuned)]
    if not any(contexts):
        return None
    said = {one or "30s" for one in contexts[1:]} | {one for one in contexts[:1] if one}
    if len(said) > 1:
        raise IncompatibleModelsError(
            "these encoders have two contexts: what one learned of an utterance alone, the other "
            "learned of 30 s",
            where=f"{PREPROCESSOR}: {CONTEXT}",
            found=", ".join(
                f"{source.label}: {one or 'none, so 30s'}"
                for source, one in zip((base, *tuned), contexts, strict=True)
            ),
            expected="the same in all of them",
            hint="fine-tune both with the same --set context=",
        )
    return said.pop()


def differing_fields(
    base: Mapping[str, Any], tuned: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """Give the fields that change a hidden state and differ: name → (BASE's, TUNED's value).

    A field that one configuration lacks has its default there; without a known default it is not
    compared, since library versions write different ones.
    """
    ours, theirs = ({**_DEFAULTS, **computing(config)} for config in (base, tuned))
    named = [n for n in {**base, **tuned} if not _OF_NO_WEIGHT.fullmatch(n)]
    return {
        name: (ours[name], theirs[name])
        for name in named
        if name in ours and name in theirs and _listed(ours[name]) != _listed(theirs[name])
    }


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

"""Line up the tensors of BASE and TUNED, and say all that does not fit at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from speechft.core.errors import IncompatibleModelsError
from speechft.merging.dtypes import is_float
from speechft.merging.names import OPTIONAL, Names, count_layers, sort_names
from speechft.merging.sources import Source
from speechft.merging.tensorfile import TensorInfo

#: How names begin that only fairseq and S3PRL use.
FAIRSEQ = ("post_extract_proj.", "encoder.pos_conv.")


@dataclass(frozen=True)
class Entry:
    """One tensor of the result.

    Args:
        name: canonical name ("encoder.layers.0.attention.k_proj.weight").
        out_name: name in the result.
        base: BASE's tensor.
        tuned: stored name in each TUNED; empty if the tensor is kept from BASE as it is.
    """

    name: str
    out_name: str
    base: TensorInfo
    tuned: tuple[str, ...]


@dataclass(frozen=True)
class Match:
    """All tensors of the result, and what happened to the others.

    Args:
        entries: in the order that BASE stores them.
        layers: number of transformer layers.
        dropped: BASE's heads that the result does not have.
        kept: canonical or stored names taken from BASE unmerged.
        ignored: per TUNED, heads and buffers that were not used.
    """

    entries: tuple[Entry, ...]
    layers: int
    dropped: tuple[str, ...]
    kept: tuple[str, ...]
    ignored: tuple[tuple[str, ...], ...]


def match(base: Source, tuned: Sequence[Source], *, heads: str = "drop") -> Match:
    """Line up encoders.

    Rules: only the encoder is merged. Heads and pre-training projections of TUNED are ignored;
    those of BASE are dropped (`heads="drop"`, the prefix of the encoder's names goes too) or kept
    unmerged (`heads="keep"`). Integer buffers are BASE's. An embedding for input masking that
    TUNED lacks is BASE's; one that only TUNED has is ignored.

    Raises:
        IncompatibleModelsError: lists every missing, extra and mis-shaped tensor of every TUNED.
    """
    of_base = sort_names(base.tensors)
    of_tuned = [sort_names(source.tensors) for source in tuned]
    problems = [
        problem
        for source, names in zip(tuned, of_tuned, strict=True)
        if (problem := _compare(base, of_base, source, names))
    ]
    if problems:
        raise _error(base, problems)
    keep_heads = heads == "keep"
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
        entries.append(Entry(name, stored[strip:], info, parents))
        if not merged:
            kept.append(name)
    return Match(
        entries=tuple(entries),
        layers=count_layers(of_base.encoder),
        dropped=() if keep_heads else of_base.heads,
        kept=tuple(kept),
        ignored=tuple(
            names.heads + tuple(n for c, n in names.encoder.items() if c not in of_base.encoder)
            for names in of_tuned
        ),
    )


def _compare(base: Source, of_base: Names, tuned: Source, names: Names) -> str:
    """Give the lines that say what is wrong with one TUNED, or nothing."""
    lacking = [
        f"missing    {name}"
        for name, stored in of_base.encoder.items()
        if name not in names.encoder
        and name not in OPTIONAL
        and is_float(base.tensors[stored].dtype)
    ]
    extra = [
        f"extra      {name}"
        for name, stored in names.encoder.items()
        if name not in of_base.encoder
        and name not in OPTIONAL
        and is_float(tuned.tensors[stored].dtype)
    ]
    shapes = list(_shape_problems(base, of_base, tuned, names))
    if not (lacking or extra or shapes):
        return ""
    cause = _cause(base, of_base, tuned, names)
    lines = [f"{tuned.label}: {len(lacking)} missing, {len(extra)} extra, {len(shapes)} mis-shaped"]
    lines += [f"  {cause}"] if cause else []
    return "\n".join(lines + [f"    {line}" for line in lacking + extra + shapes])


def _shape_problems(base: Source, of_base: Names, tuned: Source, names: Names) -> Iterator[str]:
    for name, stored in of_base.encoder.items():
        other = names.encoder.get(name)
        if other is None or not is_float(base.tensors[stored].dtype):
            continue
        expected, found = base.tensors[stored], tuned.tensors[other]
        if expected.shape != found.shape:
            yield f"mis-shaped {name}: BASE {list(expected.shape)}, TUNED {list(found.shape)}"
        elif not is_float(found.dtype):
            yield f"mis-shaped {name}: BASE holds {expected.dtype}, TUNED {found.dtype}"


def _cause(base: Source, of_base: Names, tuned: Source, names: Names) -> str:
    """Guess why the tensors differ."""
    theirs, ours = names.encoder, of_base.encoder
    if any("lora_" in name for name in theirs):
        return "TUNED holds LoRA adapters: merge them into the encoder first"
    if any(name.startswith(FAIRSEQ) for name in set(theirs) ^ set(ours)):
        return "one has fairseq's names, the other not: convert it (`speechft convert`)"
    families = [(source.config or {}).get("model_type") for source in (base, tuned)]
    if None not in families and families[0] != families[1]:
        return f"TUNED is of the family {families[1]}, BASE of {families[0]}"
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


def _error(base: Source, problems: Sequence[str]) -> IncompatibleModelsError:
    return IncompatibleModelsError(
        "these encoders cannot be merged\n" + "\n".join(f"  {problem}" for problem in problems),
        where=base.label,
        expected="the encoder's tensors of BASE in every TUNED, with the same shapes",
        hint="merge a TUNED that was fine-tuned from this BASE",
    )

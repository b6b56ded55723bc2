"""Checkpoints with fairseq's tensor names: S3PRL, fairseq, WavLM, DeCoAR 2.0, SPIN."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from torch import Tensor

from speechft.core.errors import CheckpointError
from speechft.core.logging import get_logger
from speechft.core.paths import first_of
from speechft.encoders.checkpoint import MASK_EMBEDDING, Checkpoint, Side, listed, tame_config
from speechft.encoders.fairseq_layout import FairseqLayout, WaveformLayout, translate
from speechft.encoders.families import FAMILIES, Family, record_of
from speechft.encoders.formats.hf import make_config, modern_names, split_base
from speechft.encoders.formats.unpickle import plain
from speechft.encoders.wrapped_names import plain_names

_logger = get_logger(__name__)

FAIRSEQ_EPS = 1e-5
_ANCHOR = "post_extract_proj.weight"
TEACHER = "_ema"
_STRANGERS = {
    "data2vec 2.0": "modality_encoders.",
    "DistilHuBERT": "output_layer.0.",
    "a text encoder": "embed_tokens.",
    "a Whisper file of OpenAI's (its Hugging Face version can be read)": "encoder.blocks.0.",
}
_TORCHAUDIO = "encoder.transformer.layer_norm.weight"
_WRAPPING = ("_ctc", "_seq2seq")
_HF_ANCHOR = "feature_projection.projection.weight"


@dataclass(frozen=True)
class Raw:
    """What one file holds before names are translated."""

    format: str
    weights: dict[str, Tensor]
    settings: dict[str, Any] | None = None
    task: dict[str, Any] = field(default_factory=dict)
    symbols: list[list[str]] | None = None
    hint: str = ""
    """Any text of the file that may name the family (fairseq's `_name`, S3PRL's upstream)."""


class Described(NamedTuple):
    """What stands beside a file, or in an encoder like it: configuration and preprocessor."""

    config: Any
    preprocessor: dict[str, Any]


Given = Callable[[], Described | None]


def read_fairseq_style(content: Any, where: Path, given: Given = lambda: None) -> Checkpoint:
    """Turn the content of a torch file into a checkpoint.

    Args:
        content: what `read_torch_file` gave.
        where: the file.
        given: gives what is used where the file holds no settings; asked only then.

    Raises:
        CheckpointError: the format is not known, or its tensors are not those of an encoder.
    """
    try:
        raw = _open(content, where)
    except ValueError as error:
        raise _unknown_format(where, str(error)) from None
    prefix, hf_names = _find_encoder(raw.weights, where)
    inside = {n.removeprefix(prefix): t for n, t in raw.weights.items() if n.startswith(prefix)}
    outside = tuple(n for n in raw.weights if not n.startswith(prefix))
    if hf_names:
        return _hf_names(raw, inside, outside, where, given)
    family, layout = _recognise(inside, raw.hint)
    like = None if raw.settings else given()
    settings = raw.settings or ({} if like else _from_shapes(layout, inside, where))
    if like is not None:
        config, said = like.config, record_of(like.config.model_type)
        family, layout = (said, said.fairseq) if said.fairseq else (family, layout)
    else:
        config = make_config(
            {"model_type": family.name, **layout.config_values(settings)},
            where,
            "the checkpoint's settings cannot be used",
        )
    names = translate(inside, layout.all_names(config))
    rest = {n: t for n, t in inside.items() if n not in names}
    extras = {n: t for n, t in rest.items() if layout.extras.match(n)}
    unknown = [n for n in rest if n not in extras]
    if unknown:
        raise CheckpointError(
            listed(f"the checkpoint holds tensors that no {family.name} encoder has", unknown),
            where=where,
            hint="it looks like ContentVec's own file; its file named legacy can be read"
            if any("spk_" in n or "cond_layer_norm" in n for n in unknown)
            else "it may be a variant that is not supported",
        )
    tensors = {new: inside[old] for old, new in names.items()}
    tame_config(config, has_mask_embedding="mask_emb" in inside)
    source: dict[str, Any] = {"format": raw.format, "model_cfg": settings, "task_cfg": raw.task}
    source |= {} if raw.symbols is None else {"dictionaries_symbols": raw.symbols}
    preprocessor = _preprocessor(config, raw, family, given, where)
    side = Side(extras, source)
    return Checkpoint(raw.format, config, tensors, preprocessor, side, where, outside)


def _open(content: Any, where: Path) -> Raw:
    if not isinstance(content, dict):
        raise _unknown_format(where, type(content).__name__)
    keys = set(content)
    if {"task_cfg", "model_cfg", "model_weight"} <= keys:
        return Raw(
            "s3prl",
            _weights(content["model_weight"], where),
            _settings(plain(content["model_cfg"])),
            _settings(plain(content["task_cfg"])) or {},
            _dictionaries(plain(content.get("dictionaries_symbols"))),
            hint="hubert" if "dictionaries_symbols" in keys else "",
        )
    if "Upstream" in keys:
        upstream = str((_settings(plain(content.get("Args"))) or {}).get("upstream", ""))
        return Raw("s3prl-downstream", _weights(content["Upstream"], where), hint=upstream)
    if "state_dict" in keys:
        return Raw("spin", _weights(content["state_dict"], where), hint="hubert")
    if "model" in keys:
        return _open_model(content, where)
    if isinstance(content.get("model_state_dict"), dict):  # OpenAI's, and of many training loops
        return Raw("tensors", _weights(content["model_state_dict"], where))
    if content and all(isinstance(value, Tensor) for value in content.values()):
        weights = _weights(content, where)
        if any(n.endswith(_TORCHAUDIO) for n in weights):
            return Raw("torchaudio", _from_torchaudio(weights), hint=where.name)
        return Raw("tensors", weights)
    names = sorted(key for key in keys if isinstance(key, str))
    raise _unknown_format(where, f"a file with {', '.join(names[:12]) or 'nothing'}")


def _open_model(content: dict[Any, Any], where: Path) -> Raw:
    weights = _weights(content["model"], where)
    cfg = _settings(plain(content.get("cfg"))) or {}
    args = _settings(plain(content.get("args"))) or {}
    if cfg and "model" not in cfg:
        return Raw(_original_format(weights, "wavlm"), weights, cfg, _task(cfg))
    outer = _settings(cfg.get("model")) or args or None
    model, task = outer, _settings(cfg.get("task")) or args
    places = [task, outer or {}, args]
    inner = _settings((outer or {}).get("w2v_args"))
    if inner:  # of a model that was fine-tuned with CTC: the encoder's own settings
        model, task = _settings(inner.get("model")) or inner, _settings(inner.get("task")) or inner
        places = [task, model, *places]
    if model is None:
        return Raw(_original_format(weights, "fairseq"), weights)
    if not inner and ("w2v_path" in model or str(model.get("_name")).endswith(_WRAPPING)):
        # Its settings are those of the model around the encoder, whose own are elsewhere.
        name = str(model.get("_name") or "w2v")
        return Raw("fairseq", weights, None, _task(task, *places), hint=name)
    state = _settings(plain(content.get("task_state"))) or {}
    symbols = _dictionaries(state.get("dictionaries"))
    hint = str(model.get("_name") or model.get("arch") or "")
    return Raw("fairseq", weights, model, _task(task, *places), symbols, hint)


def _task(task: Mapping[str, Any], *places: Mapping[str, Any]) -> dict[str, Any]:
    """Give the settings of the task; `normalize` from the first place that says it."""
    known = ("label_rate", "sample_rate", "enable_padding", "max_sample_size", "min_sample_size")
    kept = {name: task[name] for name in known if name in task}
    said = [place["normalize"] for place in (task, *places) if place.get("normalize") is not None]
    return {**kept, **({"normalize": bool(said[0])} if said else {})}


def _settings(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _dictionaries(value: Any) -> list[list[str]] | None:
    """Give lists of symbols; None where a file holds anything else in their place."""
    lists = value if isinstance(value, list) else []
    return [[str(s) for s in one] for one in lists if isinstance(one, list)] or None


def _weights(value: Any, where: Path) -> dict[str, Tensor]:
    """Give the tensors; those of data2vec's teacher stand in a mapping of their own."""
    if not isinstance(value, dict):
        raise _unknown_format(where, f"weights of type {type(value).__name__}")
    found = {n: t for n, t in value.items() if isinstance(n, str) and isinstance(t, Tensor)}
    for outer, inner in value.items():
        if isinstance(outer, str) and outer.endswith(TEACHER) and isinstance(inner, dict):
            inside = {f"{outer}.{n}": t for n, t in inner.items() if isinstance(t, Tensor)}
            found |= inside
    return plain_names(found, where)


def _from_torchaudio(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give fairseq's names for those of torchaudio's models, which has taken fairseq's weights."""
    rows = (
        ("wav2vec2.", ""),
        ("encoder.transformer.", "encoder."),
        ("encoder.feature_projection.", "feature_projection."),
        ("mask_generator.mask_embedding", MASK_EMBEDDING),
        ("logit_generator.final_proj.", "final_proj."),
        ("logit_generator.label_embeddings", "label_embs_concat"),
    )
    for old, new in rows:
        weights = {
            new + n.removeprefix(old) if n.startswith(old) else n: t for n, t in weights.items()
        }
    weights = modern_names(weights)
    each = "feature_extractor.conv_layers.1.layer_norm.weight" in weights
    layout = WaveformLayout()
    mode = SimpleNamespace(feat_extract_norm="layer" if each else "group")
    names = translate(weights, layout.all_names(mode), back=True)
    heads = {n: t for n, t in weights.items() if n not in names and not n.startswith("aux.")}
    return {new: weights[old] for old, new in names.items()} | heads


def _find_encoder(weights: dict[str, Tensor], where: Path) -> tuple[str, bool]:
    """Give the prefix under which the encoder stands, and whether its names are transformers'."""
    for anchor, hf_names in ((_ANCHOR, False), (_HF_ANCHOR, True)):
        prefixes = [n.removesuffix(anchor) for n in weights if n.endswith(anchor)]
        prefixes = [p for p in prefixes if not p or p.endswith(".")]
        prefixes = [p for p in prefixes if not p.endswith(f"{TEACHER}.")]
        if len(prefixes) == 1:
            return prefixes[0], hf_names
        if prefixes:
            raise CheckpointError(
                "the file holds several encoders",
                where=where,
                found=", ".join(repr(p) for p in prefixes),
                expected="one",
                hint="save the one that you want under a name of its own",
            )
    kind = next((k for k, part in _STRANGERS.items() if any(part in n for n in weights)), None)
    count = "one tensor" if len(weights) == 1 else f"{len(weights)} tensors"
    raise CheckpointError(
        "the file holds no speech encoder that is known here",
        where=where,
        expected=f"a tensor {_ANCHOR} (fairseq) or {_HF_ANCHOR} (transformers)",
        found=f"{count}: {first_of(list(weights), 4)}" if weights else "no tensors",
        hint=f"it looks like {kind}, which is not supported" if kind else None,
    )


def _hf_names(
    raw: Raw, inside: dict[str, Tensor], outside: tuple[str, ...], where: Path, given: Given
) -> Checkpoint:
    like = given()
    if like is None:
        raise CheckpointError(
            "the file has transformers' tensor names but no configuration",
            where=where,
            hint="put config.json beside it and give the folder, or first convert it with "
            "`speechft convert FILE FOLDER --to hf --base ENCODER`, the encoder that it came from",
        )
    tensors, config = modern_names(inside), like.config
    tame_config(config, has_mask_embedding="masked_spec_embed" in tensors)
    base, rest = split_base(config, tensors, where)
    side = Side(rest)
    return Checkpoint(raw.format, config, base, like.preprocessor, side, where, outside)


def _recognise(weights: dict[str, Tensor], said: str) -> tuple[Family, FairseqLayout]:
    """Give the family that the tensors, or else the file's settings, speak for most surely."""
    layouts = [(family, family.fairseq) for family in FAMILIES.values() if family.fairseq]
    return max(layouts, key=lambda pair: pair[1].evidence(weights, said))


def _original_format(weights: dict[str, Tensor], usual: str) -> str:
    """Name the format of a file with `model` alone, or with settings of the model as `cfg`."""
    _, layout = _recognise(weights, "")
    return layout.kind if layout.is_flat else usual


def _from_shapes(layout: FairseqLayout, weights: dict[str, Tensor], where: Path) -> dict[str, Any]:
    try:
        settings = layout.settings_from_shapes(weights)
    except (LookupError, ValueError, ArithmeticError) as error:
        raise CheckpointError(
            "the checkpoint holds no settings, and lacks tensors that would tell its sizes",
            where=where,
            found=f"no {error.args[0]}" if isinstance(error, KeyError) else error,
            hint="if it was cut down on purpose, name the encoder that it came from with `base`",
        ) from None
    _logger.warning(
        "the file holds no settings: sizes are inferred from shapes; %d attention heads and %s are "
        "assumed, as in the published models",
        settings["encoder_attention_heads"],
        "pre-norm layers" if settings.get("layer_norm_first") else "post-norm layers",
    )
    return settings


def _preprocessor(
    config: Any, raw: Raw, family: Family, given: Given, where: Path
) -> dict[str, Any]:
    """Give the settings that the file says, else those given with it, else the usual ones."""
    normalize = raw.task.get("normalize")
    like = given() if normalize is None else None
    if like is not None:
        return like.preprocessor
    usual = family.default_preprocessor(config)
    if normalize is None and family.normalizes and "do_normalize" in usual:
        kept = "are normalised" if usual["do_normalize"] else "stay as they are"
        _logger.warning(
            "%s: the file does not say `normalize`: as is usual for this kind of encoder, "
            "waveforms %s",
            where,
            kept,
        )
    settings = usual if normalize is None else family.default_preprocessor(config, bool(normalize))
    return {**settings, "normalize_eps": FAIRSEQ_EPS}


def _unknown_format(where: Path, found: str) -> CheckpointError:
    return CheckpointError(
        "the format of this checkpoint is not known",
        where=where,
        found=found,
        expected="a checkpoint of S3PRL, fairseq, WavLM, DeCoAR 2.0 or SPIN",
    )

"""Checkpoints with fairseq's tensor names: S3PRL, fairseq, WavLM, DeCoAR 2.0, SPIN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from speechft.core.errors import CheckpointError
from speechft.encoders.formats.checkpoint import (
    Checkpoint,
    Side,
    default_preprocessor,
    tame_config,
)
from speechft.encoders.formats.configs import config_from_fairseq, settings_from_shapes
from speechft.encoders.formats.hf import modern_names, split_base
from speechft.encoders.formats.keymaps import EXTRAS, key_map, translate
from speechft.encoders.formats.records import plain

FAIRSEQ_EPS = 1e-5
_ANCHOR = "post_extract_proj.weight"
TEACHER = "_ema"
_STRANGERS = {
    "data2vec 2.0": "modality_encoders.",
    "DistilHuBERT": "output_layer.0.",
    "a text encoder": "embed_tokens.",
    "a Whisper file of OpenAI's (its Hugging Face version can be read)": "encoder.blocks.0.",
}
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


def read_fairseq_style(content: Any, where: Path, config: Any | None = None) -> Checkpoint:
    """Turn the content of a torch file into a checkpoint.

    Args:
        content: what `read_torch_file` gave.
        where: the file.
        config: transformers configuration to use where the file holds no settings.

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
        return _hf_names(raw, inside, outside, where, config)
    family = _family(inside, raw.hint)
    if config is not None and config.model_type in EXTRAS:
        family = config.model_type
    settings = raw.settings or ({} if config is not None else _from_shapes(family, inside, where))
    if config is None:
        config = _make_config(config_from_fairseq(family, settings), where)
    style = getattr(config, "feat_extract_norm", "group")
    names = translate(inside, key_map(family, style))
    rest = {n: t for n, t in inside.items() if n not in names}
    extras = {n: t for n, t in rest.items() if EXTRAS[family].match(n)}
    _refuse_unknown([n for n in rest if n not in extras], family, where)
    tensors = {new: inside[old] for old, new in names.items()}
    tame_config(config, has_mask_embedding="mask_emb" in inside)
    return Checkpoint(
        format=raw.format,
        config=config,
        tensors=tensors,
        preprocessor=_preprocessor(config, raw, family),
        side=Side(extras, _source(raw, settings)),
        where=where,
        dropped=outside,
    )


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
    if content and all(isinstance(value, Tensor) for value in content.values()):
        return Raw("tensors", content)
    names = sorted(key for key in keys if isinstance(key, str))
    raise _unknown_format(where, f"a file with {', '.join(names[:12]) or 'nothing'}")


def _open_model(content: dict[Any, Any], where: Path) -> Raw:
    weights = _weights(content["model"], where)
    cfg = _settings(plain(content.get("cfg"))) or {}
    args = _settings(plain(content.get("args"))) or {}
    if cfg and "model" not in cfg:
        normalize = {"normalize": bool(cfg.get("normalize", False))}
        kind = "decoar2" if _looks_like_decoar(weights) else "wavlm"
        return Raw(kind, weights, cfg, normalize)
    model = _settings(cfg.get("model")) or args or None
    task = _settings(cfg.get("task")) or args
    inner = _settings((model or {}).get("w2v_args"))
    if inner:
        model, task = _settings(inner.get("model")) or inner, _settings(inner.get("task")) or inner
    if model is None:
        return Raw("decoar2" if _looks_like_decoar(weights) else "fairseq", weights)
    state = _settings(plain(content.get("task_state"))) or {}
    symbols = _dictionaries(state.get("dictionaries"))
    hint = str(model.get("_name") or model.get("arch") or "")
    return Raw(
        "fairseq",
        weights,
        model,
        {"normalize": bool(task.get("normalize", False)), **_task(task)},
        symbols,
        hint,
    )


def _task(task: Mapping[str, Any]) -> dict[str, Any]:
    known = ("label_rate", "sample_rate", "enable_padding", "max_sample_size", "min_sample_size")
    kept = {name: task[name] for name in known if name in task}
    return {"normalize": bool(task.get("normalize", False)), **kept}


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
    return found


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
    names = ", ".join(list(weights)[:4])
    raise CheckpointError(
        "the file holds no speech encoder that is known here",
        where=where,
        expected=f"a tensor {_ANCHOR} (fairseq) or {_HF_ANCHOR} (transformers)",
        found=f"{len(weights)} tensors: {names} …" if weights else "no tensors",
        hint=f"it looks like {kind}, which is not supported" if kind else None,
    )


def _hf_names(
    raw: Raw, inside: dict[str, Tensor], outside: tuple[str, ...], where: Path, config: Any | None
) -> Checkpoint:
    if config is None:
        raise CheckpointError(
            "the file has transformers' tensor names but no configuration",
            where=where,
            hint="put config.json beside it and give the folder, or first convert it with "
            "`speechft convert FILE FOLDER --to hf --base ENCODER`, the encoder that it came from",
        )
    tensors = modern_names(inside)
    tame_config(config, has_mask_embedding="masked_spec_embed" in tensors)
    base, rest = split_base(config, tensors, where)
    side = Side(rest)
    return Checkpoint(raw.format, config, base, default_preprocessor(config), side, where, outside)


def _family(weights: dict[str, Tensor], hint: str) -> str:
    if _looks_like_decoar(weights):
        return "decoar2"
    if "encoder.pos_conv.0.0.weight" in weights:
        return "data2vec-audio"
    if any(".grep_" in n or "relative_attention_bias" in n for n in weights):
        return "wavlm"
    if "quantizer.vars" in weights or "project_q.weight" in weights:
        return "wav2vec2"
    if "label_embs_concat" in weights or "hubert" in hint:
        return "hubert"
    return "wav2vec2" if "w2v" in hint or "wav2vec" in hint else "hubert"


def _looks_like_decoar(weights: dict[str, Tensor]) -> bool:
    return not any("feature_extractor.conv_layers" in name for name in weights)


def _from_shapes(family: str, weights: dict[str, Tensor], where: Path) -> dict[str, Any]:
    try:
        return settings_from_shapes(family, weights)
    except (LookupError, ValueError, ArithmeticError) as error:
        raise CheckpointError(
            "the checkpoint holds no settings, and lacks tensors that would tell its sizes",
            where=where,
            found=f"no {error.args[0]}" if isinstance(error, KeyError) else error,
            hint="if it was cut down on purpose, name the encoder that it came from with `base`",
        ) from None


def _make_config(values: dict[str, Any], where: Path) -> Any:
    from transformers import AutoConfig

    import speechft.encoders.decoar2  # noqa: F401  (registers the model type)

    try:
        return AutoConfig.for_model(**values)
    except Exception as error:
        # transformers checks values with its own error classes, which differ between versions.
        raise CheckpointError(
            "the checkpoint's settings cannot be used", where=where, found=error
        ) from None


def _preprocessor(config: Any, raw: Raw, family: str) -> dict[str, Any]:
    normalize = None if family != "decoar2" else False
    if "normalize" in raw.task:
        normalize = bool(raw.task["normalize"]) and family != "decoar2"
    return {**default_preprocessor(config, normalize), "normalize_eps": FAIRSEQ_EPS}


def _source(raw: Raw, settings: dict[str, Any]) -> dict[str, Any]:
    source: dict[str, Any] = {"format": raw.format, "model_cfg": settings, "task_cfg": raw.task}
    if raw.symbols is not None:
        source["dictionaries_symbols"] = raw.symbols
    return source


def _refuse_unknown(names: list[str], family: str, where: Path) -> None:
    if names:
        raise CheckpointError(
            f"the checkpoint holds tensors that no {family} encoder has:\n"
            + "\n".join(f"    {name}" for name in names),
            where=where,
            hint="it may be a variant that is not supported",
        )


def _unknown_format(where: Path, found: str) -> CheckpointError:
    return CheckpointError(
        "the format of this checkpoint is not known",
        where=where,
        found=found,
        expected="a checkpoint of S3PRL, fairseq, WavLM, DeCoAR 2.0 or SPIN",
    )

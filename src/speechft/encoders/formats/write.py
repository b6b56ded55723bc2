"""Writers: an encoder's checkpoint to a Hugging Face folder, an S3PRL file or a fairseq file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechft.core.errors import CheckpointError, SettingsError
from speechft.core.files import atomic_path
from speechft.core.logging import get_logger
from speechft.core.nearest import did_you_mean
from speechft.encoders.formats.checkpoint import Checkpoint, check_complete
from speechft.encoders.formats.configs import config_to_fairseq
from speechft.encoders.formats.disk import disk_errors
from speechft.encoders.formats.fairseq import TEACHER
from speechft.encoders.formats.hf import write_hf_folder
from speechft.encoders.formats.keymaps import EXTRAS, key_map, translate

logger = get_logger(__name__)

FAIRSEQ_FAMILIES = ("hubert", "wav2vec2", "wavlm", "data2vec-audio", "decoar2")
HUBERT_UNITS = 504
FINAL_DIM = 256
TORCH_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin")


def write_checkpoint(checkpoint: Checkpoint, target: Path, to: str) -> Path:
    """Write a checkpoint in a format.

    Args:
        checkpoint: what was read.
        target: a folder for hf, a file for s3prl and fairseq.
        to: hf, s3prl or fairseq.

    Raises:
        SettingsError: no such format.
        CheckpointError: the checkpoint is incomplete, or the format has no place for its family.
    """
    if to not in FORMATS:
        raise SettingsError(f"unknown format {to!r}", where="--to", hint=did_you_mean(to, FORMATS))
    architecture = type(check_complete(checkpoint)).__name__
    return FORMATS[to](checkpoint, target, architecture)


def _write_hf(checkpoint: Checkpoint, target: Path, architecture: str) -> Path:
    return write_hf_folder(
        target,
        checkpoint.config,
        checkpoint.tensors,
        checkpoint.preprocessor,
        checkpoint.side,
        architecture,
    )


def _write_s3prl(checkpoint: Checkpoint, target: Path, _architecture: str) -> Path:
    weights, model_cfg, task_cfg = _fairseq_parts(checkpoint)
    family = checkpoint.family
    content: dict[str, Any]
    if family == "decoar2":
        content = {"model": weights, "cfg": model_cfg}
    elif family == "wavlm":
        content = {"cfg": {**model_cfg, "normalize": task_cfg["normalize"]}, "model": weights}
    else:
        content = {"task_cfg": task_cfg, "model_cfg": model_cfg, "model_weight": weights}
    if family == "hubert":
        content["dictionaries_symbols"] = _symbols(checkpoint, weights)
    return _save(content, target, teacher=family == "data2vec-audio")


def _write_fairseq(checkpoint: Checkpoint, target: Path, architecture: str) -> Path:
    if checkpoint.family in ("wavlm", "decoar2"):
        # Their original files are what S3PRL reads.
        return _write_s3prl(checkpoint, target, architecture)
    weights, model_cfg, task_cfg = _fairseq_parts(checkpoint)
    hubert = checkpoint.family == "hubert"
    task = {"_name": "hubert_pretraining" if hubert else "audio_pretraining", **task_cfg}
    kind = checkpoint.family.replace("-", "_")
    content: dict[str, Any] = {
        "args": None,
        "cfg": {"model": {"_name": kind, **model_cfg}, "task": task},
        "model": weights,
    }
    if hubert:
        content["task_state"] = {"dictionaries": _symbols(checkpoint, weights)}
    return _save(content, target, teacher=checkpoint.family == "data2vec-audio")


FORMATS: dict[str, Callable[[Checkpoint, Path, str], Path]] = {
    "hf": _write_hf,
    "s3prl": _write_s3prl,
    "fairseq": _write_fairseq,
}


def _fairseq_parts(
    checkpoint: Checkpoint,
) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    """Give weights under fairseq's names, `model_cfg` and `task_cfg`."""
    family, config, source = checkpoint.family, checkpoint.config, checkpoint.side.source
    if family not in FAIRSEQ_FAMILIES:
        raise CheckpointError(
            f"this format has no place for a {family} encoder",
            where=checkpoint.where,
            expected=" or ".join(FAIRSEQ_FAMILIES),
            hint="convert it with --to hf",
        )
    rows = key_map(family, getattr(config, "feat_extract_norm", "group"))
    names = translate(checkpoint.tensors, rows, back=True)
    unknown = sorted(set(checkpoint.tensors) - set(names))
    if unknown:
        raise CheckpointError(
            "the format has no place for these tensors:\n" + "\n".join(f"    {n}" for n in unknown),
            where=checkpoint.where,
            hint="convert it with --to hf",
        )
    weights = {new: checkpoint.tensors[old] for old, new in names.items()}
    extras = checkpoint.side.tensors
    if family != "wavlm":  # whose readers take the encoder alone, and refuse more
        weights |= {n: t for n, t in extras.items() if EXTRAS[family].match(n)}
    lost = sorted(set(extras) - set(weights))
    if lost:
        logger.warning("left out, the format has no place for them: %s", ", ".join(lost))
    weights |= _placeholders(family, config, weights)
    model_cfg = {**config_to_fairseq(family, config), **source.get("model_cfg", {})}
    for name, value in config_to_fairseq(family, config).items():
        if name not in _TRAINING_ONLY:
            model_cfg[name] = value
    if family == "hubert":  # a head of another width came with continued pre-training
        model_cfg["final_dim"] = _rows(weights, "final_proj.weight", FINAL_DIM)
    task_cfg = {"sample_rate": 16000, "enable_padding": False, **source.get("task_cfg", {})}
    task_cfg["normalize"] = bool(checkpoint.preprocessor.get("do_normalize", False))
    return weights, _same_text(model_cfg, source.get("model_cfg", {})), task_cfg


_TRAINING_ONLY = frozenset(
    {
        *("dropout", "attention_dropout", "activation_dropout", "dropout_input"),
        *("encoder_layerdrop", "mask_prob", "mask_length", "mask_channel_prob"),
        *("mask_channel_length", "final_dim", "label_rate", "latent_dim"),
        *("required_seq_len_multiple", "quantize_targets"),
    }
)


def _same_text(settings: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
    """Keep the source's spelling of the convolutions where it says the same."""
    from speechft.encoders.formats.conv_spec import parse_conv_spec

    old, new = source.get("conv_feature_layers"), settings.get("conv_feature_layers")
    if (
        isinstance(old, str)
        and isinstance(new, str)
        and parse_conv_spec(old) == parse_conv_spec(new)
    ):
        settings["conv_feature_layers"] = old
    return settings


def _placeholders(family: str, config: Any, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give zeros for parts of pre-training that S3PRL insists on but the checkpoint lacks."""
    like = weights["post_extract_proj.weight"]
    hidden, channels = like.shape
    shapes: dict[str, tuple[int, ...]] = {}
    if family == "hubert":
        dim = _rows(weights, "final_proj.weight", FINAL_DIM)
        shapes["final_proj.weight"], shapes["final_proj.bias"] = (dim, hidden), (dim,)
        shapes["label_embs_concat"] = (HUBERT_UNITS, dim)
    if family == "wav2vec2":
        groups, entries = config.num_codevector_groups, config.num_codevectors_per_group
        code, dim = config.codevector_dim, config.proj_codevector_dim
        shapes["quantizer.vars"] = (1, groups * entries, code // groups)
        shapes["quantizer.weight_proj.weight"] = (groups * entries, channels)
        shapes["quantizer.weight_proj.bias"] = (groups * entries,)
        shapes["project_q.weight"], shapes["project_q.bias"] = (dim, code), (dim,)
        shapes["final_proj.weight"], shapes["final_proj.bias"] = (dim, hidden), (dim,)
    if family == "data2vec-audio":
        shapes["final_proj.weight"], shapes["final_proj.bias"] = (hidden, hidden), (hidden,)
    if family != "decoar2":
        shapes["mask_emb"] = (hidden,)
    return {n: like.new_zeros(shape) for n, shape in shapes.items() if n not in weights}


def _rows(weights: dict[str, Tensor], name: str, default: int) -> int:
    return int(weights[name].shape[0]) if name in weights else default


def _symbols(checkpoint: Checkpoint, weights: dict[str, Tensor]) -> list[list[str]]:
    """Give the dictionaries: as many words as there are label embeddings."""
    total = int(weights["label_embs_concat"].shape[0])
    known: list[list[str]] = checkpoint.side.source.get("dictionaries_symbols") or []
    if sum(map(len, known)) == total:
        return known
    return [[str(unit) for unit in range(total)]]


def _save(content: dict[str, Any], target: Path, *, teacher: bool = False) -> Path:
    if target.is_dir():
        raise SettingsError(
            "the target is a folder", where=target, expected="a file name, such as encoder.pt"
        )
    if target.suffix not in TORCH_SUFFIXES:
        raise SettingsError(
            "the target has a name that no reader takes",
            where=target,
            expected=f"a file name ending in {' or '.join(TORCH_SUFFIXES)}",
        )
    for name in ("model", "model_weight"):
        if name in content:
            weights = {n: t.detach().cpu().contiguous() for n, t in content[name].items()}
            content[name] = _with_teacher(weights) if teacher else weights
    with disk_errors(target), atomic_path(target) as temporary, temporary.open("wb") as file:
        torch.save(content, file)
    return target


def _with_teacher(weights: dict[str, Tensor]) -> dict[str, Any]:
    """Put data2vec's teacher into a mapping of its own, which its readers ask for."""
    stem = f"{TEACHER}."
    teacher = {n.removeprefix(stem): t for n, t in weights.items() if n.startswith(stem)}
    return {n: t for n, t in weights.items() if not n.startswith(stem)} | {TEACHER: teacher}

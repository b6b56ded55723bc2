"""Writers: an encoder's checkpoint to a Hugging Face folder, an S3PRL file or a fairseq file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechft.core.errors import CheckpointError, SettingsError
from speechft.core.files import atomic_path
from speechft.core.lengths import SAMPLE_RATE
from speechft.core.logging import get_logger
from speechft.core.nearest_names import did_you_mean
from speechft.encoders.checkpoint import Checkpoint, check_complete, listed
from speechft.encoders.fairseq_layout import FairseqLayout, parse_conv_spec, translate
from speechft.encoders.families import FAMILIES, record_of
from speechft.encoders.formats.fairseq import TEACHER
from speechft.encoders.hf_folder import write_hf_folder

logger = get_logger(__name__)

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


def _write_s3prl(checkpoint: Checkpoint, target: Path, _architecture: str) -> Path:
    layout, weights, model_cfg, task_cfg = _fairseq_parts(checkpoint)
    content = layout.s3prl_content(weights, model_cfg, task_cfg)
    if layout.has_units:
        content["dictionaries_symbols"] = _symbols(checkpoint, weights)
    return _save(content, target, layout)


def _write_fairseq(checkpoint: Checkpoint, target: Path, architecture: str) -> Path:
    layout, weights, model_cfg, task_cfg = _fairseq_parts(checkpoint)
    if layout.is_flat:  # the original file is what S3PRL reads
        return _write_s3prl(checkpoint, target, architecture)
    model, task = {"_name": layout.kind, **model_cfg}, {"_name": layout.task, **task_cfg}
    content: dict[str, Any] = {
        "args": None,
        "cfg": {"model": model, "task": task},
        "model": weights,
    }
    if layout.has_units:
        content["task_state"] = {"dictionaries": _symbols(checkpoint, weights)}
    return _save(content, target, layout)


FORMATS: dict[str, Callable[[Checkpoint, Path, str], Path]] = {
    "hf": write_hf_folder,
    "s3prl": _write_s3prl,
    "fairseq": _write_fairseq,
}


def _fairseq_parts(
    checkpoint: Checkpoint,
) -> tuple[FairseqLayout, dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    """Give the family's layout, weights under fairseq's names, `model_cfg` and `task_cfg`."""
    config, source = checkpoint.config, checkpoint.side.source
    layout = record_of(checkpoint.family).fairseq
    if layout is None:
        raise CheckpointError(
            f"this format has no place for a {checkpoint.family} encoder",
            where=checkpoint.where,
            expected=" or ".join(name for name, family in FAMILIES.items() if family.fairseq),
            hint="convert it with --to hf",
        )
    weights = _fairseq_weights(checkpoint, layout)
    old = source.get("model_cfg", {})
    own = layout.settings_of(config)
    model_cfg = {**own, **old, **{n: v for n, v in own.items() if n not in _TRAINING_ONLY}}
    model_cfg |= layout.settings_of_parts(weights)
    said, text = (one.get("conv_feature_layers") for one in (old, model_cfg))
    if said is not text and isinstance(said, str) and isinstance(text, str):
        same = parse_conv_spec(said) == parse_conv_spec(text)
        model_cfg["conv_feature_layers"] = said if same else text  # the source's spelling
    task_cfg = {"sample_rate": SAMPLE_RATE, "enable_padding": False, **source.get("task_cfg", {})}
    task_cfg["normalize"] = bool(checkpoint.preprocessor.get("do_normalize", False))
    return layout, weights, model_cfg, task_cfg


def _fairseq_weights(checkpoint: Checkpoint, layout: FairseqLayout) -> dict[str, Tensor]:
    """Give weights under fairseq's names, with parts of pre-training, or zeros in their place."""
    names = translate(checkpoint.tensors, layout.all_names(checkpoint.config), back=True)
    unknown = sorted(set(checkpoint.tensors) - set(names))
    if unknown:
        raise CheckpointError(
            listed("the format has no place for these tensors", unknown),
            where=checkpoint.where,
            hint="convert it with --to hf",
        )
    weights = {new: checkpoint.tensors[old] for old, new in names.items()}
    extras = checkpoint.side.tensors
    if layout.writes_extras:
        weights |= {n: t for n, t in extras.items() if layout.extras.match(n)}
    lost = sorted(set(extras) - set(weights))
    if lost:
        logger.warning("left out, the format has no place for them: %s", ", ".join(lost))
    like = weights["post_extract_proj.weight"]
    missing = layout.missing_parts(checkpoint.config, weights)
    zeros = {n: like.new_zeros(shape) for n, shape in missing.items() if n not in weights}
    return weights | zeros


_TRAINING_ONLY = frozenset(
    {
        *("dropout", "attention_dropout", "activation_dropout", "dropout_input"),
        *("encoder_layerdrop", "mask_prob", "mask_length", "mask_channel_prob"),
        *("mask_channel_length", "final_dim", "label_rate", "latent_dim"),
        *("required_seq_len_multiple", "quantize_targets"),
    }
)


def _symbols(checkpoint: Checkpoint, weights: dict[str, Tensor]) -> list[list[str]]:
    """Give the dictionaries: as many words as there are label embeddings."""
    total = int(weights["label_embs_concat"].shape[0])
    known: list[list[str]] = checkpoint.side.source.get("dictionaries_symbols") or []
    if sum(map(len, known)) == total:
        return known
    return [[str(unit) for unit in range(total)]]


def _save(content: dict[str, Any], target: Path, layout: FairseqLayout) -> Path:
    fault = "the target is a folder" if target.is_dir() else None
    expected = "a file name, such as encoder.pt"
    if fault is None and target.suffix not in TORCH_SUFFIXES:
        fault = "the target has a name that no reader takes"
        expected = f"a file name ending in {' or '.join(TORCH_SUFFIXES)}"
    if fault:
        raise SettingsError(fault, where=target, expected=expected)
    for name in ("model", "model_weight"):
        if name in content:
            weights: dict[str, Any]
            weights = {n: t.detach().cpu().contiguous() for n, t in content[name].items()}
            content[name] = weights
            if layout.has_teacher:  # data2vec's readers ask for a mapping of its own
                stem = f"{TEACHER}."
                teacher = {n: weights.pop(n) for n in list(weights) if n.startswith(stem)}
                weights[TEACHER] = {n.removeprefix(stem): t for n, t in teacher.items()}
    with atomic_path(target) as temporary, temporary.open("wb") as file:
        torch.save(content, file)
    return target

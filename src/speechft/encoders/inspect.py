"""`speechft inspect`: what a checkpoint holds, and what a merge would do with it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from speechft.encoders.base import SpeechEncoder
from speechft.encoders.checkpoint import Checkpoint, fill_model, fingerprint, not_finite
from speechft.encoders.identity import changed_files, locate
from speechft.encoders.load import encoder_class, read_checkpoint
from speechft.encoders.settings import InspectSettings

_ORDER = ("CNN front end", "mask embedding", "projection", "positions", "transformer", "decoder")
_MERGED = "interpolated: θ0 + alpha (θ' − θ0)"
_FROZEN = f"{_MERGED}; equal in both after stable fine-tuning"
_WEIGHT_NORM = f"{_MERGED}; g and v each by itself, or the kernel (--weight-norm fused)"
_SIDE = "not merged: dropped, or BASE's own with --heads base"
_FIXED = f"{_MERGED}; equal in both, training leaves this table as it is"
_OUTSIDE = "not read: no part of the encoder"


@dataclass(frozen=True)
class Group:
    """Tensors that belong together.

    Attributes:
        name: what they are.
        tensors: how many.
        parameters: how many numbers.
        merge: what a merge does with them.
    """

    name: str
    tensors: int
    parameters: int
    merge: str


@dataclass(frozen=True)
class Inspection:
    """What a checkpoint holds.

    Attributes:
        where: the file or folder.
        format: hf, peft, s3prl, s3prl-downstream, fairseq, torchaudio, wavlm, decoar2, spin or
            tensors.
        family: the transformers model type.
        style: base or large, and where it normalises.
        input: what the front end is given.
        parameters: numbers in the encoder.
        bytes: size on disk.
        hidden_size: width of the hidden states.
        layers: transformer layers.
        feed_forward: width of their feed-forward parts.
        attention_heads: per layer.
        hop: samples per frame.
        dtypes: type → number of tensors.
        normalize_input: whether waveforms are brought to zero mean and unit variance.
        fingerprint: SHA-256 of the encoder in float32, as `SpeechEncoder.fingerprint` gives it.
        changed: files that are not what the record beside them names; such an encoder is not
            loaded.
        not_finite: names of tensors with NaN or infinite values; such an encoder is not loaded.
        groups: the tensors.
    """

    where: str
    format: str
    family: str
    style: str
    input: str
    parameters: int
    bytes: int
    hidden_size: int
    layers: int
    feed_forward: int
    attention_heads: int
    hop: int
    dtypes: dict[str, int]
    normalize_input: bool
    fingerprint: str
    changed: tuple[str, ...]
    not_finite: tuple[str, ...]
    groups: tuple[Group, ...]


def inspect(settings: InspectSettings) -> Inspection:
    """Read a checkpoint and say what it holds.

    Raises:
        CheckpointError: it cannot be read, or it is no complete encoder.
    """
    path = locate(settings.path)
    checkpoint = read_checkpoint(path, base=settings.base, allow_changed=True)
    model = fill_model(checkpoint, torch.float32, allow_nan=True)
    encoder = encoder_class(model, checkpoint.where)(model, checkpoint.preprocessor)
    config = checkpoint.config
    dtypes = Counter(str(t.dtype).removeprefix("torch.") for t in checkpoint.tensors.values())
    return Inspection(
        where=str(checkpoint.where),
        format=checkpoint.format,
        family=checkpoint.family,
        style=encoder.style,
        input=encoder.front_end_input,
        parameters=sum(t.numel() for t in checkpoint.tensors.values()),
        bytes=_size(checkpoint.where),
        hidden_size=encoder.hidden_size,
        layers=encoder.num_layers,
        feed_forward=int(
            getattr(config, "intermediate_size", 0) or getattr(config, "encoder_ffn_dim", 0)
        ),
        attention_heads=int(getattr(config, "num_attention_heads", 0)),
        hop=encoder.hop,
        dtypes=dict(dtypes),
        normalize_input=bool(checkpoint.preprocessor.get("do_normalize", False)),
        fingerprint=fingerprint(encoder.model.state_dict()),
        changed=tuple(str(file) for file, _ in changed_files(path)),
        not_finite=tuple(not_finite(checkpoint.tensors)),
        groups=_groups(checkpoint, encoder),
    )


def _groups(checkpoint: Checkpoint, encoder: SpeechEncoder) -> tuple[Group, ...]:
    named: dict[str, list[Tensor]] = {}
    front_end = encoder.front_end_parameters()
    for name, tensor in checkpoint.tensors.items():
        group = "CNN front end" if name in front_end else _group_name(name, encoder)
        named.setdefault(group, []).append(tensor)
    merges = {"CNN front end": _FROZEN}
    if any("original0" in name for name in checkpoint.tensors):
        merges["positions"] = _WEIGHT_NORM
    if encoder.fixed_prefixes:
        merges["positions"] = _FIXED
    groups = [_group(n, named[n], merges.get(n, _MERGED)) for n in _ORDER if n in named]
    sides: dict[str, list[Tensor]] = {}
    for name, tensor in checkpoint.side.tensors.items():
        sides.setdefault(name.partition(".")[0], []).append(tensor)
    groups += [_group(name, tensors, _SIDE) for name, tensors in sides.items()]
    if checkpoint.dropped:
        groups.append(Group("others", len(checkpoint.dropped), 0, _OUTSIDE))
    return tuple(groups)


def _group(name: str, tensors: list[Tensor], merge: str) -> Group:
    return Group(name, len(tensors), sum(t.numel() for t in tensors), merge)


def _group_name(name: str, encoder: SpeechEncoder) -> str:
    if name == "masked_spec_embed":
        return "mask embedding"
    if name.startswith(encoder.projection_prefixes):
        return "projection"
    if name.startswith("decoder."):
        return "decoder"
    return "positions" if "pos_conv" in name or "embed_positions" in name else "transformer"


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [p for p in path.iterdir() if p.is_file()]
    return sum(file.stat().st_size for file in files)

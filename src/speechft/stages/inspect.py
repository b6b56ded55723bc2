"""`speechft inspect`: what a checkpoint holds, and what a merge would do with it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechft.core.settings import Settings
from speechft.encoders.checkpoints import (
    Checkpoint,
    check_complete,
    fill_model,
    fingerprint,
    read_checkpoint,
)
from speechft.encoders.load import wrap_model

_MERGED = "interpolated: θ0 + alpha (θ' − θ0)"
_FROZEN = f"{_MERGED}; equal in both after stable fine-tuning"
_SIDE = "not merged: dropped, or kept from BASE"
_OUTSIDE = "not read: no part of the encoder"


class InspectSettings(Settings):
    """What to look at.

    Attributes:
        path: a folder, a checkpoint file of any supported format, a Hub id or a packaged name.
        base: an encoder whose configuration is used where the file holds none.
    """

    path: str
    base: str | None = None


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
        format: hf, s3prl, s3prl-downstream, fairseq, wavlm, decoar2 or spin.
        family: the transformers model type.
        style: where it normalises.
        parameters: numbers in the encoder.
        bytes: size on disk.
        hidden_size: width of the hidden states.
        layers: transformer layers.
        attention_heads: per layer.
        hop: samples per frame.
        dtypes: type → number of tensors.
        normalize_input: whether waveforms are brought to zero mean and unit variance.
        fingerprint: SHA-256 of the encoder in float32, as `SpeechEncoder.fingerprint` gives it.
        groups: the tensors.
    """

    where: str
    format: str
    family: str
    style: str
    parameters: int
    bytes: int
    hidden_size: int
    layers: int
    attention_heads: int
    hop: int
    dtypes: dict[str, int]
    normalize_input: bool
    fingerprint: str
    groups: tuple[Group, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give plain values."""
        return asdict(self)


def inspect(settings: InspectSettings) -> Inspection:
    """Read a checkpoint and say what it holds.

    Raises:
        CheckpointError: it cannot be read, or it is no complete encoder.
    """
    checkpoint = read_checkpoint(settings.path, base=settings.base)
    check_complete(checkpoint)
    encoder = wrap_model(fill_model(checkpoint, torch.float32), checkpoint.preprocessor)
    dtypes = Counter(str(t.dtype).removeprefix("torch.") for t in checkpoint.tensors.values())
    return Inspection(
        where=str(checkpoint.where),
        format=checkpoint.format,
        family=checkpoint.family,
        style=_style(checkpoint.config),
        parameters=sum(t.numel() for t in checkpoint.tensors.values()),
        bytes=_size(checkpoint.where),
        hidden_size=encoder.hidden_size,
        layers=encoder.num_layers,
        attention_heads=int(checkpoint.config.num_attention_heads),
        hop=encoder.hop,
        dtypes=dict(dtypes),
        normalize_input=bool(checkpoint.preprocessor.get("do_normalize", False)),
        fingerprint=fingerprint(encoder.model.state_dict()),
        groups=_groups(checkpoint, set(encoder.front_end_parameters())),
    )


def _style(config: Any) -> str:
    norm = {"group": "group norm in the first convolution", "layer": "layer norm in each"}
    parts = [norm.get(getattr(config, "feat_extract_norm", ""), "")]
    if hasattr(config, "hidden_act"):
        parts.append("pre-norm" if getattr(config, "do_stable_layer_norm", False) else "post-norm")
    return ", ".join(part for part in parts if part)


def _groups(checkpoint: Checkpoint, front_end: set[str]) -> tuple[Group, ...]:
    named: dict[str, list[Tensor]] = {}
    for name, tensor in checkpoint.tensors.items():
        named.setdefault(_group_name(name, front_end), []).append(tensor)
    order = ("CNN front end", "mask embedding", "projection", "positions", "transformer")
    groups = [
        _group(name, named[name], _FROZEN if name == "CNN front end" else _MERGED)
        for name in sorted(named, key=lambda n: order.index(n) if n in order else len(order))
    ]
    sides: dict[str, list[Tensor]] = {}
    for name, tensor in checkpoint.side.tensors.items():
        sides.setdefault(name.partition(".")[0], []).append(tensor)
    groups += [_group(name, tensors, _SIDE) for name, tensors in sides.items()]
    if checkpoint.dropped:
        groups.append(Group("others", len(checkpoint.dropped), 0, _OUTSIDE))
    return tuple(groups)


def _group(name: str, tensors: list[Tensor], merge: str) -> Group:
    return Group(name, len(tensors), sum(t.numel() for t in tensors), merge)


def _group_name(name: str, front_end: set[str]) -> str:
    if name in front_end:
        return "CNN front end"
    if name == "masked_spec_embed":
        return "mask embedding"
    if name.startswith(("feature_projection.", "post_extract_proj.")):
        return "projection"
    return "positions" if "pos_conv" in name else "transformer"


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [p for p in path.iterdir() if p.is_file()]
    return sum(file.stat().st_size for file in files)

"""What every reader gives and every writer takes: one encoder's checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from speechft.core.errors import CheckpointError

MAX_LAYERS: Final = 1000
MASK_EMBEDDING = "masked_spec_embed"
FLOATS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})


@dataclass(frozen=True)
class Side:
    """What an encoder does not need but the way back to its first format does.

    Attributes:
        tensors: parts of pre-training and heads (final_proj, quantizer, lm_head), named as in
            fairseq where fairseq has them.
        source: plain settings of the first format (`model_cfg`, `task_cfg`, dictionaries).
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """One encoder as it was read.

    Attributes:
        format: hf, peft, s3prl, s3prl-downstream, fairseq, torchaudio, wavlm, decoar2, spin or
            tensors.
        config: transformers configuration of the base model.
        tensors: the base model's tensors under transformers' names, in the file's type.
        preprocessor: content of `preprocessor_config.json`.
        side: what is carried along for the way back.
        where: the file or folder it came from.
        dropped: names in the file that are neither the encoder's nor carried along.
    """

    format: str
    config: Any
    tensors: dict[str, Tensor]
    preprocessor: dict[str, Any]
    side: Side
    where: Path
    dropped: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        """The transformers model type."""
        return str(self.config.model_type)


def tame_config(config: Any, *, has_mask_embedding: bool | None = None) -> None:
    """Set what every encoder here has: no layer drop, no masking of its own, fused attention.

    Args:
        config: changed in place.
        has_mask_embedding: whether the checkpoint holds a mask embedding; transformers builds one
            only where a masking probability is set, so the configuration has to agree.
    """
    for name in ("layerdrop", "encoder_layerdrop", "decoder_layerdrop"):
        if hasattr(config, name):
            setattr(config, name, 0.0)
    # Which kernels compute attention is a matter of this machine, not of the encoder.
    config._attn_implementation = None
    if hasattr(config, "apply_spec_augment"):
        config.apply_spec_augment = False
    if has_mask_embedding is None or not hasattr(config, "mask_time_prob"):
        return
    if not has_mask_embedding:
        config.mask_time_prob = 0.0
        config.mask_feature_prob = 0.0
    elif config.mask_time_prob == 0.0 and config.mask_feature_prob == 0.0:
        config.mask_time_prob = 0.05


def check_sizes(config: Any, where: object) -> None:
    """Refuse sizes that no encoder has, before anything is built of them.

    Raises:
        CheckpointError: says which.
    """
    bounds = {"num_hidden_layers": MAX_LAYERS, "num_attention_heads": 4096, "hidden_size": 1 << 20}
    values = {name: (getattr(config, name, 1), most) for name, most in bounds.items()}
    for name in ("conv_stride", "conv_kernel", "conv_dim"):
        for number, value in enumerate(getattr(config, name, None) or ()):
            values[f"{name}.{number}"] = (value, 1 << 20)
    for name, (value, most) in values.items():
        if not isinstance(value, int) or not 1 <= value <= most:
            raise CheckpointError(
                "the checkpoint's configuration holds a size that no encoder has",
                where=where,
                expected=f"{name} from 1 to {most}",
                found=repr(value),
            )


def listed(what: str, lines: Iterable[str]) -> str:
    """Give a message with one indented line for each of several things."""
    return "\n".join([f"{what}:", *(f"    {line}" for line in lines)])


def new_model(config: Any) -> nn.Module:
    """Build the base model of a configuration; of Whisper the encoder alone where it says so."""
    from transformers import AutoModel
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    if getattr(config, "architectures", None) == [WhisperEncoder.__name__]:
        alone: nn.Module = WhisperEncoder(config)
        return alone
    model: nn.Module = AutoModel.from_config(config)
    return model


def empty_model(config: Any, where: object) -> nn.Module:
    """Build the base model of a configuration without memory for its weights.

    Raises:
        CheckpointError: the configuration's values do not fit together.
    """
    check_sizes(config, where)
    try:
        with torch.device("meta"):
            model = new_model(config)
    except (ValueError, RuntimeError, TypeError, LookupError, AttributeError, OSError) as error:
        raise CheckpointError(
            "no encoder can be built from the checkpoint's configuration",
            where=where,
            found=str(error).strip().partition("\n")[0],
        ) from None
    return model


def fill_model(
    checkpoint: Checkpoint, dtype: torch.dtype | None, *, allow_nan: bool = False
) -> nn.Module:
    """Build the model of a checkpoint and fill every weight.

    Args:
        checkpoint: what was read.
        dtype: type of floating-point weights; the file's if None.
        allow_nan: fill it even where values are not finite, to look at it.

    Raises:
        CheckpointError: lists every missing tensor, every unknown one, every wrong shape and type,
            or every tensor with values that are not finite.
    """
    model = check_complete(checkpoint)
    if not allow_nan:
        check_finite(checkpoint)
    # Copies, so that the model does not hang on the file that the tensors are mapped from.
    filled = {
        name: tensor.to(dtype if tensor.is_floating_point() else None, copy=True)
        for name, tensor in checkpoint.tensors.items()
    }
    saved = model.state_dict().keys()
    if any(buffer.is_meta for name, buffer in model.named_buffers() if name not in saved):
        # Buffers that no checkpoint holds are functions of the configuration.
        with torch.random.fork_rng(devices=[]):
            model = new_model(checkpoint.config)
    model.load_state_dict(filled, strict=True, assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model


def check_complete(checkpoint: Checkpoint) -> nn.Module:
    """Check that a checkpoint fills its encoder exactly, and give the empty model.

    Raises:
        CheckpointError: lists every missing tensor, every unknown one, every wrong shape and every
            type that holds no weights (integers of a quantised file).
    """
    model = empty_model(checkpoint.config, checkpoint.where)
    expected, found = model.state_dict(), checkpoint.tensors
    lines = [f"missing: {n} {tuple(t.shape)}" for n, t in expected.items() if n not in found]
    lines += [f"unknown: {n} {tuple(t.shape)}" for n, t in found.items() if n not in expected]
    both = [(n, found[n], t) for n, t in expected.items() if n in found]
    lines += [
        f"shape: {n} is {tuple(ours.shape)}, expected {tuple(t.shape)}"
        for n, ours, t in both
        if ours.shape != t.shape
    ]
    lines += [
        f"type: {n} is {_dtype(ours)}, expected {_dtype(t)}"
        for n, ours, t in both
        if (ours.dtype in FLOATS) != (t.dtype in FLOATS)
    ]
    if lines:
        raise CheckpointError(
            listed("the checkpoint does not fill this encoder", lines),
            where=checkpoint.where,
            found=f"{len(found)} tensors",
            expected=f"{len(expected)} tensors of {type(model).__name__}",
            hint="adapters lie beside the weights: merge them first (peft: merge_and_unload)"
            if any(".base_layer." in name for name in found)
            else "check that configuration and weights belong together",
        )
    return model


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Give the names of the tensors that hold NaN or infinite values."""
    floats = {n: t for n, t in tensors.items() if t.is_floating_point()}
    return [n for n, t in floats.items() if not bool(torch.isfinite(t).all())]


def check_finite(checkpoint: Checkpoint) -> None:
    """Refuse an encoder whose weights are not numbers, as a diverged training leaves them.

    Raises:
        CheckpointError: lists every tensor with NaN or infinite values.
    """
    bad = not_finite(checkpoint.tensors)
    if bad:
        raise CheckpointError(
            listed("the checkpoint holds values that are not finite", bad),
            where=checkpoint.where,
            found=f"NaN or infinity in {len(bad)} of {len(checkpoint.tensors)} tensors",
            hint="its training diverged, or the file is damaged: use an earlier checkpoint",
        )


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Give the SHA-256 of names, shapes, types and bytes of tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()

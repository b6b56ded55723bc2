"""From an encoder's specification to the encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from speechft.core.artifact import content_id
from speechft.core.errors import CheckpointError, IncompatibleModelsError, SettingsError
from speechft.core.files import hash_file
from speechft.core.provenance import FILE_NAME
from speechft.encoders import SpeechEncoder, load_encoder
from speechft.encoders.formats.locate import locate, packaged_weights
from speechft.merging.methods.elementwise import linear
from speechft.merging.points import load_point
from speechft.merging.sweep import is_sweep_folder, read_sweep
from speechft.probing.settings import EncoderSpec

_WEIGHTS = (".json", ".safetensors", ".bin")


def open_encoder(spec: EncoderSpec, device: str) -> SpeechEncoder:
    """Load an encoder, or interpolate two in float32; frozen and in evaluation mode.

    Raises:
        CheckpointError: a checkpoint cannot be read.
        IncompatibleModelsError: the two encoders of an interpolation differ in their tensors.
    """
    if spec.path is not None and spec.alpha is not None:
        encoder = load_point(spec.path, spec.alpha, device=device)
    elif spec.path is not None:
        encoder = load_encoder(spec.path, device=device)
    else:
        encoder = load_encoder(str(spec.base))
        tuned = load_encoder(str(spec.tuned))
        encoder = interpolate(encoder, tuned, float(spec.alpha or 0), spec.label).to(device)
    return encoder.eval().requires_grad_(False)


def interpolate(
    base: SpeechEncoder, tuned: SpeechEncoder, alpha: float, label: str
) -> SpeechEncoder:
    """Give θ0 + alpha · (θ' − θ0), in float32, with the weights in the place of the base's.

    Raises:
        IncompatibleModelsError: the two encoders differ in their tensors.
    """
    start, end = base.model.state_dict(), tuned.model.state_dict()
    check_same_tensors(start, end, label)
    mixed = {
        name: torch.from_numpy(linear(t.numpy(), [end[name].numpy()], alpha=alpha))
        if t.is_floating_point()
        else t
        for name, t in start.items()
    }
    base.model.load_state_dict(mixed)
    return base


def open_sweeps(specs: Sequence[EncoderSpec]) -> tuple[EncoderSpec, ...]:
    """Put the points of a sweep in the place of the sweep.

    Raises:
        SettingsError: an encoder has an alpha but is no sweep.
        CheckpointError: a sweep's description cannot be read.
    """
    opened: list[EncoderSpec] = []
    for spec in specs:
        sweep = spec.path is not None and is_sweep_folder(spec.path)
        if spec.path is not None and spec.alpha is not None and not sweep:
            raise SettingsError(
                "only a sweep takes an alpha of its own",
                where=spec.path,
                expected="a folder written by speechft merge --alpha START:STOP:STEP",
                hint="or give base, tuned and alpha",
            )
        if not sweep or spec.alpha is not None:
            opened.append(spec)
            continue
        for alpha in read_sweep(Path(str(spec.path))).alphas:
            name = f"{spec.name}@{alpha:g}" if spec.name else ""
            opened.append(spec.model_copy(update={"alpha": alpha, "name": name}))
    return tuple(opened)


def refuse_absent(specs: Sequence[EncoderSpec]) -> None:
    """Look for all stored encoders before any of them is worked with; Hub ids are downloaded.

    Whether what is there can be read shows when its turn comes.

    Raises:
        CheckpointError: encoders are not there; all of them are named.
    """
    sources = list(dict.fromkeys(source for spec in specs for source in spec.sources))
    absent: list[CheckpointError] = []
    for source in sources:
        try:
            locate(source)
        except CheckpointError as error:
            absent.append(error)
    if len(absent) == 1:
        raise absent[0]
    if absent:
        first = absent[0]
        lines = "".join(f"\n    {error.where}: {error.what}" for error in absent)
        raise CheckpointError(
            f"{len(absent)} of {len(sources)} encoders are not there:{lines}",
            expected=first.expected,
            hint=first.hint,
        )


def source_hashes(spec: EncoderSpec) -> list[str]:
    """Give what changes when an encoder on this machine changes: hashes of its files.

    A Hub id stands for itself.
    """
    result = []
    for source in spec.sources:
        if packaged := packaged_weights(source):
            result.append(content_id(packaged))
            continue
        path = locate(source) if Path(source).exists() else Path(source)
        if path.is_dir():
            files = sorted(p for p in path.iterdir() if p.suffix in _WEIGHTS)
            result.append(" ".join(hash_file(p) for p in files if p.name != FILE_NAME))
        else:
            result.append(hash_file(path) if path.is_file() else source)
    return result


def check_same_tensors(
    base: Mapping[str, torch.Tensor], tuned: Mapping[str, torch.Tensor], label: str
) -> None:
    """Refuse two encoders of which one has tensors that the other lacks.

    Raises:
        IncompatibleModelsError: the names or shapes differ.
    """
    if {n: t.shape for n, t in base.items()} != {n: t.shape for n, t in tuned.items()}:
        differing = sorted(set(base) ^ set(tuned)) or sorted(
            n for n in base if base[n].shape != tuned[n].shape
        )
        raise IncompatibleModelsError(
            "the two encoders have different tensors",
            where=label,
            found=f"{len(differing)} that differ, first {differing[0]}",
        )

"""From an encoder's specification to the encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from speechft.core.errors import CheckpointError, SettingsError
from speechft.encoders import SpeechEncoder, load_encoder
from speechft.encoders.identity import locate
from speechft.merging.alpha import is_sweep_folder, number_text
from speechft.merging.sweep import load_merged, load_point, read_sweep
from speechft.probing.settings import EncoderSpec, source_id


def open_encoder(spec: EncoderSpec, device: str) -> SpeechEncoder:
    """Load an encoder, or merge two in memory; frozen and in evaluation mode.

    Raises:
        CheckpointError: a checkpoint cannot be read.
        IncompatibleModelsError: the two encoders of an interpolation differ in their tensors.
    """
    if spec.path is not None and spec.alpha is not None:
        encoder = load_point(spec.path, spec.alpha, device=device)
    elif spec.path is not None:
        encoder = load_encoder(spec.path, device=device)
    else:
        ends = str(spec.base), str(spec.tuned)
        encoder = load_merged(*ends, float(spec.alpha or 0), device=device)
    return encoder.eval().requires_grad_(False)


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
            name = f"{spec.name}@{number_text(alpha)}" if spec.name else ""
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


def source_ids(specs: Sequence[EncoderSpec]) -> dict[str, str]:
    """Give the identity of every stored encoder and sweep that specifications name.

    Raises:
        CheckpointError: an encoder is not there.
    """
    names = dict.fromkeys(name for spec in specs for name in spec.sources)
    return {name: source_id(name) for name in names}

"""`speechft embed`: the hidden states of audio files, as safetensors or NumPy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechft.core.devices import bfloat16_where_wanted, usable_device
from speechft.core.errors import DataError, SettingsError
from speechft.core.lengths import SAMPLE_RATE, masked_mean
from speechft.core.progress import progress_bar
from speechft.data.audio import read_audio
from speechft.data.batching import DurationBatches
from speechft.encoders import EncoderOutput, SpeechEncoder, load_encoder
from speechft.encoders.base import refuse_not_finite
from speechft.prediction import embedding_files
from speechft.prediction.audio_files import durations_of, find_audio, is_of_embed, usable_files
from speechft.prediction.settings import EmbedSettings

DTYPES = {"float32": torch.float32, "float16": torch.float16}


def embed(settings: EmbedSettings) -> Path:
    """Write the hidden states of audio files.

    Each file's hidden states stand under its path: (layers, T, D), or (layers, D) where pooled.
    A `.npy` file holds one array: (files, layers, D) of pooled states in the order of the files,
    or the (layers, T, D) of a single file. One batch is in memory at a time.

    Returns:
        The file that was written.

    Raises:
        DataError: an audio file cannot be used, or none was found.
        SettingsError: the kind of file is not known or there is another in its place, a layer or
            the device does not exist, or the numbers do not fit the type.
    """
    files = find_audio(settings.audio)
    _check_out(settings, [] if settings.skip_bad else files)
    device = usable_device(settings.device)
    if not settings.skip_bad:
        durations = durations_of(files, settings.max_seconds)
    encoder = load_encoder(
        settings.encoder, base=settings.base, device=device, context=settings.context
    )
    layers = _layers(settings.layers, encoder)
    skipped: dict[str, str] = {}
    if settings.skip_bad:
        files, durations, skipped = usable_files(files, settings.max_seconds, encoder)
        _check_out(settings, files)
    about: dict[str, Any] = {
        "encoder": settings.encoder,
        "fingerprint": encoder.fingerprint(),
        "layers": layers,
        "pooled": settings.pooled,
        "hop": encoder.hop,
        **({} if encoder.context is None else {"context": encoder.context}),
        "sample_rate": SAMPLE_RATE,
    }
    if settings.skip_bad:
        about["skipped"] = skipped
    names = [str(file) for file in files]
    costs, most = encoder.costs(durations), settings.batch_seconds
    batches = DurationBatches(costs, most, seed=0, shuffle=False).epoch(0)
    with (
        embedding_files.open_states(settings.out, names, about, pooled=settings.pooled) as target,
        progress_bar() as bar,
    ):
        task = bar.add_task("embed", total=len(files), note="")
        for batch in batches:
            paths = [files[i] for i in batch]
            for path, states in zip(paths, _encode(settings, encoder, paths, layers), strict=True):
                target.add(str(path), _converted(states, settings.dtype, path))
            bar.advance(task, len(batch))
    return settings.out


def _encode(
    settings: EmbedSettings, encoder: SpeechEncoder, paths: Sequence[Path], layers: list[int]
) -> Iterator[Tensor]:
    """Give one tensor per file: (layers, T, D) or (layers, D)."""
    waveforms = [read_audio(path) for path in paths]
    half = settings.precision == "bfloat16"
    try:
        with torch.inference_mode(), bfloat16_where_wanted(encoder.device, half):
            output = encoder(waveforms)
    except DataError as error:
        if len(paths) == 1:
            raise DataError(
                error.what, where=paths[0], expected=error.expected, found=error.found
            ) from None
        for path in paths:
            yield from _encode(settings, encoder, [path], layers)
        return
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if "memory" not in str(error):
            raise
        raise SettingsError(
            "there is not enough memory for a batch",
            where=", ".join(map(str, paths[:3])),
            found=f"{len(paths)} files of up to {max(map(len, waveforms)) / SAMPLE_RATE:.1f} s",
            hint="lower batch_seconds (--batch-seconds), or cut long files",
        ) from None
    yield from _chosen(output, layers, settings.pooled)


def _chosen(output: EncoderOutput, layers: list[int], pooled: bool) -> Iterator[Tensor]:
    states = [output.hidden_states[layer] for layer in layers]
    if pooled:
        means = torch.stack([masked_mean(state.float(), output.lengths) for state in states], 1)
        yield from means
        return
    for i, length in enumerate(output.lengths.tolist()):
        yield torch.stack([state[i, :length] for state in states])


def _converted(states: Tensor, dtype: str, path: Path) -> Any:
    """Give states as NumPy numbers of the type that was asked for."""
    result = states.to("cpu", DTYPES[dtype])
    if not bool(torch.isfinite(result).all()):
        if bool(torch.isfinite(states).all()):
            raise SettingsError(
                "a hidden state is too large for float16",
                where=path,
                found=f"{float(states.abs().max()):g}",
                expected="at most 65504",
                hint="write float32",
            )
        refuse_not_finite([states], path)
    return result.numpy()


def _layers(wanted: tuple[int, ...] | None, encoder: SpeechEncoder) -> list[int]:
    count = encoder.num_layers + 1
    if wanted is None:
        return list(range(count))
    bad = [layer for layer in wanted if not -count <= layer < count]
    if bad:
        raise SettingsError(
            "the encoder has no such layer",
            where="layers",
            found=", ".join(map(str, bad)),
            expected=f"0 to {count - 1}, or {-count} to -1",
        )
    return [layer % count for layer in wanted]


def _check_out(settings: EmbedSettings, files: Sequence[Path]) -> None:
    out = settings.out
    if out.suffix not in embedding_files.SUFFIXES:
        raise SettingsError(
            "unknown kind of output file", where=out, expected=" or ".join(embedding_files.SUFFIXES)
        )
    if out.is_dir():
        raise SettingsError("the output is a folder", where=out, expected="the name of a file")
    if out.exists() and not settings.overwrite and not is_of_embed(out):
        tells = out.suffix == ".safetensors"
        raise SettingsError(
            "there is another file in the output's place",
            where=out,
            expected="no file, or hidden states in a .safetensors file",
            found="no hidden states" if tells else f"a {out.suffix} file, which does not say whose",
            hint="choose another --out, or replace it with --overwrite",
        )
    if out.suffix == ".npy" and len(files) > 1 and not settings.pooled:
        raise SettingsError(
            "frames of several files do not fit into one array",
            where=out,
            hint="write .safetensors or .npz, or pool them",
        )
    for name in map(str, files):
        if name == "__metadata__" or name.encode(errors="ignore").decode() != name:
            raise DataError(
                "the file's name cannot stand in the output",
                where=name.encode("utf-8", "backslashreplace").decode(),
                expected="UTF-8, and not __metadata__",
                hint="rename it",
            )

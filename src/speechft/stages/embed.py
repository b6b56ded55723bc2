"""`speechft embed`: the hidden states of audio files, as safetensors or NumPy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
import torch
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor

from speechft.core.errors import DataError, SettingsError
from speechft.core.files import atomic_path
from speechft.core.lengths import masked_mean
from speechft.core.logging import progress_bar
from speechft.core.settings import Settings
from speechft.data.audio import read_audio
from speechft.data.batching import DurationBatches
from speechft.encoders import EncoderOutput, SpeechEncoder, load_encoder

SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".sph")
DTYPES = {"float32": torch.float32, "float16": torch.float16}


class EmbedSettings(Settings):
    """What to encode, and how.

    Attributes:
        encoder: a folder, a checkpoint file, a Hub id or a packaged name.
        audio: files, or folders that are searched for audio files.
        out: a file ending in .safetensors, .npz or .npy.
        layers: numbers of hidden states to keep, 0 the transformer's input, -1 the encoder's
            output; all of them if not given.
        pooled: keep the mean over time instead of all frames.
        dtype: type of the numbers written.
        batch_seconds: bound on a batch, padding included.
        precision: bfloat16 computes faster and less exactly.
        device: cpu or cuda.
    """

    encoder: str
    audio: tuple[str, ...] = Field(min_length=1)
    out: Path
    layers: tuple[int, ...] | None = None
    pooled: bool = False
    dtype: Literal["float32", "float16"] = "float32"
    batch_seconds: float = Field(default=60.0, gt=0)
    precision: Literal["float32", "bfloat16"] = "float32"
    device: str = "cpu"


def embed(settings: EmbedSettings) -> Path:
    """Write the hidden states of audio files.

    Each file's hidden states stand under its path: (layers, T, D), or (layers, D) where pooled.
    A `.npy` file holds one array: (files, layers, D) of pooled states in the order of the files,
    or the (layers, T, D) of a single file.

    Returns:
        The file that was written.

    Raises:
        DataError: an audio file cannot be used, or none was found.
        SettingsError: the kind of file is not known, or a layer does not exist.
    """
    files = find_audio(settings.audio)
    _check_out(settings, len(files))
    encoder = load_encoder(settings.encoder, device=settings.device)
    layers = _layers(settings.layers, encoder)
    states = dict(_encode(settings, encoder, files, layers))
    ordered = {str(file): states[str(file)] for file in files}
    _write(settings.out, ordered, {"layers": layers, "hop": encoder.hop, "sample_rate": 16000})
    return settings.out


def find_audio(names: tuple[str, ...]) -> list[Path]:
    """Give the audio files that are named or lie in a named folder, each once, in order.

    Raises:
        DataError: a name is neither, or a folder holds no audio file.
    """
    found: dict[Path, None] = {}
    for name in names:
        path = Path(name).expanduser()
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
            if not inside:
                raise DataError(
                    "the folder holds no audio file", where=path, expected=" ".join(SUFFIXES)
                )
            found |= dict.fromkeys(inside)
        elif path.is_file():
            found[path] = None
        else:
            raise DataError("no such audio file or folder", where=path, hint="check the path")
    return list(found)


def _encode(
    settings: EmbedSettings, encoder: SpeechEncoder, files: list[Path], layers: list[int]
) -> Iterator[tuple[str, Tensor]]:
    durations = [_seconds(file) for file in files]
    batches = DurationBatches(durations, settings.batch_seconds, seed=0, shuffle=False).epoch(0)
    half = settings.precision == "bfloat16"
    device = torch.device(settings.device).type
    with progress_bar() as bar, torch.inference_mode():
        task = bar.add_task("embed", total=len(files), note="")
        for batch in batches:
            waveforms = [read_audio(files[i]) for i in batch]
            with torch.autocast(device, torch.bfloat16, enabled=half):
                output = encoder(waveforms)
            for i, states in zip(batch, _chosen(output, layers, settings.pooled), strict=True):
                yield str(files[i]), states.to("cpu", DTYPES[settings.dtype])
            bar.advance(task, len(batch))


def _chosen(output: EncoderOutput, layers: list[int], pooled: bool) -> Iterator[Tensor]:
    """Give one tensor per utterance: (layers, T, D) or (layers, D)."""
    states = [output.hidden_states[layer] for layer in layers]
    if pooled:
        means = torch.stack([masked_mean(state.float(), output.lengths) for state in states], 1)
        yield from means
        return
    for i, length in enumerate(output.lengths.tolist()):
        yield torch.stack([state[i, :length] for state in states])


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


def _check_out(settings: EmbedSettings, files: int) -> None:
    suffix = settings.out.suffix
    if suffix not in (".safetensors", ".npz", ".npy"):
        raise SettingsError(
            "unknown kind of output file",
            where=settings.out,
            expected=".safetensors, .npz or .npy",
        )
    if suffix == ".npy" and files > 1 and not settings.pooled:
        raise SettingsError(
            "frames of several files do not fit into one array",
            where=settings.out,
            hint="write .safetensors or .npz, or pool them",
        )


def _write(out: Path, states: dict[str, Tensor], about: dict[str, object]) -> None:
    with atomic_path(out) as temporary:
        if out.suffix == ".safetensors":
            contiguous = {name: tensor.contiguous() for name, tensor in states.items()}
            save_file(contiguous, temporary, metadata={"about": json.dumps(about)})
            return
        arrays = {name: tensor.numpy() for name, tensor in states.items()}
        with temporary.open("wb") as file:
            if out.suffix == ".npz":
                np.savez(file, **arrays)  # type: ignore[arg-type]
            else:
                parts = list(arrays.values())
                np.save(file, np.stack(parts) if len(parts) > 1 else parts[0])


def _seconds(file: Path) -> float:
    try:
        return float(soundfile.info(str(file)).duration)
    except (soundfile.SoundFileError, OSError) as error:
        raise DataError("the audio cannot be decoded", where=file, found=error) from None

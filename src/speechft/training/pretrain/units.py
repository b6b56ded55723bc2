"""Discrete units for masked prediction: k-means over MFCCs or over an encoder's hidden states.

Source: HuBERT (Hsu et al. 2021), section II-A: the first iteration clusters MFCCs, the next ones
cluster a hidden layer of the encoder of the iteration before.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from speechft.core.checksum_files import break_seal, is_sealed, seal
from speechft.core.errors import SettingsError
from speechft.core.files import atomic_path
from speechft.core.progress import progress_bar
from speechft.core.seeding import derive_seed, numpy_generator
from speechft.encoders import SpeechEncoder
from speechft.encoders.base import refuse_not_finite
from speechft.training.distributed import all_processes

Featurise = Callable[[Sequence[Tensor]], list[Tensor]]


def mfcc_features() -> Featurise:
    """Give a function from waveforms to MFCCs with first and second differences.

    13 coefficients, 25 ms windows, every second 10 ms frame, so that frame t covers the samples
    [320 t, 320 t + 400) that the usual CNN front end sees too: (T, 39) for each waveform. Each
    utterance's mean is subtracted, and it is divided by its standard deviation, which takes
    channel and part of the speaker out of the units.
    """
    from lhotse.features.kaldi.layers import Wav2MFCC

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lhotse warns of snip_edges, which we need
        layer = Wav2MFCC(num_ceps=13, snip_edges=True, dither=0.0)

    def featurise(waveforms: Sequence[Tensor]) -> list[Tensor]:
        result = []
        for waveform in waveforms:
            static = _normal(layer(waveform[None])[0])
            first = _differences(static)
            result.append(torch.cat([static, first, _differences(first)], dim=1)[::2])
        return result

    return featurise


def hidden_features(encoder: SpeechEncoder, layer: int) -> Featurise:
    """Give a function from waveforms to one layer's hidden states, on the CPU: (T, D) for each.

    Raises:
        SettingsError: the encoder has no such layer.
    """
    if not 0 <= layer <= encoder.num_layers:
        raise SettingsError(
            f"no layer {layer} to take units from",
            expected=f"0 to {encoder.num_layers}",
            found=layer,
        )
    encoder.eval()

    @torch.inference_mode()
    def featurise(waveforms: Sequence[Tensor]) -> list[Tensor]:
        output = encoder(waveforms)
        chosen = output.hidden_states[layer].float().cpu()
        found = [chosen[i, :n] for i, n in enumerate(output.lengths.tolist())]
        refuse_not_finite(found, f"layer {layer}")
        return found

    return featurise


def smoothed(featurise: Featurise, frames: int) -> Featurise:
    """Give a function whose features are normalised per utterance and averaged over time.

    Normalising takes part of the speaker and the room out of the units, averaging part of the
    noise.

    Args:
        featurise: waveforms → features (T, F) each.
        frames: length of the average, odd; the first and last frame are repeated at the edges.
    """

    def result(waveforms: Sequence[Tensor]) -> list[Tensor]:
        return [_smooth(features, frames) for features in featurise(waveforms)]

    return result


def learn_units(
    load: Callable[[Sequence[int]], list[Tensor]],
    durations: Sequence[float],
    featurise: Featurise,
    clusters: int,
    seed: int,
    fit_seconds: float = 3600.0,
    batch: int = 8,
) -> list[NDArray[np.int32]]:
    """Cluster frames by k-means and give every utterance's unit sequence.

    Args:
        load: gives the waveforms (1-D, 16 kHz) of some utterances.
        durations: seconds of each utterance.
        featurise: waveforms → features (T, F) each.
        clusters: number of units.
        seed: seeds the choice of utterances and the k-means.
        fit_seconds: how much randomly chosen speech the k-means is fitted on.
        batch: utterances per call, neighbours in duration so that little is padded.

    Returns:
        One int32 array (T,) per utterance.
    """
    from sklearn.cluster import MiniBatchKMeans

    order = numpy_generator(seed, "units").permutation(len(durations)).tolist()
    chosen: list[int] = []
    total = 0.0
    while order and total < fit_seconds:
        chosen.append(order.pop())
        total += durations[chosen[-1]]
    frames = np.concatenate(
        [f.numpy() for _, f in _walk(load, durations, chosen, featurise, batch)]
    )
    if len(frames) < clusters:
        raise SettingsError(
            f"{clusters} units cannot be found in {len(frames)} frames",
            expected=f"at most {len(frames)} clusters, and rather a hundredth of that",
            found=clusters,
            hint="ask for fewer clusters, or give more speech",
        )
    mean, spread = frames.mean(0), frames.std(0) + 1e-5
    model = MiniBatchKMeans(
        clusters,
        batch_size=10_000,
        max_iter=40,
        n_init=3,
        max_no_improvement=20,
        reassignment_ratio=0.0,
        random_state=derive_seed(seed, "k-means"),
    ).fit((frames - mean) / spread)
    centres = torch.from_numpy(model.cluster_centers_.astype(np.float32))
    units: list[NDArray[np.int32]] = [np.zeros(0, np.int32)] * len(durations)
    everything = list(range(len(durations)))
    for index, features in _walk(load, durations, everything, featurise, batch):
        scaled = (features - torch.from_numpy(mean)) / torch.from_numpy(spread)
        units[index] = nearest_units(scaled, centres)
    return units


def nearest_units(frames: Tensor, centres: Tensor) -> NDArray[np.int32]:
    """Give the cluster (T,) whose centre (K, F) has the least squared distance to frames (T, F)."""
    offset = centres.square().sum(1) / 2
    return np.asarray((frames @ centres.T - offset).argmax(1).to(torch.int32).numpy())


def save_units(path: Path, units: Sequence[NDArray[np.int32]]) -> None:
    """Write unit sequences, all of them in a row, and their lengths; seal the file."""
    lengths = np.array([len(u) for u in units], np.int64)
    break_seal(path)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, units=np.concatenate(units), lengths=lengths)
    seal(path)


def load_units(path: Path) -> list[NDArray[np.int32]]:
    """Read what `save_units` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        ends = np.cumsum(stored["lengths"])
        return [np.asarray(part) for part in np.split(stored["units"], ends[:-1])]


def kept_units(path: Path, learn: Callable[[], list[NDArray[np.int32]]]) -> list[NDArray[np.int32]]:
    """Read a run's units, which its main process learns and writes where they are not there yet.

    Raises:
        CheckpointError: the file has changed since it was written.
    """
    with all_processes().main_process_first():
        if not is_sealed(path, way_out(path)):
            save_units(path, learn())
    return load_units(path)


def way_out(path: Path) -> str:
    """Say what to do where a file of a run has changed since it was written."""
    return f"remove {path.parent} to train from the first update on"


def _walk(
    load: Callable[[Sequence[int]], list[Tensor]],
    durations: Sequence[float],
    chosen: Sequence[int],
    featurise: Featurise,
    batch: int,
) -> Iterable[tuple[int, Tensor]]:
    ordered = sorted(chosen, key=lambda i: durations[i])
    with progress_bar() as bar:
        line = bar.add_task("units", total=len(ordered), note="")
        for start in range(0, len(ordered), batch):
            indices = ordered[start : start + batch]
            yield from zip(indices, featurise(load(indices)), strict=True)
            bar.advance(line, len(indices))


def _smooth(features: Tensor, frames: int) -> Tensor:
    normal = _normal(features).T[None]
    padded = functional.pad(normal, (frames // 2, frames // 2), mode="replicate")
    return functional.avg_pool1d(padded, frames, stride=1)[0].T.contiguous()


def _normal(features: Tensor) -> Tensor:
    return (features - features.mean(0)) / features.std(0, correction=0).clamp(min=1e-5)


def _differences(features: Tensor) -> Tensor:
    """Give Kaldi-style regression differences over two frames on either side: (T, F) → (T, F)."""
    padded = torch.cat([features[:1]] * 2 + [features] + [features[-1:]] * 2)
    size = len(features)
    parts = [n * (padded[2 + n : 2 + n + size] - padded[2 - n : 2 - n + size]) for n in (1, 2)]
    return torch.stack(parts).sum(0) / 10

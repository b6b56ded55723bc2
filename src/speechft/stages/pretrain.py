"""`speechft pretrain`: masked prediction of k-means units, from scratch or continued.

Source: HuBERT (Hsu et al. 2021). Each iteration clusters MFCCs or a hidden layer of the encoder
that the iteration before left, and trains an encoder to predict the clusters of masked frames.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from speechft.core.errors import DataError
from speechft.core.logging import get_logger
from speechft.core.provenance import claim, is_done, write_provenance
from speechft.core.seeding import derive_seed, seed_everything
from speechft.core.settings import Settings, read_yaml
from speechft.data.batching import DurationBatches
from speechft.data.sources import load_data
from speechft.encoders import SpeechEncoder, build_encoder, load_encoder
from speechft.training.loop import LoopSettings, Precision, train
from speechft.training.masked_prediction import MaskedPrediction, UnitPredictor
from speechft.training.schedule import make_schedule
from speechft.training.units import (
    hidden_features,
    learn_units,
    load_units,
    mfcc_features,
    save_units,
)
from speechft.training.waveforms import Waveforms

log = get_logger(__name__)


class Iteration(Settings):
    """One round of clustering and masked prediction.

    Args:
        steps: optimiser updates.
        clusters: number of units.
        layer: hidden layer that is clustered; none means MFCCs.
        learning_rate: peak rate.
    """

    steps: int = Field(gt=0)
    clusters: int = Field(default=100, gt=1)
    layer: int | None = None
    learning_rate: float = Field(default=5e-4, gt=0)


class PretrainSettings(Settings):
    """Settings of `speechft pretrain`.

    Args:
        init: ENCODER to go on from, or a configuration to start anew: its keys and values, or a
            YAML or JSON file of them.
        data: DATA.
        split: which split; none means `pretrain` where there is one, else `train`.
        iterations: the rounds, in order.
        seconds: speech in one batch, in seconds.
        unmasked_weight: weight of the loss on unmasked frames.
        mask_share, mask_span: share of frames that start a masked span, frames in a span.
        fit_seconds: speech that the k-means is fitted on.
        dev_seconds: speech held out for the dev loss, where there is no split for it.
        evaluate_every, save_every: updates between dev losses and between resumable states.
        seed: the run's seed.
        precision: `auto`, `no` (float32) or `bf16`.
        out: the run's folder.
    """

    init: str | dict[str, Any]
    data: str
    out: Path
    iterations: tuple[Iteration, ...] = Field(min_length=1)
    split: str | None = None
    seconds: float = Field(default=14.0, gt=0)
    unmasked_weight: float = Field(default=0.5, ge=0)
    mask_share: float = Field(default=0.8, gt=0, lt=1)
    mask_span: int = Field(default=10, gt=0)
    fit_seconds: float = Field(default=3600.0, gt=0)
    dev_seconds: float = Field(default=120.0, ge=0)
    evaluate_every: int = Field(default=1000, ge=0)
    save_every: int = Field(default=1000, gt=0)
    seed: int = 0
    precision: Precision = "auto"


def pretrain(settings: PretrainSettings) -> Path:
    """Pre-train an encoder; resumes a run that was stopped.

    Returns:
        The run's folder: `encoder/`, `iteration-1/` … with units, metrics and states.

    Raises:
        DataError: the data has no such split, or no utterance in it.
        SettingsError: the configuration or a layer does not exist.
    """
    plain = settings.model_dump(mode="json", exclude={"out"})
    if is_done(settings.out, stage="pretrain", settings=plain):
        log.info("pretrain: already done in %s", settings.out)
        return settings.out
    seed_everything(settings.seed)
    cuts, dev = _splits(settings)
    source = Waveforms([*cuts, *dev])
    encoder = _initial_encoder(settings)
    start = encoder.fingerprint()
    claim(settings.out, stage="pretrain", settings={**plain, "init": start})
    for number, iteration in enumerate(settings.iterations, start=1):
        folder = settings.out / f"iteration-{number}"
        made_from = {"settings": plain, "iteration": number}
        if is_done(folder, stage="pretrain-iteration", settings=made_from):
            encoder = load_encoder(folder / "encoder")
            continue
        _run_iteration(settings, iteration, encoder, source, len(dev), folder)
        encoder.save(folder / "encoder")
        write_provenance(folder, stage="pretrain-iteration", settings=made_from)
    encoder.save(settings.out / "encoder")
    write_provenance(
        settings.out,
        stage="pretrain",
        settings=plain,
        parents={"init": start},
        encoder=encoder.fingerprint(),
        utterances=len(cuts),
        hours=round(sum(source.durations[: len(cuts)]) / 3600, 3),
    )
    return settings.out


def _run_iteration(
    settings: PretrainSettings,
    iteration: Iteration,
    encoder: SpeechEncoder,
    source: Waveforms,
    dev_count: int,
    folder: Path,
) -> None:
    units_file = folder / "units.npz"
    if not units_file.exists():
        layer = iteration.layer
        log.info("clustering %s", "MFCCs" if layer is None else f"hidden layer {layer}")
        units = learn_units(
            source.load,
            source.durations,
            mfcc_features() if layer is None else hidden_features(encoder, layer),
            iteration.clusters,
            derive_seed(settings.seed, "units", folder.name),
            settings.fit_seconds,
        )
        save_units(units_file, units)
    units = load_units(units_file)
    torch.manual_seed(derive_seed(settings.seed, "predictor", folder.name))
    predictor = UnitPredictor(encoder.hidden_size, iteration.clusters)
    count = len(source.durations) - dev_count
    held_out = DurationBatches(source.durations[count:], settings.seconds, 0, shuffle=False)

    def dev() -> list[tuple[list[int], list[torch.Tensor]]]:
        batches = [[count + i for i in batch] for batch in held_out.epoch(0)]
        return [(batch, source.load(batch)) for batch in batches]

    objective = MaskedPrediction(
        encoder,
        predictor,
        units,
        unmasked_weight=settings.unmasked_weight,
        share=settings.mask_share,
        span=settings.mask_span,
        dev=dev if dev_count else list,
    )
    loop = LoopSettings(
        steps=iteration.steps,
        learning_rate=iteration.learning_rate,
        clip=10.0,
        evaluate_every=settings.evaluate_every,
        save_every=settings.save_every,
        seed=derive_seed(settings.seed, folder.name),
        precision=settings.precision,
        betas=(0.9, 0.98),
        weight_decay=0.01,
    )
    batches = DurationBatches(
        source.durations[:count], settings.seconds, derive_seed(settings.seed, "order", folder.name)
    )
    schedule = make_schedule("warmup-decay", iteration.steps)
    train(objective, batches, source, schedule, loop, folder)


def _splits(settings: PretrainSettings) -> tuple[list[Any], list[Any]]:
    """Give the cuts to train on and the cuts held out."""
    data = load_data(settings.data)
    split = settings.split or ("pretrain" if "pretrain" in data else "train")
    if split not in data:
        raise DataError(
            f"no split {split!r}", where=settings.data, expected=", ".join(sorted(data))
        )
    cuts = list(data[split])
    if not cuts:
        raise DataError(f"the split {split!r} is empty", where=settings.data)
    dev = list(data.get(f"{split}_dev", data.get("dev", [])))
    if not dev and len(cuts) > 1:
        cuts, dev = cuts[len(cuts) // 20 or 1 :], cuts[: len(cuts) // 20 or 1]
    return cuts, _first_seconds(dev, settings.dev_seconds)


def _first_seconds(cuts: list[Any], seconds: float) -> list[Any]:
    chosen: list[Any] = []
    for cut in cuts:
        if sum(c.duration for c in chosen) >= seconds:
            break
        chosen.append(cut)
    return chosen


def _initial_encoder(settings: PretrainSettings) -> SpeechEncoder:
    config = settings.init
    if isinstance(config, str):
        path = Path(config)
        if path.suffix not in {".yaml", ".yml", ".json"}:
            return load_encoder(config)
        config = read_yaml(path)  # JSON is YAML too
    return build_encoder(config, seed=derive_seed(settings.seed, "init"))

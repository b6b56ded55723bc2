"""`speechft pretrain`: masked prediction of k-means units, from scratch or continued.

Source: HuBERT (Hsu et al. 2021). Each iteration clusters MFCCs or a hidden layer of the encoder
that the iteration before left, and trains an encoder to predict the clusters of masked frames.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from speechft.core.errors import DataError
from speechft.core.logging import get_logger
from speechft.core.provenance import claim, is_done, write_provenance
from speechft.core.seeding import derive_seed, seed_everything
from speechft.core.settings import read_yaml
from speechft.data.sources import load_data
from speechft.encoders import SpeechEncoder, build_encoder, load_encoder
from speechft.stages.pretraining.rounds import Speech, run_iteration
from speechft.stages.pretraining.settings import PretrainSettings
from speechft.training.waveforms import Waveforms

__all__ = ["PretrainSettings", "pretrain"]

log = get_logger(__name__)


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
    speech = Speech(source, len(cuts), len(cuts) + len(dev))
    encoder = _initial_encoder(settings)
    start = encoder.fingerprint()
    whole_run = {k: v for k, v in plain.items() if k != "iterations"}
    claim(settings.out, stage="pretrain", settings={**whole_run, "init": start})
    for number, iteration in enumerate(settings.iterations, start=1):
        folder = settings.out / f"iteration-{number}"
        # Later rounds do not change earlier ones: a run is lengthened by adding a round.
        rounds = {"iterations": plain["iterations"][:number]}
        made_from = {"settings": {**plain, **rounds}, "iteration": number}
        if is_done(folder, stage="pretrain-iteration", settings=made_from):
            encoder = load_encoder(folder / "encoder")
            continue
        claim(folder, stage="pretrain-iteration", settings=made_from)
        run_iteration(settings, iteration, encoder, speech, folder)
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

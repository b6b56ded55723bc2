"""`speechft pretrain`: pre-training on audio alone, from scratch or continued.

Masked prediction (HuBERT, Hsu et al. 2021) goes in iterations: each clusters MFCCs or a hidden
layer of the encoder that the iteration before left, and trains an encoder to predict the clusters
of masked frames. The objectives of wav2vec 2.0 and DeCoAR 2.0 need no clusters.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from speechft.core.errors import DataError
from speechft.core.logging import get_logger
from speechft.core.provenance import claim, is_done, write_provenance
from speechft.core.seeding import derive_seed, seed_everything
from speechft.core.yaml12 import read_yaml
from speechft.data.sources import load_data
from speechft.encoders import SpeechEncoder, build_encoder, load_encoder
from speechft.hidden.front_end import Waveforms
from speechft.training.finetune.data import content
from speechft.training.pretrain.continuing import resolve, unit_layer
from speechft.training.pretrain.defaults import continues
from speechft.training.pretrain.direct import run_direct
from speechft.training.pretrain.front_end import take_front_end
from speechft.training.pretrain.rounds import run_iteration
from speechft.training.pretrain.settings import PretrainSettings
from speechft.training.pretrain.speech import Speech

__all__ = ["PretrainSettings", "pretrain"]

log = get_logger(__name__)
_NEUTRAL = {"out", "cache_gb"}


def pretrain(settings: PretrainSettings) -> Path:
    """Pre-train an encoder; resumes a run that was stopped.

    Returns:
        The run's folder: `encoder/`; metrics and states, which for masked prediction lie beside
        the units in `iteration-1/` ….

    Raises:
        DataError: the data has no such split, or no utterance in it.
        SettingsError: the configuration or a layer does not exist, or the objective cannot train
            an encoder of this family.
    """
    plain = settings.model_dump(mode="json", exclude=_NEUTRAL)
    seed_everything(settings.seed)
    cuts, dev = _splits(settings)
    encoder = _initial_encoder(settings)
    start = encoder.fingerprint()
    begun = {k: v for k, v in plain.items() if k != "iterations"}
    begun |= {"init": start, "utterances": content([*cuts, *dev])}
    claim(settings.out, stage="pretrain", settings=begun)
    if is_done(settings.out, stage="pretrain", settings=plain):
        log.info("pretrain: already done in %s", settings.out)
        return settings.out
    settings = resolve(settings, encoder)
    source = Waveforms([*cuts, *dev])
    speech = Speech(source, len(cuts), len(cuts) + len(dev))
    if settings.iterations:
        encoder = _iterate(settings, encoder, speech)
    else:
        run_direct(settings, encoder, speech, settings.out)
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


def _iterate(settings: PretrainSettings, encoder: SpeechEncoder, speech: Speech) -> SpeechEncoder:
    """Do the iterations that are left; give the encoder of the last one."""
    plain = settings.model_dump(mode="json", exclude=_NEUTRAL)
    for iteration in settings.iterations:
        if not iteration.teacher:
            unit_layer(settings, iteration, encoder)  # a layer that is not there is said at once
    for number, iteration in enumerate(settings.iterations, start=1):
        folder = settings.out / f"iteration-{number}"
        # Later rounds do not change earlier ones: a run is lengthened by adding a round.
        rounds = {"iterations": plain["iterations"][:number]}
        made_from: dict[str, Any] = {"settings": {**plain, **rounds}, "iteration": number}
        teacher = load_encoder(iteration.teacher) if iteration.teacher else None
        if teacher is not None:
            made_from["teacher"] = teacher.fingerprint()
        if is_done(folder, stage="pretrain-iteration", settings=made_from):
            encoder = load_encoder(folder / "encoder")
            continue
        claim(folder, stage="pretrain-iteration", settings=made_from)
        run_iteration(settings, iteration, encoder, speech, folder, teacher)
        encoder.save(folder / "encoder")
        write_provenance(folder, stage="pretrain-iteration", settings=made_from)
    return encoder


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
        if continues(config):
            return load_encoder(config)
        config = read_yaml(Path(config))  # JSON is YAML too
    encoder = build_encoder(config, seed=derive_seed(settings.seed, "init"))
    if settings.front_end is not None:
        take_front_end(encoder, load_encoder(settings.front_end))
    return encoder

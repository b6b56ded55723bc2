"""`speechft pretrain`: pre-training on audio alone, from scratch or continued.

Masked prediction (HuBERT, Hsu et al. 2021) goes in iterations: each clusters MFCCs or a hidden
layer of the encoder that the iteration before left, and trains an encoder to predict the clusters
of masked frames. The objectives of wav2vec 2.0 and DeCoAR 2.0 need no clusters.
"""

from __future__ import annotations

from functools import partial, reduce
from operator import or_
from pathlib import Path
from typing import Any

from speechft.core.artifact import Artifact, read_record
from speechft.core.heard import Heard, write_heard
from speechft.core.logging import get_logger
from speechft.core.seeding import derive_seed, seed_everything
from speechft.core.yaml12 import read_yaml
from speechft.data.identity import heard_in
from speechft.data.load import load_data, refuse_long
from speechft.data.split_names import split_of
from speechft.data.utterances import first_seconds
from speechft.encoders import SpeechEncoder, build_encoder, load_encoder
from speechft.encoders.identity import heard_of
from speechft.hidden.decode_ahead import Waveforms
from speechft.training.distributed import on_main
from speechft.training.pretrain.borrowed_front_end import take_front_end
from speechft.training.pretrain.continued_encoder import resolve, unit_layer
from speechft.training.pretrain.defaults import continues
from speechft.training.pretrain.iteration import run_iteration
from speechft.training.pretrain.settings import PretrainSettings
from speechft.training.pretrain.speech import Speech
from speechft.training.pretrain.unitless_objectives import run_direct
from speechft.training.run_folder import (
    about,
    batches_per_update,
    begin,
    carry_out,
    refuse_other,
    run_artifact,
)

__all__ = ["PretrainSettings", "pretrain"]

log = get_logger(__name__)

# What an iteration's folder holds of its result, beside its guide's.
_OF_ITERATION = ("encoder", "metrics.jsonl", "units.npz")


def pretrain(settings: PretrainSettings) -> Path:
    """Pre-train an encoder; resumes a run that was stopped.

    Returns:
        The run's folder: `encoder/`; metrics and states, which for masked prediction lie beside
        the units in `iteration-1/` ….

    Raises:
        DataError: the data has no such split, or no utterance in it.
        SettingsError: the configuration or a layer does not exist, or the objective cannot train
            an encoder of this family; another run is at work in the folder, or other settings
            began what is there.
        CheckpointError: an encoder cannot be loaded, or what the run would go on from is damaged.
        DivergedError: training came to nothing; `encoder-last-good/` holds the last encoder whose
            weights are finite, where there is one.
        Stopped: Ctrl-C or SIGTERM; the state of this moment has been saved.
    """
    artifact = run_artifact(settings.out, "pretrain", settings)
    return carry_out(artifact, settings.threads, lambda: _pretrain(settings, artifact))


def _pretrain(settings: PretrainSettings, artifact: Artifact) -> None:
    seed_everything(settings.seed)
    cuts, dev = _splits(settings)
    encoder = _initial_encoder(settings)
    start = encoder.fingerprint()
    together = {"accumulate": batches_per_update(artifact.depends)}
    resolved = resolve(settings, encoder).model_copy(update=together)
    rounds = _rounds(resolved, artifact)
    # A run is lengthened by adding an iteration; each looks after its own settings.
    longer = all(change.startswith("iterations.") for change in artifact.changes())

    def begin_all() -> None:
        for one in rounds if longer else ():
            if not one.done:
                refuse_other(one)  # as long as the run's record is there
        begin(artifact, replace=longer)

    on_main(begin_all)
    source = Waveforms([*cuts, *dev])
    speech = Speech(source, len(cuts), len(cuts) + len(dev))
    speech.refuse_unlearnable(encoder, resolved.mask_span, settings.data)
    if resolved.iterations:
        encoder, skipped = _iterate(resolved, encoder, speech, rounds)
        parts = [f"iteration-{n}" for n in range(1, len(resolved.iterations) + 1)]
        products = ["encoder", *(f"{part}/{name}" for part in parts for name in _OF_ITERATION)]
    else:
        skipped = run_direct(resolved, encoder, speech, settings.out).skipped
        products = ["encoder", "metrics.jsonl"]

    def beside(folder: Path) -> None:
        write_heard(folder, _heard(resolved, cuts))

    on_main(lambda: str(encoder.save(settings.out / "encoder", beside)))
    on_main(
        lambda: artifact.end(
            products,
            **about(settings, {"init": start}),
            encoder=encoder.fingerprint(),
            utterances=len(cuts),
            hours=sum(source.durations[: len(cuts)]) / 3600,
            skipped_updates=skipped,
        )
    )


def _heard(settings: PretrainSettings, cuts: list[Any]) -> Heard:
    """Give what was heard with labels: by whatever a run begins with, by teachers and guides."""
    parents = [settings.front_end, *(one.teacher for one in settings.iterations)]
    if isinstance(settings.init, str) and continues(settings.init):
        parents.append(settings.init)
    found = reduce(or_, (heard_of(name) for name in parents if name), Heard())
    guided = any(one.guide for one in settings.iterations)
    return found | heard_in(cuts, settings.data) if guided else found


def _rounds(settings: PretrainSettings, whole: Artifact) -> list[Artifact]:
    """Give the folders of the iterations; later ones do not change earlier ones."""
    known = {settings.data: whole.depends["data"]}
    said = {"accumulate": whole.depends.get("accumulate", 1)}
    found = []
    for number in range(1, len(settings.iterations) + 1):
        so_far = settings.model_copy(update={"iterations": settings.iterations[:number], **said})
        folder = settings.out / f"iteration-{number}"
        found.append(run_artifact(folder, "pretrain-iteration", so_far, known, whole))
    return found


def _iterate(
    settings: PretrainSettings, encoder: SpeechEncoder, speech: Speech, rounds: list[Artifact]
) -> tuple[SpeechEncoder, int]:
    """Do the iterations that are left; give the encoder of the last one, and skipped updates."""
    for iteration in settings.iterations:
        if not iteration.teacher:
            unit_layer(settings, iteration, encoder)  # a layer that is not there is said at once
    skipped = 0
    for iteration, artifact in zip(settings.iterations, rounds, strict=True):
        folder = artifact.folder
        if artifact.done:
            encoder = load_encoder(folder / "encoder")
            skipped += int((read_record(folder) or {}).get("skipped_updates", 0))
            continue
        on_main(partial(begin, artifact))
        teacher = load_encoder(iteration.teacher) if iteration.teacher else None
        progress = run_iteration(settings, iteration, encoder, speech, folder, teacher)
        on_main(partial(_end_iteration, artifact, encoder, progress.skipped))
        skipped += progress.skipped
    return encoder, skipped


def _end_iteration(artifact: Artifact, encoder: SpeechEncoder, skipped: int) -> None:
    encoder.save(artifact.folder / "encoder")
    artifact.end(_OF_ITERATION, skipped_updates=skipped)


def _splits(settings: PretrainSettings) -> tuple[list[Any], list[Any]]:
    """Give the cuts to train on and the cuts held out."""
    data = load_data(settings.data)
    split = settings.split or ("pretrain" if "pretrain" in data else "train")
    split = split_of(data, split, settings.data)
    cuts = list(data[split])
    dev = list(data.get(f"{split}_dev", data.get("dev", [])))
    if not dev and len(cuts) > 1 and settings.dev_seconds:
        apart = len(cuts) // 20 or 1
        cuts, dev = cuts[apart:], cuts[:apart]
        said = "no split dev: the first %d utterances are held out, and not learned from"
        log.info(said, apart)
    dev = first_seconds(dev, settings.dev_seconds)
    refuse_long(settings.data, [*cuts, *dev], settings.max_seconds)
    return cuts, dev


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

"""How large a run is, before it begins: hours of audio, updates, probes, disk."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from speechft.core.errors import SpeechFTError
from speechft.core.places import home_expanded
from speechft.core.text import task_heading
from speechft.encoders.identity import locate, packaged_names
from speechft.pipeline.graph import Job
from speechft.pipeline.recipe.plan import Plan
from speechft.probing.protocol import plan_for
from speechft.probing.settings import EvaluateSettings
from speechft.training.finetune.settings import FinetuneSettings
from speechft.training.pretrain.settings import PretrainSettings

STATES = 5  # θ', the best θ', and a resumable state: weights and two moments


@dataclass(frozen=True)
class Size:
    """What one step amounts to.

    Attributes:
        text: for people ("600 updates on SID").
        bytes: on disk, roughly; none where the encoder is not here yet.
    """

    text: str
    bytes: int | None = None


def size_of(step: Job, parameters: int | None) -> Size:
    """Estimate a step.

    Args:
        step: of the plan.
        parameters: of the encoder; none if it is no folder on this machine.
    """
    settings = step.settings
    one = None if parameters is None else 4 * parameters
    if isinstance(settings, FinetuneSettings):
        text = f"{settings.steps:,} updates, {settings.method}, {task_heading(settings.task)}"
        return Size(text, None if one is None else STATES * one)
    if isinstance(settings, PretrainSettings):
        if settings.steps is not None:
            return Size(f"{settings.steps:,} updates, {settings.objective or 'by family'}", None)
        updates = sum(iteration.steps for iteration in settings.iterations)
        return Size(f"{updates:,} updates, {len(settings.iterations)} iterations", None)
    if isinstance(settings, EvaluateSettings):
        return Size(_probes(settings), 0)
    if step.verb == "merge":
        return Size("", one)
    return Size("", 0)


def _probes(settings: EvaluateSettings) -> str:
    cells = [(s, t) for s in settings.encoders for t in settings.tasks_of(s)]
    probes = len(cells) * len(settings.seeds)
    rates = sum(len(plan_for(task, settings).rates) for _, task in cells) * len(settings.seeds)
    return f"{len(settings.encoders)} encoders, {probes} probes, {rates} learning rates in all"


def hours_of_audio(data: str) -> dict[str, float] | None:
    """Give the hours of each split; none where finding out would mean to make or scan a corpus."""
    from speechft.data.sources import load_data

    if not lies_ready(data) or not is_there(data):
        return None
    try:
        splits = load_data(data)
    except SpeechFTError:
        return None
    return {name: sum(cut.duration for cut in cuts) / 3600 for name, cuts in splits.items()}


def is_there(data: str) -> bool:
    """Tell whether what is no synthetic speech is a file or folder."""
    from speechft.data.sources import is_synthetic

    return is_synthetic(data) or home_expanded(data).exists()


def lies_ready(data: str) -> bool:
    """Tell whether DATA can be read without being made or scanned, or be found wrong at once."""
    from speechft.data.sources import DEFAULT_PRESET, is_synthetic
    from speechft.data.synthetic.corpus import corpus_folder
    from speechft.data.synthetic.settings import PRESETS

    if not is_synthetic(data):
        return is_there(data) or ":" not in data
    preset = data.partition(":")[2].partition("@")[0] or DEFAULT_PRESET
    return preset not in PRESETS or corpus_folder(PRESETS[preset]).is_dir()


def parameters_of(encoder: str | None) -> int | None:
    """Count the parameters of an encoder on this machine, from the weights file's header alone."""
    if encoder is None:
        return None
    if encoder not in packaged_names() and not home_expanded(encoder).exists():
        return None
    path = locate(encoder)
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else []
    return sum(_count(file) for file in files) or None


def _count(file: Path) -> int:
    with file.open("rb") as opened:
        header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
    return sum(math.prod(t["shape"]) for name, t in header.items() if name != "__metadata__")


def total_bytes(plan: Plan, parameters: int | None) -> int | None:
    """Estimate the disk of a whole run."""
    sizes = [size_of(step, parameters).bytes for step in plan.steps]
    return None if parameters is None else sum(size or 0 for size in sizes)

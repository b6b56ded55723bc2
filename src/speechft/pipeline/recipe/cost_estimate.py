"""How large a run is, before it begins: hours of audio, updates, probes, disk, and hours on a GPU.

Hours on a GPU are by rates that were measured on one with HuBERT Base:
`results/benchmarks/superb-gpu.json` and `encode-gpu.json` hold what was measured. Trainings of that
size were not: an update counts as three passes over its batch, forwards and backwards, in float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open

from speechft.analysis.alpha.settings import AlphaSettings
from speechft.core.errors import SpeechFTError
from speechft.core.escaping import task_heading
from speechft.core.limits import regular_file
from speechft.core.paths import home_expanded
from speechft.data.corpora import corpora
from speechft.data.cuts import heard_seconds
from speechft.data.data_names import is_there, lies_ready, named_kind
from speechft.data.load import load_data
from speechft.encoders.identity import locate, packaged_names, read_json_object
from speechft.hidden.sizes import Shape, frame_bytes, mean_bytes
from speechft.pipeline.graph import Job
from speechft.probing.inputs import read_data
from speechft.probing.protocol import plan_for, protocol_of
from speechft.probing.settings import EvaluateSettings
from speechft.tasks import TASKS
from speechft.training.finetune.settings import FinetuneSettings
from speechft.training.pretrain.settings import PretrainSettings

HOP = 320  # of encoders whose configuration does not say it
BASE = Shape(12, 768, 16_000, HOP)
BASE_PARAMETERS = 94_700_000
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


def size_of(step: Job, parameters: int | None, *, done: bool = False) -> Size:
    """Estimate a step.

    Args:
        step: of the plan.
        parameters: of the encoder; none if it is no folder on this machine.
        done: it is, and its data need not be opened to tell how large its hidden states were.
    """
    settings = step.settings
    one = None if parameters is None else 4 * parameters
    if isinstance(settings, FinetuneSettings):
        length = f"{settings.epochs:g} epochs" if settings.epochs else "updates by data"
        length = f"{settings.steps:,} updates" if settings.steps else length
        text = f"{length}, {settings.method}, {task_heading(settings.task)}"
        return Size(text, None if one is None else STATES * one)
    if isinstance(settings, PretrainSettings):
        if settings.steps is not None:
            return Size(f"{settings.steps:,} updates, {settings.objective or 'by family'}", None)
        updates = sum(iteration.steps for iteration in settings.iterations)
        return Size(f"{updates:,} updates, {len(settings.iterations)} iterations", None)
    if isinstance(settings, EvaluateSettings):
        states = None if done else states_of(settings)
        said = "" if states is None else f"; hidden states of an encoder: {states / 1e9:.1f} GB"
        kept = states if states and settings.store is not None else 0
        return Size(_probes(settings) + said, round(min(kept, settings.store_gb * 2**30)))
    if isinstance(settings, AlphaSettings):
        ends = len(settings.points) if settings.by == "probe" else 2
        more = 0 if settings.by == "probe" else settings.passes
        return Size(
            f"by {settings.by}, {ends} passes" + f" and at most {more} more" * (more > 0), 0
        )
    if step.verb == "merge":
        return Size("", one)
    return Size("", 0)


def states_of(settings: EvaluateSettings) -> float | None:
    """Give the bytes of one encoder's hidden states that are kept; none where `room_of` is none."""
    room = room_of(settings)
    if room is None:
        return None
    return sum(means + (settings.keep == "frames") * frames for means, frames in room.values())


def room_of(settings: EvaluateSettings) -> dict[str, tuple[float, float]] | None:
    """Give DATA → bytes of the time means, and of the frames that tasks read, of one encoder.

    Of the first encoder whose configuration is here, else of one of Base size: known corpora by the
    hours that their makers say, other data as it is; none where that would have to be made first.
    """
    shape = next(filter(None, (_shape_of(e.sources[0]) for e in settings.encoders)), BASE)
    times = protocol_of(settings.protocol).means_per_utterance
    found: dict[str, tuple[float, float]] = {}
    for spec in dict.fromkeys(map(settings.data_of, settings.tasks)):
        tasks = [task for task in settings.tasks if settings.data_of(task) == spec]
        known = _heard_of(spec, tasks, settings)
        if known is None:
            return None
        utterances, seconds = known
        means = times * mean_bytes(shape, utterances)
        found[spec] = means, frame_bytes(shape, seconds, settings.frame_dtype)
    return found


def _heard_of(spec: str, tasks: list[str], settings: EvaluateSettings) -> tuple[int, float] | None:
    """Give the utterances of DATA, and the seconds of which tasks read frames."""
    if hours := said_hours(spec):
        framed = not all(TASKS[task].pooled for task in tasks)
        return round(3600 * hours / mean_seconds(spec)), 3600 * hours * framed
    if not lies_ready(spec) or not is_there(spec):
        return None
    try:
        data = read_data(spec, tasks, settings.protocol, hashed=False)
    except SpeechFTError:
        return None
    cuts: dict[str, float] = {}
    for split, frames in data.framed(tasks).items():
        for cut, key in zip(data.splits[split], data.audio[split], strict=True):
            cuts[key] = max(heard_seconds(cut) if frames else 0.0, cuts.get(key, 0.0))
    return len(cuts), sum(cuts.values())


def without_room(settings: EvaluateSettings) -> dict[str, float]:
    """Give DATA → bytes of hidden states that `store_gb` does not let be kept, as they should."""
    limit = settings.store_gb * 2**30
    needs = {spec: sum(both) for spec, both in (room_of(settings) or {}).items()}
    return {s: need for s, need in needs.items() if settings.keep == "frames" and need > limit}


def _encoded_anew(settings: EvaluateSettings) -> set[str]:
    """Give the tasks whose frames have no room, though all that fits lies in memory, at least."""
    framed = [task for task in settings.tasks if not TASKS[task].pooled]
    if not framed:
        return set()
    room = {
        spec: frames + (settings.keep == "frames") * means
        for spec, (means, frames) in (room_of(settings) or {}).items()
    }
    limit = settings.store_gb * 2**30
    return {task for task in framed if room.get(settings.data_of(task), 0.0) > limit}


def _shape_of(encoder: str) -> Shape | None:
    try:
        config = read_json_object(locate(encoder) / "config.json") if _is_here(encoder) else {}
    except SpeechFTError:
        return None
    strides = config.get("conv_stride") or [HOP]
    known: list[Any] = [config.get("num_hidden_layers"), config.get("hidden_size")]
    known += strides if isinstance(strides, list) else [None]
    if not all(isinstance(one, int) and one > 0 for one in known):
        return None  # whoever loads it says what is wrong with it
    layers, width, *strides = known
    return Shape(layers, width, 16_000, math.prod(strides))


def _probes(settings: EvaluateSettings) -> str:
    cells = [(s, t) for s in settings.encoders for t in settings.tasks_of(s)]
    probes = len(cells) * len(settings.seeds)
    rates = sum(len(plan_for(task, settings).rates) for _, task in cells) * len(settings.seeds)
    count = len(settings.encoders)
    of = f"{count} encoder{'s' * (count > 1)}"
    return f"{of}, {probes} probes, {rates} learning rates in all"


def hours_of_audio(data: str) -> dict[str, float] | None:
    """Give the hours of each split; none where finding out would mean to make or scan a corpus."""
    if not lies_ready(data) or not is_there(data):
        return None
    try:
        splits = load_data(data)
    except SpeechFTError:
        return None
    return {name: sum(cut.duration for cut in cuts) / 3600 for name, cuts in splits.items()}


def parameters_of(encoder: str | None) -> int | None:
    """Count the parameters of an encoder on this machine, from the weights file's header alone."""
    if encoder is None:
        return None
    if not _is_here(encoder):
        return None
    path = locate(encoder)
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else []
    return sum(_count(file) for file in files) or None


def _is_here(encoder: str) -> bool:
    return encoder in packaged_names() or home_expanded(encoder).exists()


def _count(file: Path) -> int:
    try:
        with safe_open(regular_file(file), "np") as opened:
            names = opened.keys()
            return sum(math.prod(opened.get_slice(name).get_shape()) for name in names)
    except (OSError, SafetensorError):
        return 0  # whoever loads it says what is wrong with it


GPU: Final = "an NVIDIA H100"
KEPT: Final = 333.0
"""Hours of audio that are read from a disk, decoded and encoded in an hour."""
PASSES: Final = 2060.0
"""Seconds of audio that are encoded in a second, without reading it."""
UPDATE: Final = 3.0
PROBE: Final[Mapping[str, tuple[float, int]]] = {
    "pr": (0.036263, 5),
    "asr": (0.78572, 3),
    "ks": (0.0053162, 5),
    "sid": (0.0047421, 5),
    "asv": (0.08901, 3),
    "sd": (0.18492, 3),
    "ic": (0.0052527, 5),
    "sf": (0.23517, 3),
    "er": (5 * 0.0046451, 5),  # of five folds
}
"""Task → seconds of one update of all probes of a grid, and how many these are."""
USUAL_SECONDS: Final = 8.0  # of an utterance of data that says nothing of itself
USUAL_HOURS: Final = 10.0


def cost_of(step: Job, parameters: int | None) -> float:
    """Estimate the hours that a step takes on one GPU.

    Args:
        step: of a plan.
        parameters: of the encoder, which trainings cost by; HuBERT Base's if not given.
    """
    settings, scale = step.settings, (parameters or BASE_PARAMETERS) / BASE_PARAMETERS
    if isinstance(settings, EvaluateSettings):
        encoded = _encoded_anew(settings)
        probes = sum(_evaluating(settings, task, task in encoded) for task in settings.tasks)
        specs = dict.fromkeys(map(settings.data_of, settings.tasks))
        return probes + len(settings.encoders) * sum(map(hours_of, specs)) / KEPT
    if isinstance(settings, FinetuneSettings):
        updates, seconds = _updates(settings)
        return updates * seconds * UPDATE * scale / PASSES / 3600
    if isinstance(settings, PretrainSettings):
        updates = settings.steps or sum(one.steps for one in settings.iterations)
        units = len(settings.iterations) * hours_of(settings.data) / KEPT
        return updates * settings.seconds * UPDATE * scale / PASSES / 3600 + units
    return 0.0


def _updates(settings: FinetuneSettings) -> tuple[int, float]:
    """Give the updates of a fine-tuning, and the seconds of audio of each."""
    specs = list(map(settings.data_of, settings.tasks))
    batch = settings.seconds or (settings.batch_size or 1) * mean_seconds(specs[0])
    each = batch * settings.accumulate
    heard = [3600 * min(hours_of(spec), settings.hours or math.inf) for spec in specs]
    sizes = [(round(s / mean_seconds(spec)), s) for s, spec in zip(heard, specs, strict=True)]
    passes = math.ceil(settings.epochs * sum(heard) / each) if settings.epochs else None
    return settings.resolved(BASE.hidden_size, sizes, passes).steps, each


def _evaluating(settings: EvaluateSettings, task: str, encoded: bool) -> float:
    """Give the hours of a task's probes, whose frames may have to be encoded for every batch."""
    plan = plan_for(task, settings)
    seconds, rates = PROBE.get(task, (0.0, 1))
    probes = plan.steps * seconds * len(plan.rates) / rates * (settings.head_size == "superb")
    if encoded:
        read = plan.steps * plan.accumulate * plan.batch_size
        probes += read * mean_seconds(settings.data_of(task)) / KEPT
    encoders = sum(task in settings.tasks_of(one) for one in settings.encoders)
    return probes * encoders * len(settings.seeds) / 3600


def hours_of(data: str) -> float:
    """Give the hours of speech that tasks read of DATA, by its corpus, or what is usual."""
    return said_hours(data) or USUAL_HOURS


def said_hours(data: str) -> float:
    """Give the hours of speech of DATA as the makers of its corpus say; 0 where nobody does."""
    name = named_kind(data)[0]
    return corpora()[name].hours if name in corpora() else 0.0


def mean_seconds(data: str) -> float:
    """Give the mean length of an utterance of DATA, by its corpus, or what is usual."""
    name = named_kind(data)[0]
    counts = corpora()[name].counts if name in corpora() else {}
    items = sum(counts.get(split, 0) for split in ("train", "dev", "test"))
    return said_hours(data) * 3600 / items if items else USUAL_SECONDS

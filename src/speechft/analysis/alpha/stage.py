"""The job before a merge: choose alpha on data, and say why and what its neighbours had."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, Final

from lhotse.cut import Cut
from torch import Tensor

from speechft.analysis.alpha.by_scores import Point, Scores, choose, trade_off
from speechft.analysis.alpha.by_similarity import (
    corrected,
    drift,
    largest_alpha,
    layer_alphas,
    numbers_of,
    overall,
    predicted,
    relative_error,
    text_of,
)
from speechft.analysis.alpha.probes import Bench, Interpolated, Parts, parts_of, probed
from speechft.analysis.alpha.settings import AlphaSettings, alpha_artifact
from speechft.analysis.alpha.states import Way, open_way
from speechft.core.devices import usable_device
from speechft.core.errors import SettingsError
from speechft.core.files import write_text
from speechft.core.heard import Heard
from speechft.core.logging import get_logger
from speechft.data.identity import heard_in
from speechft.data.load import load_split, refuse_long
from speechft.data.utterances import drawn
from speechft.hidden.states import SplitStates
from speechft.merging.alpha import KIND, Chosen, said_of, write_choice
from speechft.merging.output import head_files
from speechft.merging.settings import MergeSettings
from speechft.merging.sources import open_encoder
from speechft.metrics.measures import TITLES
from speechft.probing.hardly_learned import answers_little, by_task, hardly_learned_text
from speechft.probing.inputs import DataSet, read_data
from speechft.probing.job import store_of
from speechft.probing.protocol import plan_for
from speechft.probing.settings import data_name
from speechft.tasks import TASKS
from speechft.tasks.kept_head import HeadRecord, read_record

PAGE = "alpha.md"
_AIM, _CLOSE = 0.97, 0.94  # of the bound: where a further pass looks, and what is near enough
_logger = get_logger(__name__)
Found = dict[str, Any]
DEV: Final = "dev"  # of what was found: what labels chose it


def choose_alpha(settings: AlphaSettings) -> Path:
    """Choose the alpha of a merge on data.

    Returns:
        The folder: `alpha.json` (the alpha as text of `--alpha`, why, on what data, the table of
        its neighbours), `alpha.md`.

    Raises:
        CheckpointError: an encoder cannot be read.
        IncompatibleModelsError: the encoders do not fit together.
        DataError: the data cannot be read, or lacks a split or what a task needs.
        SettingsError: the folder holds something else, or no task besides those that TUNED was
            tuned on can be retained.
    """
    artifact = alpha_artifact(settings)
    if artifact.done:
        _logger.info("alpha: already chosen in %s", settings.out)
        return settings.out
    begun = time.perf_counter()
    artifact.begin(replace=True)
    with open_way(settings, str(usable_device(settings.device))) as way:
        by = {"similarity": _by_similarity, "probe": _by_scores, "interpolated": _by_scores}
        found = by[settings.by](settings, way)
        cost = {"passes": way.passes, "utterances": way.audio.utterances}
    dev = found.pop(DEV, Heard())
    chosen = Chosen(kind=KIND, by=settings.by, data=data_name(settings.data), **found, **cost)
    chosen.dev = dev
    files = write_choice(settings.out, chosen)
    write_text(settings.out / PAGE, "\n\n".join(said_of(chosen)) + "\n")
    seconds = round(time.perf_counter() - begun, 1)
    artifact.end((*files, PAGE), seconds=seconds)
    _logger.info("alpha: %s", chosen["why"])
    return settings.out


def _by_similarity(settings: AlphaSettings, way: Way) -> Found:
    """Choose the largest alpha whose hidden states stay within the bound."""
    cuts = unlabelled(settings)
    start, end = (way.sample(alpha, cuts) for alpha in (0.0, 1.0))
    full, bound = drift(start, end), settings.bound
    first = largest_alpha(overall(full), bound)
    alphas = layer_alphas(full, bound) if settings.by_layer else [first]
    tried: dict[str, tuple[float, float]] = {}  # text → expected drift, real drift
    errors: list[float] = []
    text = text_of(alphas)
    for _ in range(settings.passes):
        if set(numbers_of(text)) <= {0.0, 1.0} or text in tried:
            break  # an end, whose states are there
        real = way.sample(text, cuts)
        expected = _expected(full, numbers_of(text))
        tried[text] = expected, overall(drift(start, real))
        if len(numbers_of(text)) == 1:
            guess = predicted(start, end, float(text))
            errors = relative_error([(guess, real, real)]).tolist()
        if _CLOSE * bound <= tried[text][1] <= bound:
            break
        alphas = corrected(numbers_of(text), tried[text][1], _AIM * bound, overall(full))
        text = text_of(alphas)
    within = [one for one, (_, real) in tried.items() if real <= bound]
    if within and (text in tried or len(tried) == settings.passes):
        text = max(within, key=lambda one: sum(numbers_of(one)))
    return _said_of_drift(settings, text, full, tried, errors, len(cuts))


def _said_of_drift(
    settings: AlphaSettings,
    text: str,
    full: Tensor,
    tried: Mapping[str, tuple[float, float]],
    errors: list[float],
    utterances: int,
) -> Found:
    own = {f"{alpha:g}": (_expected(full, [alpha]), None) for alpha in settings.points}
    rows = {**own, text: (_expected(full, numbers_of(text)), None), **tried}
    ordered = sorted(rows, key=lambda one: sum(numbers_of(one)) / len(numbers_of(one)))
    expected, real = rows[text]
    measured = f"{real:.3f} measured" if real is not None else f"{expected:.3f} expected"
    if real is None and text in ("0", "1"):
        measured = f"{expected:.3f} measured"
    what = "alphas by layer whose" if settings.by_layer else "alpha whose"
    return {
        "alpha": text,
        "why": f"The largest {what} hidden states stay within {settings.bound:g} standard "
        f"deviations of θ0's ({measured}; root mean square over frames and hidden states), on "
        f"{utterances} utterances of {data_name(settings.data)} without labels. Passes over the "
        f"audio: one of each end, {len(tried)} between.",
        "columns": ["alpha", "drift expected (sd)", "drift measured (sd)"],
        "rows": [[one, *(v if v is None else round(v, 4) for v in rows[one])] for one in ordered],
        "layers": {"drift of θ'": _rounded(full.tolist()), "error of prediction": _rounded(errors)},
    }


def _expected(full: Tensor, alphas: Sequence[float]) -> float:
    """Give the drift that is expected: every hidden state moves by its share."""
    if len(alphas) == 1:
        return alphas[0] * overall(full)
    scale = full.new_tensor([alphas[0], *alphas])
    return overall(full * scale)


def unlabelled(settings: AlphaSettings) -> list[Cut]:
    """Give the utterances that are heard without their labels."""
    cuts = load_split(settings.data, settings.split, ("dev", "train"))
    chosen = drawn(cuts, settings.utterances, settings.seed, "alpha")
    refuse_long(settings.data, chosen, settings.max_seconds)
    return chosen


def _by_scores(settings: AlphaSettings, way: Way) -> Found:
    """Choose by the dev scores of probes, on real states or on predicted ones."""
    source = settings.source or tuple(
        dict.fromkeys(str(record.task["task"]) for record in heads_of(settings))
    )
    if settings.retain is not None and set(settings.tasks) <= set(source):
        raise SettingsError(
            "retain asks what stays of other tasks than that which TUNED was tuned on",
            where="tasks",
            expected=f"a task besides {', '.join(source)}",
            found=", ".join(settings.tasks),
        )
    data = read_data(settings.data, settings.tasks, longest=settings.max_seconds)
    benches = {task: _bench(settings, data, task, way) for task in settings.tasks}
    if settings.by == "probe":
        scores: dict[float, Scores] = {}
        for alpha in settings.points:
            states = _states(settings, way, data, alpha)
            scores[alpha] = {t: probed(b, _parts(data, t, states)) for t, b in benches.items()}
        about: Found = {}
    else:
        scores, about = _predicted_scores(settings, way, data, benches, source)
    points = trade_off(scores, source, seed=settings.seed)
    alpha = choose(points, settings.retain)
    dev = reduce(or_, (heard_in(bench.cuts["dev"], settings.data) for bench in benches.values()))
    return _said_of_scores(settings, alpha, points, scores, source) | about | {DEV: dev}


def _predicted_scores(
    settings: AlphaSettings,
    way: Way,
    data: DataSet,
    benches: Mapping[str, Bench],
    source: Sequence[str],
) -> tuple[dict[float, Scores], Found]:
    """Score predicted states; pass the encoder at what they choose over the dev split itself."""
    start, end = (_states(settings, way, data, alpha) for alpha in (0.0, 1.0))
    heads = {
        task: Interpolated(bench, _parts(data, task, start), _parts(data, task, end))
        for task, bench in benches.items()
    }
    scores: dict[float, Scores] = {
        alpha: {task: head.at(alpha) for task, head in heads.items()} for alpha in settings.points
    }
    real: dict[str, dict[str, float]] = {}
    errors: dict[str, dict[str, list[float]]] = {}
    for _ in range(settings.passes):
        alpha = choose(trade_off(scores, source, seed=settings.seed), settings.retain)
        name = f"{alpha:g}"
        if alpha in (0.0, 1.0) or name in real:
            break
        states = _states(settings, way, data, alpha, ("dev",))
        dev = {task: states[data.names[task][1]] for task in heads}
        guess = scores[alpha]
        scores[alpha] = {task: head.real(dev[task]) for task, head in heads.items()}
        real[name] = {task: scores[alpha][task].good - guess[task].good for task in heads}
        errors[name] = {t: _rounded(h.error(dev[t], alpha).tolist()) for t, h in heads.items()}
    return scores, {"measured minus predicted": real, "error by layer (sd)": errors}


def _said_of_scores(
    settings: AlphaSettings,
    alpha: float,
    points: Mapping[float, Point],
    scores: Mapping[float, Scores],
    source: Sequence[str],
) -> Found:
    first = scores[0.0]
    heads = [f"{task.upper()} {TITLES[first[task].metric]}" for task in first]
    others = [task for task in first if task not in source]
    names = ", ".join(task.upper() for task in first)
    way = "probes" if settings.by == "probe" else "predicted hidden states of both ends"
    said = f"On the dev splits of {names} in {data_name(settings.data)}, scored by {way}, "
    if settings.retain is None:
        said += f"α = {alpha:g} has the highest mean first metric ({points[alpha].mean:.2f})"
    else:
        kept = f"{100 * settings.retain:g} % of θ0's mean on {', '.join(map(str.upper, others))}"
        gains = any(point.gain is not None for point in points.values())
        best = "gains most on the source task" if gains else "is the largest"
        said += f"α = {alpha:g} {best} of those that keep {kept} at the lower 95 % bound"
    columns = ["alpha", *heads, "mean", "gain on source", "kept of others (%)", "lower bound (%)"]
    rows = []
    for value, point in points.items():
        own = [round(one.value, 4) for one in scores[value].values()]
        shares = [None if s is None else round(100 * s, 3) for s in (point.kept, point.low)]
        gain = None if point.gain is None else round(point.gain, 4)
        rows.append([f"{value:g}", *own, round(point.mean, 4), gain, *shares])
    why = " ".join([f"{said}.", *_unlearned(scores)])
    return {"alpha": f"{alpha:g}", "why": why, "columns": columns, "rows": rows}


def _unlearned(scores: Mapping[float, Scores]) -> list[str]:
    """Give a sentence for each task that a probe has hardly learned at some alpha."""
    probes = (
        (task.upper(), f"{alpha:g}")
        for alpha, own in sorted(scores.items())
        for task, one in own.items()
        if answers_little(one.answered)
    )
    said = hardly_learned_text("choose.probe.normalize")
    return [
        f"At α = {', '.join(alphas)} the probe for {task} {said}"
        for task, alphas in by_task(probes).items()
    ]


def _bench(settings: AlphaSettings, data: DataSet, task: str, way: Way) -> Bench:
    names = data.names[task]  # of several folds the first
    probing = settings.probing()
    cuts = {part: data.splits[name] for part, name in zip(("train", "dev"), names, strict=False)}
    made = TASKS[task].from_cuts(cuts["train"])
    made.hop = way.encoder.hop
    error = data.label_error(task, "clean")
    if error is not None:
        raise error
    plan = plan_for(task, probing)
    return Bench(made, cuts, plan, probing.head_size, settings.seed, way.device)


def _states(
    settings: AlphaSettings,
    way: Way,
    data: DataSet,
    alpha: float,
    parts: Sequence[str] = ("train", "dev"),
) -> dict[str, SplitStates]:
    places = {"train": 0, "dev": 1}
    requests: dict[str, bool] = {}
    for task in settings.tasks:
        for part in parts:
            name = data.names[task][places[part]]
            requests[name] = requests.get(name, False) or not TASKS[task].pooled
    return way.splits(alpha, data, requests, store_of(settings.probing()))


def _parts(data: DataSet, task: str, states: Mapping[str, SplitStates]) -> Parts:
    return parts_of(states, data.names[task][:2])


def heads_of(settings: AlphaSettings | MergeSettings) -> list[HeadRecord]:
    """Give what the heads beside TUNED say of themselves."""
    records: list[HeadRecord] = []
    for name in settings.tuned:
        with closing(open_encoder(name, base=settings.base)) as source:
            files = [path for path in head_files(source) if path.suffix == ".safetensors"]
        records += map(read_record, files)
    return records


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 5) for value in values]

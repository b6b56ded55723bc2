"""Say in words what the numbers show, also where they show that the method did not help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from speechft.core.escaping import task_heading
from speechft.metrics.measures import BESIDE
from speechft.metrics.statistics import LEVEL
from speechft.reporting.comparison import Column, Comparison, Row, Trio, metric_title
from speechft.reporting.contrasts import Contrast
from speechft.reporting.measurements import Encoder

Verdict = Literal["better", "mixed", "worse", "none"]
METHODS = {
    "stable": "stable fine-tuning",
    "regular": "regular fine-tuning",
    "l2sp": "L2-SP fine-tuning",
    "lora": "LoRA fine-tuning",
    "dora": "DoRA fine-tuning",
    "replay": "Feature replay",
}


@dataclass(frozen=True)
class Finding:
    """One headline with its details.

    Attributes:
        verdict: whether θ̂ scores above both θ0 and θ' ("better"), above one of them ("mixed"), only
            below ("worse"), or nothing can be told ("none").
        headline: one sentence.
        details: further sentences.
    """

    verdict: Verdict
    headline: str
    details: tuple[str, ...] = ()


def label(encoder: Encoder, short: bool = False) -> str:
    """Name an encoder for people; the short name is for a terminal's table."""
    task = task_heading(encoder.tuned_on)
    on = "" if not task else f", {task}" if short else f" on {task}"
    if encoder.role == "pretrained":
        text = "Pretrained"
    elif encoder.role == "finetuned":
        method = METHODS.get(encoder.method, f"{encoder.method} fine-tuning".strip())
        method = method.removesuffix(" fine-tuning") if short else method
        text = f"{method[:1].upper()}{method[1:]}{on}"
    elif encoder.role == "merged":
        text = f"{merged_name(encoder)}{on}"
        text += "" if encoder.alpha is None or short else f", α = {encoder.alpha:g}"
    else:
        text = encoder.name or "encoder"
    extra = encoder.apart if encoder.role != "other" else ()
    return " · ".join(part for part in (encoder.run, text, *extra) if part)


def merged_name(encoder: Encoder) -> str:
    """Name the way of merging: Speech-FT is stable fine-tuning with linear merging."""
    if not encoder.tuned_on:  # by others, or not known
        return f"{encoder.merge_method} merging".strip().capitalize()
    if encoder.method in ("stable", "") and encoder.merge_method in ("linear", ""):
        return "Speech-FT"
    method = METHODS.get(encoder.method, encoder.method) or "fine-tuning"
    return f"{method[:1].upper()}{method[1:]} + {encoder.merge_method or 'merging'}"


def symbol(encoder: Encoder) -> str:
    """Give θ0, θ′ or θ̂."""
    return {"pretrained": "θ₀", "finetuned": "θ′", "merged": "θ̂"}.get(encoder.role, "")


def findings(comparison: Comparison) -> list[Finding]:
    """Say what was found: one finding per fine-tuning, or one about the table as a whole."""
    trios = comparison.trios
    level = 1 - (1 - LEVEL) / (2 * len(trios)) if trios else LEVEL  # two comparisons of each
    found = [_about(trio, comparison, level) for trio in trios]
    return found or [_of_the_table(comparison)]


def _about(trio: Trio, comparison: Comparison, level: float) -> Finding:
    details = [s for c in comparison.columns if (s := _one_task(trio, c, comparison, level))]
    merged, tuned = trio.merged.encoder, trio.finetuned.encoder
    choice = comparison.choices.get(merged.group)
    if choice is not None:
        same = (merged.merge_method or "linear") == (choice.merge_method or "linear")
        details.append(choice.text(merged.alpha if same else None))
    on = f" on {task_heading(tuned.tuned_on)}" if tuned.tuned_on else ""
    several = len(comparison.rows_of("merged", merged.group)) > 1
    point = f"α = {merged.alpha:g}" if several and merged.alpha is not None else ""
    parts = (merged.run, f"{merged_name(merged)}{on}", point, *merged.apart)
    subject = " · ".join(part for part in parts if part)
    rows = (trio.merged, trio.pretrained, trio.finetuned)
    scores = [row.score for row in rows]
    if any(score is None for score in scores):
        return Finding(
            "none", f"{subject} was not measured on all tasks, so it has no score.", tuple(details)
        )
    method = METHODS.get(tuned.method, "fine-tuning")
    names = ("the pretrained encoder", method)
    found = [comparison.contrast(trio.merged, r, level) for r in (trio.pretrained, trio.finetuned)]
    figures = "{}, against {} pretrained and {} after {}".format(
        *(score.text(0) for score in scores if score is not None), method
    )
    headline = f"{subject} {_standings(found, names)}: {comparison.score_name} {figures}."
    if len({m.seed for row in rows for m in row.measurements}) == 1:
        headline += " One seed only: the spread is not known, so read this as an indication."
    intervals = [
        f"{comparison.score_name}, difference to that of {name}: {one.text}"
        for name, one in zip(names, found, strict=True)
        if one.text
    ]
    return Finding(_verdict(found), headline, (*intervals, *details))


def _verdict(found: Sequence[Contrast]) -> Verdict:
    standings = {one.standing for one in found}
    if standings == {"open"}:
        return "none"
    if standings == {"above"}:
        return "better"
    return "mixed" if "above" in standings else "worse"


def _standings(found: Sequence[Contrast], names: Sequence[str]) -> str:
    """Say how a score stands to others: no more than the intervals bear."""
    words = {"above": "scores above", "below": "scores below", "open": "is not told apart from"}
    by_standing: dict[str, list[str]] = {"above": [], "below": [], "open": []}
    for one, name in zip(found, names, strict=True):
        by_standing[one.standing].append(name)
    parts = [f"{words[s]} {' and '.join(own)}" for s, own in by_standing.items() if own]
    open_ones = [one for one in found if one.standing == "open"]
    return " and ".join(parts) + (f" ({_why(open_ones)})" if open_ones else "")


def _why(found: Sequence[Contrast]) -> str:
    if any(one.unlike for one in found):
        return "not measured on the same data by the same probes"
    if any(one.too_few_items for one in found):
        return "too few items to tell"
    if any(one.seeds is not None for one in found):
        return "too few seeds to tell"
    return "without several seeds or kept predictions there is no interval"


def _one_task(trio: Trio, column: Column, comparison: Comparison, level: float) -> str:
    """Say what a task has won or lost, as far as the intervals bear it."""
    cells = [_cell(row, column) for row in (trio.pretrained, trio.finetuned, trio.merged)]
    before, tuned, merged = cells
    if before is None or tuned is None or merged is None:
        return ""
    name = f"{task_heading(column.task)} {metric_title(column.metric)}"
    goal = (
        " (the task it was tuned on)"
        if column.task in trio.finetuned.encoder.tuned_on.split(",")
        else ""
    )
    text = f"{name}{goal}: {before:.1f} → {tuned:.1f}"
    found = comparison.contrast_in(column, trio.finetuned, trio.pretrained, level)
    if before == tuned:
        return f"{text}, unchanged by fine-tuning; {merged:.1f} after merging."
    if found.standing == "open":
        why = "" if column.metric in BESIDE else f", not told apart ({_why([found])})"
        return f"{text} with fine-tuning{why}; {merged:.1f} after merging."
    text += f", {'better' if found.standing == 'above' else 'worse'} with fine-tuning"
    text += f"; {merged:.1f} after merging"
    if found.standing == "below":
        share = (tuned - merged) / (tuned - before)
        if share >= 1:
            text += ", all of the loss made good" + (" and more" if share > 1 else "")
        elif share > 0:
            text += f", {100 * share:.0f} % of the loss made good"
        else:
            text += ", none of the loss made good"
    else:
        share = (merged - before) / (tuned - before)
        if share > 1:
            text += ", all of the gain kept and more"
        else:
            text += f", {100 * share:.0f} % of the gain kept" if share > 0 else ", the gain is gone"
    return text + "."


def _cell(row: Row, column: Column) -> float | None:
    spread = row.cells.get(column.key)
    return None if spread is None else spread.mean


def _of_the_table(comparison: Comparison) -> Finding:
    """Name an encoder only where it is above all others, and none of a sweep: dev chooses those."""
    tasks = {c.task for c in comparison.columns}
    count = f"{len(comparison.rows)} encoder{'s' * (len(comparison.rows) != 1)}"
    text = f"{count} measured on {len(tasks)} task{'s' * (len(tasks) != 1)}."
    merged = [r.encoder.group for r in comparison.rows if r.encoder.role == "merged"]
    scored = [r for r in comparison.rows if r.score is not None]
    if len(scored) < 2 or len(merged) != len(set(merged)):
        said = [choice.text(None) for choice in comparison.choices.values()]
        return Finding("none", text, tuple(said))
    first, *others = sorted(scored, key=lambda r: -(r.score.mean if r.score else 0.0))
    level = 1 - (1 - LEVEL) / len(others)
    found = [comparison.contrast(first, other, level) for other in others]
    if all(one.standing == "above" for one in found):
        return Finding("none", f"{text} {label(first.encoder)} scores above all others.")
    open_ones = [one for one in found if one.standing != "above"]
    return Finding("none", f"{text} None is told apart from all others ({_why(open_ones)}).")

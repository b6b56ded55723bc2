"""Say in words what the numbers show, also where they show that the method did not help."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Literal

from speechft.metrics.statistics import SeedValues
from speechft.reporting.comparison import Column, Comparison, Row, Trio, metric_title
from speechft.reporting.measurements import Encoder

Verdict = Literal["better", "mixed", "worse", "none"]
METHODS = {
    "stable": "stable fine-tuning",
    "regular": "regular fine-tuning",
    "l2sp": "L2-SP fine-tuning",
    "lora": "LoRA fine-tuning",
    "dora": "DoRA fine-tuning",
}


@dataclass(frozen=True)
class Finding:
    """One headline with its details.

    Attributes:
        verdict: whether θ̂ beats both θ0 and θ' ("better"), one of them, none, or cannot be said.
        headline: one sentence.
        details: further sentences.
    """

    verdict: Verdict
    headline: str
    details: tuple[str, ...] = ()


def label(encoder: Encoder, short: bool = False) -> str:
    """Name an encoder for people; the short name is for a terminal's table."""
    task = encoder.tuned_on.upper()
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
    extra = encoder.name if encoder.role != "other" else ""
    return " · ".join(part for part in (encoder.run, text, extra) if part)


def merged_name(encoder: Encoder) -> str:
    """Name the way of merging: Speech-FT is stable fine-tuning with linear merging."""
    if encoder.method in ("stable", "") and encoder.merge_method in ("linear", ""):
        return "Speech-FT"
    method = METHODS.get(encoder.method, encoder.method)
    return f"{method[:1].upper()}{method[1:]} + {encoder.merge_method or 'merging'}"


def symbol(encoder: Encoder) -> str:
    """Give θ0, θ′ or θ̂."""
    return {"pretrained": "θ₀", "finetuned": "θ′", "merged": "θ̂"}.get(encoder.role, "")


def findings(comparison: Comparison) -> list[Finding]:
    """Say what was found: one finding per fine-tuning, or one about the table as a whole."""
    found = [_about(trio, comparison) for trio in comparison.trios]
    return found or [_plain(comparison)]


def _about(trio: Trio, comparison: Comparison) -> Finding:
    verdict, headline = _headline(trio, comparison.score_name)
    if len(comparison.seeds) == 1:
        headline += " One seed only: the spread is not known, so read this as an indication."
    details = [s for c in comparison.columns if (s := _one_task(trio, c))]
    merged = trio.merged.encoder
    if merged.group in comparison.choices:
        details.append(comparison.choices[merged.group].text(merged.alpha))
    return Finding(verdict, headline, tuple(details))


def _headline(trio: Trio, score_name: str) -> tuple[Verdict, str]:
    before, tuned, merged = trio.pretrained.score, trio.finetuned.score, trio.merged.score
    name = merged_name(trio.merged.encoder)
    task = trio.finetuned.encoder.tuned_on.upper()
    method = METHODS.get(trio.finetuned.encoder.method, "fine-tuning")
    if before is None or tuned is None or merged is None:
        return "none", f"{name} on {task} was not measured on all tasks, so it has no score."
    figures = (
        f"{score_name} {merged.text(0)}, against {before.text(0)} pretrained "
        f"and {tuned.text(0)} after {method}"
    )
    if before.mean == tuned.mean == merged.mean:
        return "none", f"{name} on {task} changed nothing: {figures}."
    up, over = merged.mean > before.mean, merged.mean > tuned.mean
    close = ", but by less than the seeds spread" if len(merged.values) > 1 else ""
    if up and over:
        aside = "" if _clear(merged, before) and _clear(merged, tuned) else close
        text = (
            f"{name} on {task} made the encoder better on average over the tasks{aside}: {figures}."
        )
        return ("mixed" if aside else "better"), text
    if up:
        aside = "" if _clear(merged, before) else close.replace("but ", "if ")
        return "mixed", (
            f"{name} on {task} beat the pretrained encoder{aside}, but {method} alone was better "
            f"still: {figures}."
        )
    if over:
        return "mixed", (
            f"{name} on {task} undid part of what {method} lost, but did not reach the pretrained "
            f"encoder: {figures}."
        )
    return "worse", (
        f"{name} on {task} did not help here; both the pretrained and the finetuned encoder score "
        f"at least as high: {figures}."
    )


def _clear(one: SeedValues, other: SeedValues) -> bool:
    """Tell whether the seeds' paired differences exceed their spread."""
    if len(one.values) != len(other.values) or len(one.values) < 2:
        return False
    differences = [a - b for a, b in zip(one.values, other.values, strict=True)]
    return abs(statistics.fmean(differences)) > statistics.stdev(differences)


def _one_task(trio: Trio, column: Column) -> str:
    cells = [_cell(row, column) for row in (trio.pretrained, trio.finetuned, trio.merged)]
    before, tuned, merged = cells
    if before is None or tuned is None or merged is None:
        return ""
    name = f"{column.task.upper()} {metric_title(column.metric)}"
    goal = (
        " (the task it was tuned on)"
        if column.task in trio.finetuned.encoder.tuned_on.split(",")
        else ""
    )
    way = "unchanged by" if before == tuned else _way(column, tuned, before) + " with"
    text = f"{name}{goal}: {before:.1f} → {tuned:.1f}, {way} fine-tuning"
    text += f"; {merged:.1f} after merging"
    if column.better(before, tuned):
        share = (tuned - merged) / (tuned - before)
        if share >= 1:
            text += ", all of the loss made good" + (" and more" if share > 1 else "")
        elif share > 0:
            text += f", {100 * share:.0f} % of the loss made good"
        else:
            text += ", none of the loss made good"
    elif column.better(tuned, before):
        share = (merged - before) / (tuned - before)
        if share > 1:
            text += ", all of the gain kept and more"
        else:
            text += f", {100 * share:.0f} % of the gain kept" if share > 0 else ", the gain is gone"
    return text + "."


def _way(column: Column, value: float, than: float) -> str:
    return "better" if column.better(value, than) else "worse"


def _cell(row: Row, column: Column) -> float | None:
    spread = row.cells.get(column.key)
    return None if spread is None else spread.mean


def _plain(comparison: Comparison) -> Finding:
    scored = [(r.score.mean, r) for r in comparison.rows if r.score is not None]
    tasks = {c.task for c in comparison.columns}
    count = f"{len(comparison.rows)} encoder{'s' * (len(comparison.rows) != 1)}"
    text = f"{count} measured on {len(tasks)} task{'s' * (len(tasks) != 1)}."
    if len(scored) > 1:
        top = max(scored, key=lambda pair: pair[0])[1]
        text += f" The best {comparison.score_name}: {label(top.encoder)}."
    return Finding("none", text)

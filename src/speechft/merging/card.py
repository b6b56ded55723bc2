"""The model card of a merged encoder: what it was made from, how, and how to load it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from speechft.merging.planning import Plan

SCORES = "## Scores"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def public_name(label: str, config: Mapping[str, Any] | None = None) -> str:
    """Give a name without local folders: a Hub id if one is known, else the last part of a path."""
    known = str((config or {}).get("_name_or_path") or "")
    local = Path(label).expanduser()
    for candidate in (label.partition("@")[0] if not local.exists() else "", known):
        if _HUB_ID.fullmatch(candidate) and not Path(candidate).exists():
            return candidate
    if local.name == "encoder" and local.parent.name:
        return local.parent.name
    return local.name or local.resolve().name


def formula(plan: Plan) -> str:
    """Give the method's formula with its numbers."""
    values = {"alpha": str(plan.alpha)} if "alpha" in plan.method.parameters else {}
    own = {key: one.default for key, one in plan.method.parameters.items() if key != "alpha"}
    own |= plan.recipe.parameters
    values |= {key: str(value) for key, value in own.items() if value is not None}
    numbers = ", ".join(f"{key} = {value}" for key, value in values.items())
    rounds = "; one round per tuned encoder, in this order" if plan.recipe.sequential else ""
    return plan.method.formula + (f"   with {numbers}" if numbers else "") + rounds


def write_card(plan: Plan, class_name: str) -> str:
    """Give README.md of a merged encoder, with the metadata that the Hub reads.

    Args:
        plan: the merge.
        class_name: the transformers class that loads it.
    """
    sources = (plan.base, *plan.tuned)
    names = [public_name(source.label, source.config) for source in sources]
    meta = {
        "library_name": "transformers",
        "base_model": names[:1],
        "base_model_relation": "merge",
        "tags": ["merge", "speechft", "speech", "feature-extraction"],
    }
    front = yaml.safe_dump(meta, sort_keys=False, allow_unicode=True)
    roles = ["θ0 (BASE)", *(f"θ'{i + 1} (TUNED)" for i in range(len(plan.tuned)))]
    rows = [
        f"| {role} | {name} | `{source.sha256()}` |"
        for role, name, source in zip(roles, names, sources, strict=True)
    ]
    merged = sum(bool(entry.tuned) for entry in plan.match.entries)
    lines = [
        f"---\n{front}---",
        f"# {names[0]} merged with {', '.join(names[1:])}",
        f"A speech encoder made by `speechft merge`: {plan.method.title} ({plan.method.paper}).",
        f"    {formula(plan)}",
        "| | encoder | SHA-256 of the weights |\n| --- | --- | --- |\n" + "\n".join(rows),
        f"{merged} tensors were merged in float32 and rounded once, to {plan.dtype}; {_rest(plan)}",
        *_how_to_load(class_name),
    ]
    return "\n\n".join(lines) + "\n"


def plain_card(name: str, record: Mapping[str, Any], class_name: str) -> str:
    """Give README.md of an encoder that no merge made.

    Args:
        name: of the encoder.
        record: provenance of the run that made it; empty if none is known.
        class_name: the transformers class that loads it.
    """
    settings = record.get("settings") or {}
    start = settings.get("encoder") or settings.get("init")
    base = public_name(start) if isinstance(start, str) else ""
    meta: dict[str, Any] = {"library_name": "transformers"}
    if _HUB_ID.fullmatch(base):
        meta |= {"base_model": [base], "base_model_relation": "finetune"}
    meta["tags"] = ["speechft", "speech", "feature-extraction"]
    said = {key: settings.get(key) for key in ("task", "data", "method", "steps", "learning_rate")}
    rows = {"began with": base, **{key.replace("_", " "): value for key, value in said.items()}}
    rows = {key: public_name(str(value)) for key, value in rows.items() if value}
    how = f", made by `speechft {record['stage']}`" if record.get("stage") else ""
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    lines = [
        f"---\n{yaml.safe_dump(meta, sort_keys=False, allow_unicode=True)}---",
        f"# {name}",
        f"A speech encoder{how}.",
        *([f"| | |\n| --- | --- |\n{table}"] if rows else []),
        *_how_to_load(class_name),
    ]
    return "\n\n".join(lines) + "\n"


def _how_to_load(class_name: str) -> list[str]:
    return [
        "## How to load it",
        "```python\nimport torch\nfrom transformers import AutoModel\n\n"
        'model = AutoModel.from_pretrained("PATH", dtype=torch.float32)'
        f"  # {class_name}\n```",
        "```python\nimport speechft\n\n"
        'encoder = speechft.load_encoder("PATH")\n'
        "hidden_states, lengths = encoder([waveform])  # 1-D, 16 kHz, float32\n```",
    ]


def with_scores(card: str, scores: Mapping[str, Mapping[str, float]]) -> str:
    """Put a table of scores at the end of a card, in the place of an earlier one.

    Args:
        card: README.md.
        scores: task → metric → value.
    """
    before = card.partition(f"\n{SCORES}\n")[0].rstrip("\n")
    return f"{before}\n\n{SCORES}\n\n{_score_table(scores)}\n" if scores else card


def _rest(plan: Plan) -> str:
    parts = []
    if plan.match.kept:
        parts.append(f"kept from BASE: {_some(plan.match.kept)}")
    if plan.match.dropped:
        parts.append(f"heads of BASE that were dropped: {_some(plan.match.dropped)}")
    unused = sorted({name for names in plan.match.ignored for name in names})
    if unused:
        parts.append(f"not used of TUNED: {_some(unused)}")
    return "; ".join(parts) + "." if parts else "nothing was dropped."


def _some(names: Sequence[str], most: int = 6) -> str:
    text = ", ".join(f"`{name}`" for name in names[:most])
    return text + (f" and {len(names) - most} more" if len(names) > most else "")


def _score_table(scores: Mapping[str, Mapping[str, float]]) -> str:
    rows = [
        f"| {task} | {metric} | {value:.2f} |"
        for task, metrics in scores.items()
        for metric, value in metrics.items()
    ]
    return "| task | metric | value |\n| --- | --- | --- |\n" + "\n".join(rows)

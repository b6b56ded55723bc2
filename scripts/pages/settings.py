"""docs/settings.md, from the settings classes and the `Args:` of their docstrings."""

from __future__ import annotations

import json
from typing import Any

from speechft.core.settings import descriptions

HEAD = """# Settings

Written by `make docs` from the settings themselves: the keys of a [recipe](recipes.md)'s sections.
A stage's own command takes them as `--set key=value`, a recipe as `--set section.key=value`; a dot
leads into a setting that has keys of its own, and items of a list are counted from 0:
`speechft pretrain --set quantiser.groups=1 --set iterations.0.clusters=200`. The `parameters` of a
merge are the method's, which `speechft merge --methods` lists. ENCODER and DATA are as in
[encoders.md](encoders.md) and [data.md](data.md).
"""


def settings_page() -> str:
    """Give docs/settings.md."""
    from speechft.analysis.settings import AnalyzeSettings
    from speechft.merging.settings import MergeSettings
    from speechft.pipeline.recipe import settings as recipe
    from speechft.probing.settings import EncoderSpec, EvaluateSettings
    from speechft.reporting.settings import ReportSettings
    from speechft.training.finetune.settings import FinetuneSettings
    from speechft.training.pretrain.settings import (
        ContrastiveSettings,
        Guide,
        Iteration,
        PretrainSettings,
        Quantiser,
    )

    rounds = {"iterations.N": Iteration, "iterations.N.guide": Guide}
    others = {"quantiser": Quantiser, "contrastive": ContrastiveSettings}
    parts = [
        HEAD,
        _section("pretrain", PretrainSettings, recipe.PretrainSection),
        *(_inner(name, kind) for name, kind in (rounds | others).items()),
        _section("finetune", FinetuneSettings, recipe.FinetuneSection),
        _section("merge", MergeSettings, recipe.MergeSection),
        _section("evaluate", EvaluateSettings, recipe.EvaluateSection),
        _inner("encoders.N (`EncoderSpec`)", EncoderSpec),
        _section("analyze", AnalyzeSettings, recipe.AnalyzeSection),
        _section("report", ReportSettings, recipe.ReportSection),
    ]
    return "\n".join(parts)


def _section(name: str, kind: Any, section: Any) -> str:
    filled = [f"`{field}`" for field in kind.model_fields if field not in section.model_fields]
    return "\n".join([f"## {name}\n", f"A recipe fills in {', '.join(filled)}.\n", *_table(kind)])


def _inner(name: str, kind: Any) -> str:
    return "\n".join([f"### {name}\n", *_table(kind)])


def _table(kind: Any) -> list[str]:
    said = descriptions(kind)
    lines = ["| key | default | meaning |", "| --- | --- | --- |"]
    for name, field in kind.model_fields.items():
        text = said[name].replace("|", "\\|")
        lines.append(f"| `{name}` | {_default(field)} | {text} |")
    return [*lines, ""]


def _default(field: Any) -> str:
    """Give a default as a recipe would say it."""
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return ""
    if hasattr(value, "model_fields"):
        return "below"
    if isinstance(value, str):
        return f"`{value}`" if value else ""
    return f"`{json.dumps(value)}`" if value not in ((), {}) else "empty"

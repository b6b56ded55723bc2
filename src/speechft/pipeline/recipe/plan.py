"""From a recipe to its jobs: one chain of steps for every seed, and what each encoder is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechft.analysis.alpha.settings import alpha_settings
from speechft.core.artifact import hash_values
from speechft.core.errors import SettingsError
from speechft.core.settings import parse_settings
from speechft.merging.choice import CHOICE
from speechft.merging.methods import METHODS
from speechft.merging.settings import AUTO, CHOOSING, MergeSettings
from speechft.pipeline.graph import Graph, Job, Source, encoder_of
from speechft.pipeline.recipe.settings import FinetuneSection, RunSettings
from speechft.probing.settings import SUITES
from speechft.tasks import TASKS
from speechft.training.finetune.settings import (
    BEST,
    LAST,
    FinetuneSettings,
    folder_name,
    task_names,
)

_ONE_ALPHA = "list further ones in evaluate.sweep: [0.1, 0.5, 0.75]"


@dataclass(frozen=True)
class Plan:
    """All steps of a run, and what each evaluated encoder is.

    Attributes:
        out: the run's folder.
        graph: the steps.
        roles: records of `encoders.json`: name in the results → role, task, method, alpha.
    """

    out: Path
    graph: Graph = field(default_factory=Graph)
    roles: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def steps(self) -> list[Job]:
        """The steps, parents first."""
        return list(self.graph.jobs.values())


def make_plan(recipe: RunSettings, out: Path) -> Plan:
    """Give the steps of a recipe; every setting of every stage is checked here, before any runs.

    Args:
        recipe: the recipe.
        out: the run's folder.

    Raises:
        SettingsError: a stage's settings, a task or a merge method do not exist or do not fit.
    """
    _check_names(recipe)
    plan = Plan(out, roles={"pretrained": _role("pretrained", alpha=0)})
    builder = _Builder(recipe, plan)
    base = Source(recipe.encoder) if recipe.encoder is not None else builder.pretrain()
    evaluations = [builder.seed(seed, base) for seed in recipe.seeds]
    builder.report(evaluations)
    return plan


class _Builder:
    """Adds step after step."""

    def __init__(self, recipe: RunSettings, plan: Plan) -> None:
        self.recipe, self.plan = recipe, plan

    def pretrain(self) -> Source:
        """Add the pre-training, once for all seeds; give its encoder."""
        section = self.recipe.pretrain
        values = _given(section) | {"data": self._data(section)}
        return encoder_of(self._add("pretrain", "pretrain", values, []))

    def seed(self, seed: int, base: Source) -> Job:
        """Add the steps of one seed; give its evaluation."""
        encoders: list[dict[str, Any]] = [{"name": "pretrained", "path": base.path}]
        sources = [base]
        for section in self.recipe.finetune:
            name = self.recipe.name_of(section)
            tuned = self._finetune(section, name, seed, base)
            merged = self._merge(section, name, seed, base, tuned)
            encoders += [
                {"name": f"finetuned-{name}", "path": tuned.path},
                {"name": f"merged-{name}", "path": merged.path},
                *self._sweep(name, base, tuned),
            ]
            sources += [tuned, merged]
        evaluation = self.recipe.evaluate
        values = _given(evaluation, "sweep", "sweep_tasks") | {
            "encoders": encoders,
            "data": evaluation.data or self.recipe.data,
            "seeds": (seed,),
        }
        return self._add(f"seed-{seed}/evaluate", "evaluate", values, sources)

    def report(self, evaluations: Sequence[Job]) -> None:
        """Add the report over all seeds."""
        out = self.plan.out
        values = {"title": self.recipe.name, **_given(self.recipe.report), "runs": [out]}
        key = hash_values([job.key for job in evaluations])
        self._add(
            "report", "report", values, [Source(str(out), key, j.folder) for j in evaluations]
        )

    def _finetune(self, section: FinetuneSection, name: str, seed: int, base: Source) -> Source:
        values = _given(section, "name") | {
            "encoder": base.path,
            "data": self._data(section),
            "seed": seed,
        }
        job = self._add(f"seed-{seed}/finetune-{name}", "finetune", values, [base])
        assert isinstance(job.settings, FinetuneSettings)
        own_name = "" if name == folder_name(job.settings.tasks) else name
        self.plan.roles[f"finetuned-{name}"] = _role("finetuned", 1) | {
            "encoder": f"finetuned-{name}",
            "tuned_on": job.settings.task,
            "method": job.settings.method,
            "name": own_name,
        }
        return encoder_of(job, BEST if self.recipe.merge.take == "best" else LAST)

    def _merge(
        self, section: FinetuneSection, name: str, seed: int, base: Source, tuned: Source
    ) -> Source:
        given = _given(self.recipe.merge, "take")
        refits = given.get("heads") == "refit"
        labels = {"data": self._data(section), "task": section.task} if refits else {}
        values = labels | given | {"base": base.path, "tuned": [tuned.path], "seed": seed}
        sources = [base, tuned]
        alpha = given.get("alpha")
        auto = AUTO in (alpha if isinstance(alpha, list) else [alpha])
        if auto and not given.get("chosen"):
            sources.append(self._alpha(name, values, sources))
            values = {key: value for key, value in values.items() if key not in CHOOSING}
            values["chosen"] = sources[-1].path
        job = self._add(f"seed-{seed}/merge-{name}", "merge", values, sources)
        assert isinstance(job.settings, MergeSettings)
        self.plan.roles[f"merged-{name}"] = {
            **self.plan.roles[f"finetuned-{name}"],
            "merge_method": job.settings.method,
            "alpha": _alpha(job.settings),
            "encoder": f"merged-{name}",
            "role": "merged",
        }
        return encoder_of(job)

    def _alpha(self, name: str, values: dict[str, Any], ends: Sequence[Source]) -> Source:
        """Add the job that chooses the alpha of a merge; give the file of its choice."""
        where, data = "recipe, merge", self._data(self.recipe.merge)
        plain = {k: v for k, v in values.items() if k not in ("heads", "task", "refit")}
        merging = parse_settings(MergeSettings, {**plain, "data": data, "out": "."}, where=where)
        tuned_on = self.plan.roles[f"finetuned-{name}"]["tuned_on"]
        own = merging.by == "similarity" or "source" in merging.choose
        more = {} if own else {"source": tuned_on}
        settings = alpha_settings(merging, Path(), **more)
        chosen = settings.model_dump(mode="json", exclude_unset=True, exclude={"out"})
        job = self._add(f"seed-{values['seed']}/alpha-{name}", "alpha", chosen, ends)
        return encoder_of(job, CHOICE)

    def _sweep(self, name: str, base: Source, tuned: Source) -> list[dict[str, Any]]:
        """Give the points between θ0 and θ' that nothing else evaluates; they stay in memory."""
        merged = self.plan.roles[f"merged-{name}"]
        known = {0.0, 1.0} | ({merged["alpha"]} if merged["merge_method"] == "linear" else set())
        tasks = list(self.recipe.evaluate.sweep_tasks)
        specs = []
        for alpha in self.recipe.evaluate.sweep:
            if alpha in known:
                continue
            label = f"{name}@{alpha:g}"
            own = {"encoder": label, "alpha": alpha, "merge_method": "linear", "main": False}
            self.plan.roles[label] = merged | own
            spec: dict[str, Any] = {
                "name": label,
                "base": base.path,
                "tuned": tuned.path,
                "alpha": alpha,
                "allow_extrapolation": self.recipe.merge.allow_extrapolation,
            }
            specs.append(spec | ({"tasks": tasks} if tasks else {}))
        return specs

    def _data(self, section: Any) -> Any:
        return section.data or self.recipe.data

    def _add(
        self, name: str, verb: str, values: Mapping[str, Any], sources: Sequence[Source]
    ) -> Job:
        folder = self.plan.out if verb == "report" else self.plan.out / name
        where = f"recipe, {verb}"
        return self.plan.graph.add(name, verb, values, sources, lambda _: folder, where, _ONE_ALPHA)


def _check_names(recipe: RunSettings) -> None:
    section = recipe.evaluate
    suite = SUITES.get(str(getattr(section, "suite", None)))
    given = "tasks" in section.model_fields_set or suite is None
    evaluated = section.tasks if given or suite is None else suite.tasks
    for task in [*(task for one in recipe.finetune for task in task_names(one.task)), *evaluated]:
        TASKS[task]
    extra = set(section.sweep_tasks) - set(evaluated)
    if extra:
        raise SettingsError(
            f"sweep_tasks names {', '.join(sorted(extra))}, which tasks does not",
            where="evaluate.sweep_tasks",
            expected=", ".join(evaluated),
        )


def _given(section: Any, *without: str) -> dict[str, Any]:
    """Give what the recipe says itself; the rest keeps the stage's defaults."""
    if section is None:
        return {}
    values = section.model_dump(mode="json", exclude_unset=True)
    return {key: value for key, value in values.items() if key not in (*without, "data")}


def _alpha(settings: MergeSettings) -> float | None:
    """Give the one alpha of a merge; none where it differs between tensors."""
    texts = settings.alpha_texts()
    if not texts:
        return METHODS[settings.method].default_alpha
    try:
        return float(texts[0]) if len(texts) == 1 else None
    except ValueError:
        return None


def _role(role: str, alpha: float) -> dict[str, Any]:
    return {"encoder": role, "role": role, "alpha": alpha}

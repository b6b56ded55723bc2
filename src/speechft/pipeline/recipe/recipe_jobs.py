"""From a recipe to its jobs: one chain of steps for every seed, and what each encoder is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechft.analysis.alpha.settings import alpha_settings
from speechft.core.artifact import hash_values
from speechft.core.errors import SettingsError
from speechft.core.nearest_names import did_you_mean
from speechft.core.settings import parse_settings
from speechft.merging.alpha import CHOICE
from speechft.merging.methods import METHODS
from speechft.merging.settings import AUTO, CHOOSING, MergeSettings
from speechft.pipeline.graph import Graph, Job, Source, encoder_of
from speechft.pipeline.recipe.settings import GONE_ON, FinetuneSection, MergeSection, RunSettings
from speechft.probing.settings import SUITES
from speechft.tasks import TASKS
from speechft.training.finetune.settings import (
    LAST,
    TAKEN,
    FinetuneSettings,
    early_name,
    folder_name,
    task_names,
)

THETA0 = "pretrained"
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


def make_plan(recipe: RunSettings, out: Path, absent: Sequence[str] = ()) -> Plan:
    """Give the steps of a recipe; every setting of every stage is checked here, before any runs.

    Args:
        recipe: the recipe.
        out: the run's folder.
        absent: DATA that is not read, because it is not there or would take minutes: then what is
            done before cannot be told.

    Raises:
        SettingsError: a stage's settings, a task or a merge method do not exist or do not fit.
    """
    _check_names(recipe)
    plan = Plan(out, roles={THETA0: _role(THETA0, alpha=0)})
    builder = _Builder(recipe, plan, [Source(name, "not read") for name in absent])
    made = recipe.encoder is None
    base = builder.pretrain(None) if made else Source(str(recipe.encoder))
    builder.report([builder.seed(seed, base) for seed in recipe.seeds])
    return plan


class _Builder:
    """Adds step after step."""

    def __init__(self, recipe: RunSettings, plan: Plan, absent: list[Source]) -> None:
        self.recipe, self.plan, self.absent = recipe, plan, absent
        self.encoders: dict[str, Source] = {}  # of one seed, by their names in the results
        self.start: dict[str, str] = {}  # fine-tuning → the encoder that it starts from
        self.specs: list[dict[str, Any]] = []  # what is evaluated

    def pretrain(self, start: Source | None) -> Source:
        """Add the pre-training, once for all seeds; give its encoder."""
        section = self.recipe.pretrain
        values = _given(section) | {"data": self._data(section)}
        if start is not None:
            values["init"] = start.path
        return encoder_of(self._add("pretrain", "pretrain", values, [start] if start else []))

    def seed(self, seed: int, base: Source) -> Job:
        """Add the steps of one seed; give its evaluation."""
        self.encoders, self.start, self.specs = {}, {}, []
        self._made_is(THETA0, base)
        if self.recipe.goes_on:
            about = {"tuned_on": "unlabelled speech", "method": "stable"}
            self._made_is(
                f"finetuned-{GONE_ON}", self.pretrain(base), _role("finetuned", 1) | about
            )
            self._merges(GONE_ON, THETA0, seed)
        for section in self.recipe.finetune:
            name = self.recipe.name_of(section)
            self._finetune(section, name, seed)
            self._merges(name, section.of or THETA0, seed)
        sources = list(self.encoders.values())
        if self.recipe.analyze is not None:
            values = _given(self.recipe.analyze) | {
                "base": base.path,
                "encoders": self.specs[1:],
                "data": self._data(self.recipe.analyze),
                "seed": seed,
            }
            self._add(f"seed-{seed}/analyze", "analyze", values, sources)
        evaluation = self.recipe.evaluate
        values = _given(evaluation, "sweep", "sweep_tasks") | {
            "encoders": self.specs,
            "data": self._data(evaluation),
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

    def _finetune(self, section: FinetuneSection, name: str, seed: int) -> None:
        start = self._start(section.of or THETA0, name)
        values = _given(section, "name", "of") | {
            "encoder": start.path,
            "data": self._data(section),
            "seed": seed,
        }
        job = self._add(f"seed-{seed}/finetune-{name}", "finetune", values, [start])
        assert isinstance(job.settings, FinetuneSettings)
        own_name = "" if name == folder_name(job.settings.tasks) else name
        about = {"tuned_on": job.settings.task, "method": job.settings.method}
        take = TAKEN[self.recipe.merge[0].take]
        if take not in job.settings.kept:
            raise SettingsError(
                f"the fine-tuning {name!r} keeps no {take}",
                where="merge.take",
                expected=" or ".join(
                    one for one, kept in TAKEN.items() if kept in job.settings.kept
                ),
                hint="set ema, or average_last, in its section",
            )
        if job.settings.patience and job.settings.keep_at:
            raise SettingsError(
                f"the fine-tuning {name!r} may end before it keeps an encoder that is evaluated",
                where="recipe, finetune",
                found="patience beside keep_at",
                hint="take one of them away",
            )
        early = map(early_name, job.settings.keep_at)
        parts = {"": take} | {part.removeprefix(LAST): part for part in early}
        for suffix, part in parts.items():
            named = {"name": f"{name}{suffix}" if suffix else own_name}
            about = _role("finetuned", 1) | about | named
            self._made_is(f"finetuned-{name}{suffix}", encoder_of(job, part), about)

    def _merges(self, name: str, start: str, seed: int) -> None:
        """Add the merges, and the sweeps, for which a fine-tuning is the last to be there."""
        self.start[name] = start
        for section in self.recipe.merge:
            group = section.of or (name,)
            if name in group and set(group) <= set(self.start):
                merged = self._merge(section, group, seed)
                if len(group) == 1:
                    self._sweep(section, name, merged)

    def _merge(self, section: MergeSection, group: Sequence[str], seed: int) -> str:
        """Merge what starts from one encoder, and give the name of the result."""
        starts = {self.start[name] for name in group}
        if len(starts) > 1:
            raise SettingsError(
                "only what starts from one encoder is merged",
                where="merge",
                found=", ".join(f"{name} from {self.start[name]}" for name in group),
            )
        base = self.encoders[starts.pop()]
        tuned = [self.encoders[f"finetuned-{name}"] for name in group]
        alone = section.name if section.of else f"{group[0]}-{section.name}"
        name = str(alone) if section.name else "-".join(group)
        if f"merged-{name}" in self.encoders:
            raise SettingsError(
                f"two merges are named {name!r}", where="merge", hint="give one of them a name"
            )
        labels = {}
        if section.heads == "refit" and len(group) == 1:
            one = next(s for s in self.recipe.finetune if self.recipe.name_of(s) == group[0])
            labels = {"data": self._data(one), "task": one.task}
        values: dict[str, Any] = labels | _given(section, "take", "name", "of")
        values |= {"base": base.path, "tuned": [one.path for one in tuned], "seed": seed}
        sources, alpha = [base, *tuned], values.get("alpha")
        if AUTO in (alpha if isinstance(alpha, list) else [alpha]) and not values.get("chosen"):
            sources.append(self._alpha(section, name, group, values, sources))
            values = {key: value for key, value in values.items() if key not in CHOOSING}
            values["chosen"] = sources[-1].path
        job = self._add(f"seed-{seed}/merge-{name}", "merge", values, sources)
        assert isinstance(job.settings, MergeSettings)
        roles = [self.plan.roles[f"finetuned-{one}"] for one in group]
        known = {"merge_method": job.settings.method, "alpha": _alpha(job.settings)}
        if len(roles) == 1:
            about = {**roles[0], **({"name": name} if section.name else {})}
        else:
            about = {"tuned_on": ",".join(r["tuned_on"] for r in roles), "name": name}
        self._made_is(f"merged-{name}", encoder_of(job), about | known | {"role": "merged"})
        return name

    def _alpha(
        self,
        section: MergeSection,
        name: str,
        group: Sequence[str],
        values: dict[str, Any],
        ends: Sequence[Source],
    ) -> Source:
        """Add the job that chooses the alpha of a merge; give the file of its choice."""
        where, data = "recipe, merge", self._data(section)
        plain = {k: v for k, v in values.items() if k not in ("heads", "task", "refit")}
        merging = parse_settings(MergeSettings, {**plain, "data": data, "out": "."}, where=where)
        tuned_on = ",".join(self.plan.roles[f"finetuned-{one}"]["tuned_on"] for one in group)
        own = merging.by == "similarity" or "source" in merging.choose
        settings = alpha_settings(merging, Path(), **({} if own else {"source": tuned_on}))
        chosen = settings.model_dump(mode="json", exclude_unset=True, exclude={"out"})
        job = self._add(f"seed-{values['seed']}/alpha-{name}", "alpha", chosen, ends)
        return encoder_of(job, CHOICE)

    def _sweep(self, section: MergeSection, name: str, merged: str) -> None:
        """Add the points between θ0 and θ' that nothing else evaluates; they stay in memory."""
        about = self.plan.roles[f"merged-{merged}"]
        known = {0.0, 1.0} | ({about["alpha"]} if about["merge_method"] == "linear" else set())
        tasks = list(self.recipe.evaluate.sweep_tasks)
        for alpha in self.recipe.evaluate.sweep:
            if alpha in known:
                continue
            label = f"{merged}@{alpha:g}"
            own = {"encoder": label, "alpha": alpha, "merge_method": "linear", "main": False}
            self.plan.roles[label] = about | own
            spec: dict[str, Any] = {
                "name": label,
                "base": self.encoders[self.start[name]].path,
                "tuned": self.encoders[f"finetuned-{name}"].path,
                "alpha": alpha,
                "allow_extrapolation": section.allow_extrapolation,
            }
            self.specs.append(spec | ({"tasks": tasks} if tasks else {}))

    def _start(self, name: str, section: str) -> Source:
        if name not in self.encoders:
            raise SettingsError(
                f"no section before makes {name!r}",
                where=f"recipe, finetune of {section!r}",
                expected=", ".join(self.encoders),
                hint=did_you_mean(name, self.encoders),
            )
        return self.encoders[name]

    def _made_is(self, name: str, source: Source, about: Mapping[str, Any] | None = None) -> None:
        """Take note of an encoder, to be evaluated, and of its role where that is not known yet."""
        self.encoders[name] = source
        self.specs.append({"name": name, "path": source.path})
        if about is not None:
            self.plan.roles[name] = {**about, "encoder": name}

    def _data(self, section: Any) -> Any:
        return section.data or self.recipe.data

    def _add(
        self, name: str, verb: str, values: Mapping[str, Any], sources: Sequence[Source]
    ) -> Job:
        folder = self.plan.out if verb == "report" else self.plan.out / name
        where = f"recipe, {verb}"
        known = [*sources, *self.absent]
        return self.plan.graph.add(name, verb, values, known, lambda _: folder, where, _ONE_ALPHA)


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

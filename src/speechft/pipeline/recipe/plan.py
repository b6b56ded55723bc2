"""From a recipe to the list of steps, each with its settings, folder and parents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from speechft.core.errors import SettingsError
from speechft.core.files import hash_file, hash_json
from speechft.core.settings import Settings, parse_settings
from speechft.encoders.formats.locate import packaged_weights
from speechft.merging.alpha import check_range, is_sweep, parse_alpha
from speechft.merging.methods import METHODS
from speechft.merging.settings import MergeSettings
from speechft.merging.stage import merge
from speechft.pipeline.evaluation import evaluate
from speechft.pipeline.recipe.keys import inputs_of, portable, result_values
from speechft.pipeline.recipe.settings import FinetuneSection, RunSettings
from speechft.pipeline.recipe.steps import Plan, Step
from speechft.probing.plans import check_plans
from speechft.probing.result_files import RESULTS
from speechft.probing.settings import EvaluateSettings
from speechft.reporting.settings import ReportSettings
from speechft.reporting.stage import report
from speechft.tasks import TASKS
from speechft.training.finetune.settings import FinetuneSettings
from speechft.training.finetune.stage import finetune, task_names
from speechft.training.pretrain.settings import PretrainSettings
from speechft.training.pretrain.stage import pretrain

S = TypeVar("S", bound=Settings)
ENCODER = "encoder"


def make_plan(recipe: RunSettings, out: Path) -> Plan:
    """Give the steps of a recipe; every setting of every stage is checked here, before any runs.

    Args:
        recipe: the recipe.
        out: the run's folder.

    Raises:
        SettingsError: a stage's settings, a task or a merge method do not exist or do not fit.
    """
    _check_names(recipe)
    builder = _Builder(recipe, out)
    base = recipe.encoder or builder.pretrain()
    for seed in recipe.seeds:
        builder.seed(seed, base)
    builder.report()
    steps, roles = tuple(builder.steps.values()), tuple(builder.roles.values())
    return Plan(out, steps, roles, _packaged(recipe.encoder))


class _Builder:
    """Adds step after step; a step's key is made from the keys of its parents."""

    def __init__(self, recipe: RunSettings, out: Path) -> None:
        self.recipe, self.out = recipe, out
        self.steps: dict[str, Step] = {}
        self.roles: dict[str, dict[str, Any]] = {"pretrained": _role("pretrained", alpha=0)}

    def pretrain(self) -> str:
        """Add the pre-training, once for all seeds; give its encoder."""
        section = self.recipe.pretrain
        values = _given(section) | {"data": self._data(section), "out": self.out / "pretrain"}
        settings = _checked(PretrainSettings, values, "pretrain")
        product = settings.out / ENCODER
        self._add("pretrain", "pretrain", settings, product, (), partial(pretrain, settings))
        return str(product)

    def seed(self, seed: int, base: str) -> None:
        """Add the steps of one seed."""
        home = self.out / f"seed-{seed}"
        encoders: list[dict[str, Any]] = [{"name": "pretrained", "path": base}]
        parents = ["pretrain"] if self.recipe.pretrain else []
        for section in self.recipe.finetune:
            name = self.recipe.name_of(section)
            tuned = self._finetune(section, name, seed, base, home)
            merged = self._merge(name, seed, base, tuned, home)
            encoders += [
                {"name": f"finetuned-{name}", "path": str(tuned)},
                {"name": f"merged-{name}", "path": str(merged)},
                *self._sweep(name, base, tuned),
            ]
            parents += [f"seed-{seed}/finetune-{name}", f"seed-{seed}/merge-{name}"]
        evaluation = self.recipe.evaluate
        values = _given(evaluation, "sweep", "sweep_tasks") | {
            "encoders": encoders,
            "data": evaluation.data or self.recipe.data,
            "seeds": (seed,),
            "out": home / "evaluate",
        }
        settings = _checked(EvaluateSettings, values, "evaluate")
        check_plans(settings)
        step = f"seed-{seed}/evaluate"
        product = settings.out / RESULTS
        self._add(step, "evaluate", settings, product, tuple(parents), partial(evaluate, settings))

    def report(self) -> None:
        """Add the report over all seeds."""
        values = _given(self.recipe.report) | {"runs": [self.out], "out": self.out}
        values.setdefault("title", self.recipe.name)
        settings = _checked(ReportSettings, values, "report")
        parents = tuple(name for name, step in self.steps.items() if step.verb == "evaluate")
        product = self.out / "report.html"
        self._add("report", "report", settings, product, parents, partial(report, settings))

    def _finetune(
        self, section: FinetuneSection, name: str, seed: int, base: str, home: Path
    ) -> Path:
        values = _given(section, "name") | {
            "encoder": base,
            "data": self._data(section),
            "seed": seed,
            "out": home / f"finetune-{name}",
        }
        settings = _checked(FinetuneSettings, values, f"finetune {name}")
        product = settings.out / ENCODER
        parents = ("pretrain",) if self.recipe.pretrain else ()
        step = f"seed-{seed}/finetune-{name}"
        self._add(step, "finetune", settings, product, parents, partial(finetune, settings))
        self.roles[f"finetuned-{name}"] = self._tuned_role("finetuned", name, settings, alpha=1)
        return product

    def _merge(self, name: str, seed: int, base: str, tuned: Path, home: Path) -> Path:
        values = _given(self.recipe.merge) | {
            "base": base,
            "tuned": [str(tuned)],
            "seed": seed,
            "out": home / f"merge-{name}",
        }
        settings = _checked(MergeSettings, values, "merge")
        METHODS[settings.method].check(settings.parameters, len(settings.tuned))
        step, parents = f"seed-{seed}/merge-{name}", (f"seed-{seed}/finetune-{name}",)
        product = settings.out / "config.json"
        self._add(step, "merge", settings, product, parents, partial(merge, settings))
        about = {"merge_method": settings.method, "alpha": _alpha(settings)}
        self.roles[f"merged-{name}"] = (
            self.roles[f"finetuned-{name}"]
            | about
            | {
                "encoder": f"merged-{name}",
                "role": "merged",
            }
        )
        return settings.out

    def _sweep(self, name: str, base: str, tuned: Path) -> list[dict[str, Any]]:
        """Give the points between θ0 and θ' that nothing else evaluates; they stay in memory."""
        merged = self.roles[f"merged-{name}"]
        known = {0.0, 1.0} | ({merged["alpha"]} if merged["merge_method"] == "linear" else set())
        tasks = list(self.recipe.evaluate.sweep_tasks) or None
        specs = []
        for alpha in self.recipe.evaluate.sweep:
            if alpha in known:
                continue
            label = f"{name}@{alpha:g}"
            self.roles[label] = merged | {
                "encoder": label,
                "alpha": alpha,
                "merge_method": "linear",
                "main": False,
            }
            spec: dict[str, Any] = {
                "name": label,
                "base": base,
                "tuned": str(tuned),
                "alpha": alpha,
            }
            spec["allow_extrapolation"] = self.recipe.merge.allow_extrapolation
            specs.append(spec | ({"tasks": tasks} if tasks else {}))
        return specs

    def _tuned_role(
        self, role: str, name: str, settings: FinetuneSettings, alpha: float
    ) -> dict[str, Any]:
        about = _role(role, alpha) | {"encoder": f"{role}-{name}", "tuned_on": settings.task}
        own_name = "" if name == "-".join(settings.tasks) else name
        return about | {"method": settings.method, "name": own_name}

    def _data(self, section: Any) -> str:
        return str(section.data or self.recipe.data)

    def _add(
        self,
        name: str,
        verb: str,
        settings: Settings,
        product: Path,
        parents: tuple[str, ...],
        run: Callable[[], object],
    ) -> None:
        folder = self.out if verb == "report" else self.out / name
        plain = portable(result_values(settings), self.out)
        keys = [self.steps[parent].key for parent in parents]
        key = hash_json([verb, plain, keys, inputs_of(plain)])
        costly = verb in ("pretrain", "finetune")
        self.steps[name] = Step(name, verb, settings, folder, product, key, parents, costly, run)


def _packaged(encoder: str | None) -> str:
    """Hash the weights of a packaged encoder; empty for any other."""
    weights = packaged_weights(encoder)
    return "" if weights is None else hash_file(weights)


def _check_names(recipe: RunSettings) -> None:
    evaluated = recipe.evaluate.model_fields_set and recipe.evaluate.tasks
    tuned = [task for one in recipe.finetune for task in task_names(one.task)]
    for task in [*tuned, *(evaluated or ())]:
        TASKS[task]
    extra = set(recipe.evaluate.sweep_tasks) - set(recipe.evaluate.tasks)
    if extra:
        raise SettingsError(
            f"sweep_tasks names {', '.join(sorted(extra))}, which tasks does not",
            where="evaluate.sweep_tasks",
            expected=", ".join(recipe.evaluate.tasks),
        )


def _given(section: Any, *without: str) -> dict[str, Any]:
    """Give what the recipe says itself; the rest keeps the stage's defaults."""
    if section is None:
        return {}
    values = section.model_dump(mode="json", exclude_unset=True)
    return {key: value for key, value in values.items() if key not in (*without, "data")}


def _checked(kind: type[S], values: Mapping[str, Any], where: str) -> S:
    return parse_settings(kind, values, where=f"recipe, {where}")


def _alpha(settings: MergeSettings) -> float | None:
    """Give the one alpha of a merge; none where it differs between tensors."""
    default = METHODS[settings.method].default_alpha
    texts = settings.alpha_texts()
    if any(is_sweep(text) for text in texts):
        raise SettingsError(
            "a recipe merges with one alpha",
            where="merge.alpha",
            found=", ".join(texts),
            hint="list further ones in evaluate.sweep: [0.1, 0.5, 0.75]",
        )
    rules = parse_alpha(texts, default)  # an alpha that cannot be read shows up here
    if not settings.allow_extrapolation:
        check_range(rules.values)
    if not texts:
        return default
    try:
        return float(texts[0]) if len(texts) == 1 else None
    except ValueError:
        return None


def _role(role: str, alpha: float) -> dict[str, Any]:
    return {"encoder": role, "role": role, "alpha": alpha}

"""From a recipe to the list of steps, each with its settings, folder and parents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from speechft.core.errors import SettingsError
from speechft.core.files import hash_file, hash_json
from speechft.core.settings import Settings, parse_settings
from speechft.data.manifests import SUFFIXES as MANIFESTS
from speechft.encoders.checkpoints.locate import locate, packaged_weights
from speechft.merging.alpha import is_sweep, parse_alpha
from speechft.merging.methods import METHODS
from speechft.stages.evaluate import EvaluateSettings, evaluate
from speechft.stages.evaluation.plans import check_plans
from speechft.stages.finetune import FinetuneSettings, finetune, task_names
from speechft.stages.merge import MergeSettings, merge
from speechft.stages.pretrain import pretrain
from speechft.stages.pretraining.settings import PretrainSettings
from speechft.stages.report import ReportSettings, report
from speechft.stages.reporting.records import RESULTS
from speechft.stages.running.contents import Contents, data_of
from speechft.stages.running.recipe import FinetuneSection, RunSettings
from speechft.tasks import TASKS

S = TypeVar("S", bound=Settings)
ENCODER = "encoder"
NEUTRAL = {"workers", "store", "store_gb", "cache_gb", "device", "threads", "save_every"}
NEUTRAL |= {"keep", "launcher", "slurm"}
_INPUTS = (".bin", ".pt", *MANIFESTS)


@dataclass(frozen=True)
class Step:
    """One stage with one folder.

    Attributes:
        name: relative to the run's folder ("seed-0/finetune-sid").
        verb: the stage.
        settings: its settings.
        folder: what it writes.
        product: the file that is there when it has ended.
        key: changes with the settings, the parents and the content of local inputs.
        parents: names of the steps it needs.
        costly: its result is not thrown away without being asked.
        run: does it.
    """

    name: str
    verb: str
    settings: Settings
    folder: Path
    product: Path
    key: str
    parents: tuple[str, ...]
    costly: bool
    run: Callable[[], object]


@dataclass(frozen=True)
class Plan:
    """All steps of a run in their order, and what each evaluated encoder is.

    Attributes:
        out: the run's folder.
        steps: in the order of their parents.
        roles: records of `encoders.json`: name in the results → role, task, method, alpha.
        packaged: hash of θ0 where it comes with the package, whose next version may hold another.
        contents: hashes of the data, read when they are asked for.
    """

    out: Path
    steps: tuple[Step, ...]
    roles: tuple[dict[str, Any], ...]
    packaged: str = ""
    contents: Contents = field(default_factory=Contents, repr=False, compare=False)

    def content_of(self, step: Step) -> dict[str, str]:
        """Give DATA → hash of what is in it, for all data that a step's result comes from."""
        return self.contents.of(self._data_behind(step))

    def _data_behind(self, step: Step) -> set[str]:
        steps = {one.name: one for one in self.steps}
        behind = [self._data_behind(steps[name]) for name in step.parents]
        return data_of(step.settings).union(*behind)


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
            spec = {"name": label, "base": base, "tuned": str(tuned), "alpha": alpha}
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


def result_values(settings: Settings) -> dict[str, Any]:
    """Give the settings that a result depends on, as plain values."""
    return settings.model_dump(mode="json", exclude=NEUTRAL & set(type(settings).model_fields))


def portable(value: Any, out: Path) -> Any:
    """Write paths inside the run's folder relative to it, so that a run can be moved."""
    if isinstance(value, Mapping):
        return {key: portable(item, out) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [portable(item, out) for item in value]
    if isinstance(value, str) and (value == str(out) or value.startswith(f"{out}/")):
        return "OUT" + value[len(str(out)) :]
    return value


def inputs_of(plain: Mapping[str, Any]) -> dict[str, str]:
    """Hash the local files among the inputs, so that a changed input is noticed."""
    found: dict[str, str] = {}
    given = [plain.get(key) for key in ("encoder", "init", "data", "rehearsal_data")]
    for value in [v for g in given for v in (g.values() if isinstance(g, dict) else [g])]:
        if isinstance(value, str):
            for file in _files_of(Path(value).expanduser()):
                # Two tables of one name in two folders are two inputs.
                name = file.name if file.name not in found else str(file)
                found[name] = hash_file(file)
    return found


def _packaged(encoder: str | None) -> str:
    """Hash the weights of a packaged encoder; empty for any other."""
    weights = packaged_weights(encoder)
    return "" if weights is None else hash_file(weights)


def _files_of(path: Path) -> list[Path]:
    """Give an input's files: weights of an encoder, manifests of a folder of cuts, or one file."""
    if not path.is_dir():
        return [path] if path.is_file() else []
    path = locate(path)  # a run's folder stands for the encoder in it
    weights = sorted(path.glob("*.safetensors"))
    return weights or sorted(f for f in path.iterdir() if f.name.endswith(_INPUTS) and f.is_file())


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
    parse_alpha(texts, default)  # an alpha that cannot be read shows up here
    if not texts:
        return default
    try:
        return float(texts[0]) if len(texts) == 1 else None
    except ValueError:
        return None


def _role(role: str, alpha: float) -> dict[str, Any]:
    return {"encoder": role, "role": role, "alpha": alpha}

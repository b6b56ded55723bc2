"""The recipe: one strict YAML file whose sections are the stages' own settings.

It lies where the user says, or comes along with the package, and shares parts with others.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_type_hints

from pydantic import Field, create_model, field_validator, model_validator

from speechft.analysis.settings import AnalyzeSettings
from speechft.core.errors import SettingsError
from speechft.core.nearest_names import did_you_mean
from speechft.core.paths import home_expanded
from speechft.core.settings import (
    Listed,
    PathText,
    Settings,
    apply_overrides,
    as_list,
    fill,
    parse_settings,
)
from speechft.core.yaml12 import read_yaml
from speechft.data.identity import AudioName, DataName
from speechft.encoders.identity import EncoderName
from speechft.merging.settings import MergeSettings
from speechft.probing.settings import EvaluateSettings
from speechft.reporting.settings import ReportSettings
from speechft.tasks import DEFAULT
from speechft.training.finetune.settings import (
    FinetuneSettings,
    Take,
    folder_name,
    task_names,
    with_columns,
)
from speechft.training.pretrain.settings import InitName, PretrainSettings

EXTENDS: Final = "extends"


def packaged() -> dict[str, Path]:
    """Give the packaged recipes by name (`paper/asr`); a file without a `name` is none."""
    root = _root()
    paths = sorted(root.rglob("*.yaml"), key=lambda path: (len(path.parts), path))
    files = {path.relative_to(root).with_suffix("").as_posix(): path for path in paths}
    return {name: path for name, path in files.items() if "name" in read_yaml(path)}


def _root() -> Path:
    return Path(str(resources.files("speechft"))) / "recipes"


def find_recipe(recipe: Path | str) -> Path:
    """Give the file of a recipe: a path, or a packaged recipe's name.

    Raises:
        SettingsError: there is none.
    """
    path, known = home_expanded(recipe), packaged()
    if not path.is_file() and str(recipe) in known:
        return known[str(recipe)]
    if not path.exists() and not path.suffix:
        raise SettingsError(
            "no such recipe",
            where=recipe,
            expected=f"a YAML file, or one of {', '.join(known)}",
            hint=did_you_mean(str(recipe), known),
        )
    return path


def read_recipe(path: Path) -> dict[str, Any]:
    """Read a recipe with what it `extends`: one other file, or a list, the later the stronger.

    These are named without `.yaml`, as from the recipe's own folder or from that of the packaged
    recipes (`paper/asr`), and lie there. Mappings are joined key by key; all else that the recipe
    says takes the place of what they say.

    Raises:
        SettingsError: a file is missing, lies elsewhere, or extends itself.
    """
    return _read(path, ())


def _read(path: Path, before: tuple[Path, ...]) -> dict[str, Any]:
    if path in before:
        raise SettingsError("the recipe extends itself", where=path)
    values = read_yaml(path)
    named = values.pop(EXTENDS, [])
    found: dict[str, Any] = {}
    for name in [named] if isinstance(named, str) else named:
        found = _joined(found, _read(_extended(str(name), path), (*before, path)))
    return _joined(found, values)


def _extended(name: str, path: Path) -> Path:
    for root in (path.parent, _root()):
        other = (root / f"{name}.yaml").resolve()
        if other.is_relative_to(root.resolve()) and other.is_file():
            return other
    raise SettingsError(
        "there is no such recipe to extend",
        where=path,
        expected=f"the name of a file in {path.parent}, or of a packaged recipe, without .yaml",
        found=name,
    )


def _joined(weak: Mapping[str, Any], strong: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        key: _joined(weak[key], value)
        for key, value in strong.items()
        if isinstance(value, Mapping) and isinstance(weak.get(key), Mapping)
    }
    return {**weak, **strong, **both}


def section(kind: type[Settings], title: str, chained: Sequence[str], **further: Any) -> Any:
    """Make the recipe's section of a stage: its settings without those that the chain fills in.

    Args:
        kind: the stage's settings.
        title: name of the new class.
        chained: fields that the chain fills in.
        further: fields of the section alone, as (type, default).
    """
    missing = set(chained) - set(kind.model_fields)
    if missing:
        raise ValueError(f"{kind.__name__} has no field {', '.join(sorted(missing))}")
    hints = get_type_hints(kind, include_extras=True)
    fields: dict[str, Any] = {
        field: (hints[field], copy.copy(about))
        for field, about in kind.model_fields.items()
        if field not in chained
    }
    return create_model(title, __base__=Settings, **fields, **further)


OWN_DATA = (DataName | None, None)
OWN_NAME = (str | None, Field(default=None, pattern=r"^[a-z0-9][a-z0-9-]*$"))
DATA_PER_TASK = (DataName | dict[str, DataName] | None, None)

GONE_ON: Final = "pretraining"

if TYPE_CHECKING:

    class PretrainSection(Settings):
        """Stands for the made class where types are checked."""

        init: str | dict[str, Any] | None = None
        data: str | None = None

    class FinetuneSection(Settings):
        """Stands for the made class where types are checked."""

        task: str
        data: str | dict[str, str] | None = None
        name: str | None = None
        of: str | None = None
        rehearsal_data: str | None = None

    class MergeSection(Settings):
        """Stands for the made class where types are checked."""

        method: str = "linear"
        alpha: float | str | tuple[float | str, ...] | None = None
        chosen: Path | None = None
        tasks: tuple[str, ...] = ()
        data: str | None = None
        gram_data: tuple[str, ...] = ()
        statistics: tuple[Path, ...] = ()
        heads: str = "drop"
        allow_extrapolation: bool = False
        take: Take = "best"
        name: str | None = None
        of: tuple[str, ...] = ()

    class EvaluateSection(Settings):
        """Stands for the made class where types are checked."""

        tasks: tuple[str, ...] = ()
        data: str | dict[str, str] | None = None
        sweep: tuple[float, ...] = ()
        sweep_tasks: tuple[str, ...] = ()
        asr_lm: Path | None = None
        asr_lexicon: Path | None = None

    class AnalyzeSection(Settings):
        """Stands for the made class where types are checked."""

        data: str | None = None

    class ReportSection(Settings):
        """Stands for the made class where types are checked."""

else:
    PretrainSection = section(
        PretrainSettings,
        "PretrainSection",
        ["init", "data", "out"],
        init=(InitName | dict[str, Any] | None, None),
        data=OWN_DATA,
    )
    FinetuneSection = section(
        FinetuneSettings,
        "FinetuneSection",
        ["encoder", "data", "seed", "out"],
        data=DATA_PER_TASK,
        name=OWN_NAME,
        of=(str | None, None),
    )
    MergeSection = section(
        MergeSettings,
        "MergeSection",
        ["base", "tuned", "out", "seed"],
        take=(Take, "best"),
        name=OWN_NAME,
        of=(Annotated[tuple[str, ...], Listed], ()),
    )
    EvaluateSection = section(
        EvaluateSettings,
        "EvaluateSection",
        ["encoders", "data", "seeds", "out"],
        data=DATA_PER_TASK,
        sweep=(Annotated[tuple[float, ...], Listed], ()),
        sweep_tasks=(Annotated[tuple[str, ...], Listed], ()),
    )
    AnalyzeSection = section(
        AnalyzeSettings,
        "AnalyzeSection",
        ["base", "encoders", "data", "seed", "out"],
        data=(AudioName | None, None),
    )
    ReportSection = section(ReportSettings, "ReportSection", ["runs", "out"])


class RunSettings(Settings):
    """A recipe.

    Args:
        name: of the run; its folder is `runs/NAME` unless said otherwise.
        seeds: everything but pre-training is done once per seed.
        encoder: ENCODER, θ0; none where `pretrain` makes it.
        data: DATA for all stages whose section names no other.
        data_root: folder of the corpora, which other texts name as `{data_root}`.
        places: further names that stand for folders or files, to be written as `{NAME}`.
        pretrain: settings of `speechft pretrain`; beside `encoder` it goes on from that, and is
            merged and evaluated as a fine-tuning called `pretraining`.
        finetune: settings of `speechft finetune`, or a list of them; `of` names an encoder that a
            section before has made (`finetuned-NAME`, `merged-NAME`), to start from it and not θ0.
        merge: settings of `speechft merge`, or a list of them, each for every fine-tuning, or for
            those that it names (`of`); several that one entry names are merged together. `take`
            says which encoder of a fine-tuning is merged and evaluated: the `best` on its dev
            split, as the paper's release does, or the `last`.
        evaluate: settings of `speechft evaluate`; `sweep` lists further alphas, probed on
            `sweep_tasks` (all tasks if that is empty).
        analyze: settings of `speechft analyze`, of all encoders beside θ0.
        report: settings of `speechft report`.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seeds: Annotated[tuple[int, ...], Listed] = Field(default=(0,), min_length=1)
    encoder: EncoderName | None = None
    data: DataName | None = None
    data_root: PathText | None = None
    places: dict[str, PathText] = Field(default_factory=dict)
    pretrain: PretrainSection | None = None
    finetune: tuple[FinetuneSection, ...] = ()
    merge: tuple[MergeSection, ...] = (MergeSection(),)
    evaluate: EvaluateSection = Field(default_factory=EvaluateSection)
    analyze: AnalyzeSection | None = None
    report: ReportSection = Field(default_factory=ReportSection)

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, values: Any) -> Any:
        """Put folders in the place of their names."""
        if not isinstance(values, dict) or not isinstance(values.get("places", {}), dict):
            return values
        root = {key: values[key] for key in ("data_root",) if values.get(key) is not None}
        places = fill(values.get("places", {}), root, "places") if root else {}
        places = places or values.get("places", {})
        return fill(values, places | root, "recipe") | ({"places": places} if places else {})

    @field_validator("merge", mode="before")
    @classmethod
    def _one_alone(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value

    @field_validator("finetune", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        sections = [value] if isinstance(value, dict) else value
        if not isinstance(sections, list | tuple):
            return sections
        return [with_columns(one) if isinstance(one, dict) else one for one in sections]

    @model_validator(mode="after")
    def _whole(self) -> RunSettings:
        if self.encoder is None and self.pretrain is None:
            raise ValueError("give either encoder or pretrain, which makes one")
        if self.goes_on and self.pretrain is not None and self.pretrain.init is not None:
            raise ValueError("pretrain goes on from encoder: take its init away, or encoder")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds holds a seed twice")
        if "finetune" in self.model_fields_set and not self.finetune:
            raise ValueError("finetune is empty: take it away to evaluate θ0 alone")
        names = [*([GONE_ON] if self.goes_on else []), *map(self.name_of, self.finetune)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"finetune holds {twice[0]!r} twice; give each a name")
        for one in self.merge:
            if lost := [name for name in one.of if name not in names]:
                near = did_you_mean(lost[0], names)
                raise ValueError(f"merge names {lost[0]!r}, which is no fine-tuning; {near}")
        if len({one.take for one in self.merge}) > 1:
            raise ValueError("take is the same for all merges: it says which θ' is evaluated, too")
        sections = [self.pretrain, *self.finetune, self.evaluate, self.analyze]
        if self.data is None and any(one is not None and not one.data for one in sections):
            raise ValueError("data is missing: give it here, or in every section")
        return self

    @property
    def goes_on(self) -> bool:
        """Tell whether pre-training goes on from the encoder, and makes θ' and not θ0."""
        return self.encoder is not None and self.pretrain is not None

    @staticmethod
    def name_of(one: FinetuneSection) -> str:
        """Give a fine-tuning's name in folders: its own, or its task's (`pr-sid` of several)."""
        return one.name or folder_name(task_names(one.task))


def load_recipe(recipe: Path | str, overrides: Sequence[str] = ()) -> RunSettings:
    """Read a recipe.

    Args:
        recipe: a YAML file, or the name of a packaged recipe ("demo", "paper/asr").
        overrides: `key.sub=value` changes; `evaluate.tasks` and a fine-tuning's `task` drop what
            the recipe says of tasks that they leave out, so that nothing is asked for them.

    Raises:
        SettingsError: no such recipe, or it is wrong; all mistakes are listed at once.
    """
    values = read_recipe(find_recipe(recipe))
    _refuse_strange_places(values, overrides)
    values = _without_left_out(values, overrides)
    return parse_settings(RunSettings, values, where=recipe)


def _refuse_strange_places(values: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Refuse a place of which neither the recipe nor another override says anything."""
    known = list(values.get("places") or ())
    for one in overrides:
        name = one.partition("=")[0].removeprefix("places.")
        if not one.startswith("places.") or name in known:
            continue
        if f"{{{name}}}" not in str([values, overrides]):
            raise SettingsError(
                "the recipe has no such place", where=f"--set {one}", hint=did_you_mean(name, known)
            )


_OF_TASKS: Final = re.compile(r"(evaluate)\.tasks=|(finetune(?:\.\d+)?)\.task=")
_BY_TASK: Final = ("data", "steps", "batch_size", "learning_rates", "select")


def _without_left_out(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Apply overrides, without what the recipe itself says of tasks that these leave out."""
    changed, own = apply_overrides(values, overrides), copy.deepcopy(values)
    for place in [next(filter(None, m.groups())) for m in map(_OF_TASKS.match, overrides) if m]:
        before, after = (_part(one, place.split(".")) for one in (own, changed))
        said = as_list(after.get("tasks", after.get("task")))
        tasks = [str(one) for one in said] if isinstance(said, list | tuple) else []
        for key in _BY_TASK:
            if isinstance(before.get(key), dict):
                before[key] = {k: v for k, v in before[key].items() if k in (*tasks, DEFAULT)}
        if before.get("sweep_tasks"):  # none would mean all
            left = [one for one in as_list(before["sweep_tasks"]) if one in tasks]
            before |= {"sweep_tasks": left} if left else {"sweep_tasks": [], "sweep": []}
        if before.get("asr_lm") and not _take_language_model(tasks):
            before |= {"asr_lm": None, "asr_lexicon": None}
    return apply_overrides(own, overrides)


def _part(values: Any, place: Sequence[str]) -> dict[str, Any]:
    for part in place:
        values = values[int(part)] if isinstance(values, list) else values.get(part) or {}
    return values if isinstance(values, dict) else {}


def _take_language_model(tasks: Sequence[str]) -> bool:
    from speechft.tasks import TASKS

    return any(TASKS[task].takes_language_model for task in tasks)

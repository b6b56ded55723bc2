"""The recipe: one strict YAML file whose sections are the stages' own settings."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from pydantic import Field, create_model, field_validator, model_validator

from speechft.core.errors import SettingsError
from speechft.core.nearest import did_you_mean
from speechft.core.places import home_expanded
from speechft.core.settings import Listed, Settings, apply_overrides, parse_settings
from speechft.core.yaml12 import read_yaml
from speechft.data.identity import DataName
from speechft.encoders.identity import EncoderName
from speechft.merging.settings import MergeSettings
from speechft.probing.settings import EvaluateSettings
from speechft.reporting.settings import ReportSettings
from speechft.training.finetune.settings import (
    FinetuneSettings,
    folder_name,
    task_names,
    with_columns,
)
from speechft.training.pretrain.settings import PretrainSettings


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
DATA_PER_TASK = (DataName | dict[str, DataName] | None, None)

if TYPE_CHECKING:

    class PretrainSection(Settings):
        """Stands for the made class where types are checked."""

        data: str | None = None

    class FinetuneSection(Settings):
        """Stands for the made class where types are checked."""

        task: str
        data: str | dict[str, str] | None = None
        name: str | None = None

    class MergeSection(Settings):
        """Stands for the made class where types are checked."""

        allow_extrapolation: bool = False
        take: Literal["best", "last"] = "best"

    class EvaluateSection(Settings):
        """Stands for the made class where types are checked."""

        tasks: tuple[str, ...] = ()
        data: str | dict[str, str] | None = None
        sweep: tuple[float, ...] = ()
        sweep_tasks: tuple[str, ...] = ()

    class ReportSection(Settings):
        """Stands for the made class where types are checked."""

else:
    PretrainSection = section(PretrainSettings, "PretrainSection", ["data", "out"], data=OWN_DATA)
    FinetuneSection = section(
        FinetuneSettings,
        "FinetuneSection",
        ["encoder", "data", "seed", "out"],
        data=DATA_PER_TASK,
        name=(str | None, Field(default=None, pattern=r"^[a-z0-9][a-z0-9-]*$")),
    )
    MergeSection = section(
        MergeSettings,
        "MergeSection",
        ["base", "tuned", "out", "seed"],
        take=(Literal["best", "last"], "best"),
    )
    EvaluateSection = section(
        EvaluateSettings,
        "EvaluateSection",
        ["encoders", "data", "seeds", "out"],
        data=DATA_PER_TASK,
        sweep=(Annotated[tuple[float, ...], Listed], ()),
        sweep_tasks=(Annotated[tuple[str, ...], Listed], ()),
    )
    ReportSection = section(ReportSettings, "ReportSection", ["runs", "out"])


class RunSettings(Settings):
    """A recipe.

    Args:
        name: of the run; its folder is `runs/NAME` unless said otherwise.
        seeds: everything but pre-training is done once per seed.
        encoder: ENCODER, θ0; none where `pretrain` makes it.
        data: DATA for all stages whose section names no other.
        pretrain: settings of `speechft pretrain`.
        finetune: settings of `speechft finetune`, or a list of them.
        merge: settings of `speechft merge`; `take` says which encoder of a fine-tuning is merged
            and evaluated: the `best` on its dev split, as the paper's release does, or the `last`.
        evaluate: settings of `speechft evaluate`; `sweep` lists further alphas, probed on
            `sweep_tasks` (all tasks if that is empty).
        report: settings of `speechft report`.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seeds: Annotated[tuple[int, ...], Listed] = Field(default=(0,), min_length=1)
    encoder: EncoderName | None = None
    data: DataName
    pretrain: PretrainSection | None = None
    finetune: tuple[FinetuneSection, ...]
    merge: MergeSection = Field(default_factory=MergeSection)
    evaluate: EvaluateSection = Field(default_factory=EvaluateSection)
    report: ReportSection = Field(default_factory=ReportSection)

    @field_validator("finetune", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        sections = [value] if isinstance(value, dict) else value
        if not isinstance(sections, list | tuple):
            return sections
        return [with_columns(one) if isinstance(one, dict) else one for one in sections]

    @model_validator(mode="after")
    def _whole(self) -> RunSettings:
        if (self.encoder is None) == (self.pretrain is None):
            raise ValueError("give either encoder or pretrain, which makes one")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds holds a seed twice")
        if not self.finetune:
            raise ValueError("finetune is empty")
        names = [self.name_of(one) for one in self.finetune]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"finetune holds {twice[0]!r} twice; give each a name")
        return self

    @staticmethod
    def name_of(one: FinetuneSection) -> str:
        """Give a fine-tuning's name in folders: its own, or its task's (`pr-sid` of several)."""
        return one.name or folder_name(task_names(one.task))


def load_recipe(recipe: Path | str, overrides: Sequence[str] = ()) -> RunSettings:
    """Read a recipe.

    Args:
        recipe: a YAML file, or the name of a packaged recipe ("demo").
        overrides: `key.sub=value` changes.

    Raises:
        SettingsError: no such recipe, or it is wrong; all mistakes are listed at once.
    """
    path = find_recipe(recipe)
    values = apply_overrides(read_yaml(path), overrides)
    return parse_settings(RunSettings, values, where=recipe)


def find_recipe(recipe: Path | str) -> Path:
    """Give the file of a recipe: a path, or a packaged recipe's name."""
    path = home_expanded(recipe)
    packaged = {p.stem: p for p in _packaged()}
    if not path.is_file() and str(recipe) in packaged:
        return packaged[str(recipe)]
    if not path.exists() and not path.suffix:
        raise SettingsError(
            "no such recipe",
            where=recipe,
            expected=f"a YAML file, or one of {', '.join(sorted(packaged))}",
            hint=did_you_mean(str(recipe), packaged),
        )
    return path


def _packaged() -> list[Path]:
    """List the packaged recipes; a file that chains no stages is not one."""
    folder = Path(str(resources.files("speechft"))) / "recipes"
    return [p for p in sorted(folder.glob("*.yaml")) if "finetune" in read_yaml(p)]

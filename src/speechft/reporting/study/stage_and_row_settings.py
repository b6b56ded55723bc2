"""The parts of a study: stages, rows of a table, and the findings it is to show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from speechft.core.settings import Settings

Name = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
SCORE: Final = "score"
# What the study itself says to a stage.
OWN: Final = {
    "pretrain": ("init", "seed", "out"),
    "finetune": ("encoder", "seed", "out"),
    "merge": ("base", "tuned", "seed", "out"),
    "evaluate": ("encoders", "seeds", "out"),
    "analyze": ("base", "encoders", "seed", "out"),
}


class StageSpec(Settings):
    """One stage; it is done once for every seed.

    Args:
        name: how rows and other stages refer to it; `NAME/PART` names another encoder that it
            leaves than the usual one (`sid-stable/encoder-at-20`).
        of: what it works on: the encoder that is trained, or those that are merged.
        base: θ0 of a merge.
        pretrain, finetune, merge: settings of that stage; exactly one of the three.
    """

    name: str = Name
    of: tuple[str, ...] = ("theta0",)
    base: str = "theta0"
    pretrain: dict[str, Any] | None = None
    finetune: dict[str, Any] | None = None
    merge: dict[str, Any] | None = None

    @field_validator("of", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_verb(self) -> StageSpec:
        if [self.pretrain, self.finetune, self.merge].count(None) != 2:
            raise ValueError("give exactly one of pretrain, finetune, merge")
        if self.merge is None and len(self.of) != 1:
            raise ValueError("only a merge takes several encoders in `of`")
        if self.merge is None and "base" in self.model_fields_set:
            raise ValueError("only a merge has a base; what is trained is named in `of`")
        check_own(self.verb, getattr(self, self.verb), f"stage {self.name}, ")
        return self

    @property
    def verb(self) -> str:
        """Which stage it is."""
        return next(v for v in ("pretrain", "finetune", "merge") if getattr(self, v) is not None)

    @property
    def parents(self) -> tuple[str, ...]:
        """All encoders that it needs, by their names."""
        return (self.base, *self.of) if self.verb == "merge" else self.of


class RowSpec(Settings):
    """One row of the study's table.

    Args:
        name: how findings refer to it.
        title: for people.
        group: heading above the rows of one kind.
        encoder: the encoder, by its name; or
        choose: candidates, of which the dev splits choose one with the first seed.
        before: the row of θ0 that it is compared with; empty for none.
        tuned: the row of θ' that it is compared with; empty for none.
        x: place on the horizontal axis of a line plot.
        line: which line of the plot it belongs to.
    """

    name: str = Name
    title: str
    group: str = ""
    encoder: str | None = None
    choose: tuple[str, ...] = ()
    before: str = "theta0"
    tuned: str = ""
    x: float | None = None
    line: str = ""

    @model_validator(mode="after")
    def _one_source(self) -> RowSpec:
        if (self.encoder is None) == (not self.choose):
            raise ValueError("give either encoder or choose")
        return self

    @property
    def heading(self) -> str:
        """Its title behind that of its group."""
        return f"{self.group}: {self.title}" if self.group else self.title

    @property
    def candidates(self) -> tuple[str, ...]:
        """The encoders that may stand in the row."""
        return self.choose or (str(self.encoder),)


class FindingSpec(Settings):
    """A finding, and how the study's numbers would show it.

    Args:
        says: the finding, in a sentence.
        published: the figures with which it was published, those known from a summary alone with †;
            without, it is the study's own question.
        pairs: rows of which the first should be better than the second.
        at_least: as good is enough.
        margin: what "as good" means: no more than so many points worse. It is declared before the
            study runs, and needed with `at_least`.
        metric: "score", "score without TASK", or a task and metric ("pr per").
        need: whether all pairs must hold, or more than half of them.
    """

    says: str
    published: str = ""
    pairs: tuple[tuple[str, str], ...] = Field(min_length=1)
    at_least: bool = False
    margin: float = Field(default=0.0, ge=0)
    metric: str = SCORE
    need: Literal["all", "most"] = "all"

    @model_validator(mode="after")
    def _margin_where_as_good_is_enough(self) -> FindingSpec:
        if self.at_least != (self.margin > 0):
            raise ValueError(
                "at_least and margin belong together: as good means no more than so many points "
                f"worse (found at_least {self.at_least}, margin {self.margin:g})"
            )
        return self


def check_own(verb: str, values: Mapping[str, Any], where: str = "") -> None:
    """Refuse settings of a stage that the study itself says.

    Raises:
        ValueError: there is one.
    """
    taken = [key for key in OWN[verb] if key in values]
    if taken:
        raise ValueError(f"{where}{verb}: {taken[0]} is set by the study itself")

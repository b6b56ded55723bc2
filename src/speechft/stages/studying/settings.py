"""What a study is: encoders, stages, rows of a table, and the findings it is to show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from speechft.core.errors import SettingsError
from speechft.core.nearest import did_you_mean
from speechft.core.settings import Settings, apply_overrides, parse_settings, read_yaml
from speechft.metrics.directions import DIRECTIONS
from speechft.stages.finetuning.keeping import BEST, LAST, early_name
from speechft.stages.studying.expand import expand
from speechft.tasks import TASKS

Name = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
FOLDER = "studies"
STAGES = "stages"
USUAL_TASKS = ("pr", "sid", "er", "sf")
# What the study itself says to a stage.
OWN = {
    "pretrain": ("init", "seed", "out"),
    "finetune": ("encoder", "seed", "out"),
    "merge": ("base", "tuned", "seed", "out"),
    "evaluate": ("encoders", "seeds", "out"),
    "analyze": ("base", "encoders", "seed", "out"),
}
# What an analysis measures of a row beside the row of θ0, as if it were a task.
FEATURES = "features"
MEASURES = ("distance", "cka", "cosine", "connectivity")


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
        _check_own(self.verb, getattr(self, self.verb), f"stage {self.name}, ")
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
        published: the figures with which it was published; without, it is the study's own question.
        pairs: rows of which the first should be better than the second.
        at_least: as good is enough.
        metric: "score", or a task and metric ("pr per").
        need: whether all pairs must hold, or more than half of them.
    """

    says: str
    published: str = ""
    pairs: tuple[tuple[str, str], ...] = Field(min_length=1)
    at_least: bool = False
    metric: str = "score"
    need: Literal["all", "most"] = "all"


class StudySettings(Settings):
    """A study.

    Args:
        name: of its folder.
        title: for people.
        about: a paragraph: the question and the setting.
        seeds: every stage and every probe is done once per seed.
        encoders: name → ENCODER; `theta0` is where rows and stages start.
        pretrain, finetune, merge: settings for all stages of that kind.
        evaluate: settings of all evaluations.
        analyze: settings of an analysis of every row beside its row of θ0; none where empty.
        further: tasks that are shown and do not count in the score.
        x_title: what the horizontal axis of the line plot is.
        stages, rows, findings: see there.
    """

    name: str = Name
    title: str
    about: str = ""
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    encoders: dict[str, str] = Field(min_length=1)
    pretrain: dict[str, Any] = Field(default_factory=dict)
    finetune: dict[str, Any] = Field(default_factory=dict)
    merge: dict[str, Any] = Field(default_factory=dict)
    evaluate: dict[str, Any]
    analyze: dict[str, Any] = Field(default_factory=dict)
    further: tuple[str, ...] = ()
    x_title: str = ""
    stages: tuple[StageSpec, ...] = ()
    rows: tuple[RowSpec, ...] = Field(min_length=1)
    findings: tuple[FindingSpec, ...] = ()

    @model_validator(mode="after")
    def _makes_sense(self) -> StudySettings:
        if self.name == STAGES:
            raise ValueError(f"a study cannot be named {STAGES!r}: the stages' folder is")
        for verb in OWN:
            _check_own(verb, getattr(self, verb))
        for what, given in (("seed", self.seeds), ("task", (*self.tasks, *self.further))):
            twice = [one for place, one in enumerate(given) if one in given[:place]]
            if twice:
                raise ValueError(f"the {what} {twice[0]!r} is given twice")
        for finding in self.findings:
            self._check_metric(finding)
        return self

    @model_validator(mode="after")
    def _refers_to_what_is_there(self) -> StudySettings:
        known: dict[str, tuple[str, ...]] = dict.fromkeys(self.encoders, ())
        for stage in self.stages:
            for parent in stage.parents:
                _check_known(parent, known, f"stage {stage.name}")
            if stage.name in known:
                raise ValueError(f"the name {stage.name!r} is taken twice")
            known[stage.name] = self._parts(stage)
        rows = [row.name for row in self.rows]
        if len(set(rows)) != len(rows):
            raise ValueError(f"two rows are named {max(rows, key=rows.count)!r}")
        for row in self.rows:
            for candidate in row.candidates:
                _check_known(candidate, known, f"row {row.name}")
            for other in filter(None, (row.before, row.tuned)):
                _check_known(other, dict.fromkeys(rows, ()), f"row {row.name}")
        for finding in self.findings:
            for one in (name for pair in finding.pairs for name in pair):
                _check_known(one, dict.fromkeys(rows, ()), f"finding {finding.says[:40]!r}")
        return self

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that count in the score."""
        given = self.evaluate.get("tasks", USUAL_TASKS)
        if isinstance(given, str):
            return tuple(part.strip() for part in given.split(",") if part.strip())
        if not isinstance(given, list | tuple) or not all(isinstance(t, str) for t in given):
            raise ValueError(f"evaluate.tasks is no list of tasks (found {given!r})")
        return tuple(given)

    @property
    def measures(self) -> tuple[str, ...]:
        """What is measured of rows beside their rows of θ0."""
        if not self.analyze:
            return ()
        return MEASURES if self.analyze.get("alphas", True) else MEASURES[:-1]

    @property
    def used(self) -> tuple[str, ...]:
        """The ENCODERs that stages and rows begin with."""
        references = [one for stage in self.stages for one in stage.parents]
        references += [one for row in self.rows for one in row.candidates]
        return tuple(self.encoders[n] for n in dict.fromkeys(references) if n in self.encoders)

    def _parts(self, stage: StageSpec) -> tuple[str, ...]:
        """Give the encoders that a stage leaves, as they are named behind its own name."""
        values = {**getattr(self, stage.verb), **(getattr(stage, stage.verb) or {})}
        if stage.verb == "merge":
            return ()
        if stage.verb == "pretrain":
            rounds = values.get("iterations")
            count = len(rounds) if isinstance(rounds, list | tuple) else 0
            return (LAST, *(f"iteration-{n}/{LAST}" for n in range(1, count + 1)))
        shares = values.get("keep_at")
        given = shares if isinstance(shares, list | tuple) else ()
        numbers = [share for share in given if isinstance(share, float)]
        return (LAST, BEST, *(early_name(share) for share in numbers))

    def _check_metric(self, finding: FindingSpec) -> None:
        """Refuse a finding whose metric nothing measures."""
        if finding.metric == "score":
            return
        task, _, metric = finding.metric.partition(" ")
        tasks = (*self.tasks, *self.further)
        known = [f"{t} {m}" for t in tasks if t in TASKS for m in TASKS[t].metrics]
        known += [f"{FEATURES} {measure}" for measure in self.measures]
        with_lm = metric == "wer_lm" and task in tasks and "asr_lm" in self.evaluate
        if finding.metric not in known and not with_lm:
            near = did_you_mean(finding.metric, ["score", *known])
            what = "there is no such metric" if metric not in DIRECTIONS else "nothing measures it"
            raise ValueError(
                f"finding {finding.says[:40]!r}, metric {finding.metric!r}: {what}; {near}"
            )

    @property
    def grouped(self) -> list[RowSpec]:
        """The rows with those of one group together, in the order in which groups appear."""
        groups = list(dict.fromkeys(row.group for row in self.rows))
        return sorted(self.rows, key=lambda row: groups.index(row.group))


def _check_own(verb: str, values: Mapping[str, Any], where: str = "") -> None:
    taken = [key for key in OWN[verb] if key in values]
    if taken:
        raise ValueError(f"{where}{verb}: {taken[0]} is set by the study itself")


def _check_known(reference: str, known: Mapping[str, tuple[str, ...]], where: str) -> None:
    name, slash, part = reference.partition("/")
    if name not in known:
        near = did_you_mean(name, known)
        raise ValueError(f"{where}: nothing before it is named {name!r}; {near}")
    if slash and part not in known[name]:
        near = did_you_mean(part, known[name]) if known[name] else "name it without a part"
        raise ValueError(f"{where}: {name!r} leaves no encoder {part!r}; {near}")


def load_study(study: Path | str, overrides: Sequence[str] = ()) -> StudySettings:
    """Read a study.

    Args:
        study: a YAML file, or the name of one in the folder `studies`.
        overrides: `key.sub=value` changes of the file's own keys.

    Raises:
        SettingsError: no such study, or it is wrong; all mistakes are listed at once.
    """
    path = find_study(study)
    values = expand(apply_overrides(read_yaml(path), overrides), path)
    return parse_settings(StudySettings, values, where=path)


def find_study(study: Path | str) -> Path:
    """Give the file of a study: a path, or a name in the folder `studies`.

    Raises:
        SettingsError: there is none.
    """
    path = Path(study).expanduser()
    named = Path(FOLDER) / f"{study}.yaml"
    if path.is_file() or (not named.is_file() and path.suffix):
        return path
    if named.is_file():
        return named
    known = sorted(p.stem for p in Path(FOLDER).glob("*.yaml"))
    raise SettingsError(
        "no such study",
        where=study,
        expected=f"a YAML file, or one of {', '.join(known)}" if known else "a YAML file",
        hint=did_you_mean(str(study), known) if known else "there is no folder studies/ here",
    )

"""What a study is: encoders, stages, rows of a table, and the findings it is to show."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from speechft.core.nearest_names import did_you_mean
from speechft.core.settings import Settings, as_list
from speechft.encoders.identity import EncoderName
from speechft.metrics.measures import DIRECTIONS
from speechft.probing.settings import SUITES, reference_of
from speechft.reporting.study.stage_and_row_settings import (
    OWN,
    SCORE,
    FindingSpec,
    Name,
    RowSpec,
    StageSpec,
    check_own,
)
from speechft.tasks import TASKS
from speechft.training.finetune.settings import AVERAGE, BEST, EMA, LAST, early_name

STAGES = "stages"
USUAL_TASKS = ("pr", "sid", "er", "sf")
# What an analysis measures of a row beside the row of θ0, as if it were a task.
FEATURES = "features"
MEASURES = ("distance", "cka", "cosine", "connectivity")


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
        hours: verb → hours of processor time that a job usually takes, which `--dry-run` and
            `--hours` go by before any is done.
        columns: name of a further column → its task, and what its probes do otherwise than those
            of `evaluate`; shown beside the tasks, and not counted.
        x_title: what the horizontal axis of the line plot is.
        stages, rows, findings: see there.
    """

    name: str = Name
    title: str
    about: str = ""
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    encoders: dict[str, EncoderName] = Field(min_length=1)
    pretrain: dict[str, Any] = Field(default_factory=dict)
    finetune: dict[str, Any] = Field(default_factory=dict)
    merge: dict[str, Any] = Field(default_factory=dict)
    evaluate: dict[str, Any]
    analyze: dict[str, Any] = Field(default_factory=dict)
    further: tuple[str, ...] = ()
    hours: dict[str, float] = Field(default_factory=dict)
    columns: dict[str, dict[str, Any]] = Field(default_factory=dict)
    x_title: str = ""
    stages: tuple[StageSpec, ...] = ()
    rows: tuple[RowSpec, ...] = Field(min_length=1)
    findings: tuple[FindingSpec, ...] = ()

    @model_validator(mode="after")
    def _makes_sense(self) -> StudySettings:
        if self.name == STAGES:
            raise ValueError(f"a study cannot be named {STAGES!r}: the stages' folder is")
        for verb in OWN:
            check_own(verb, getattr(self, verb))
        if self.evaluate.get("on_leak") == "drop":
            raise ValueError(
                "evaluate.on_leak: drop leaves out what any encoder of a call has heard, and a "
                "study evaluates every encoder by itself: choose mark or refuse"
            )
        for name, column in self.columns.items():
            if not re.fullmatch(r"[a-z0-9-]+", name) or not isinstance(column.get("task"), str):
                raise ValueError(f"the column {name!r} needs a name of small letters, and a task")
        shown = (*self.tasks, *self.further, *self.columns)
        for what, given in (("seed", self.seeds), ("task", shown)):
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
        suite = SUITES.get(str(self.evaluate.get("suite")))
        given = self.evaluate.get("tasks", suite.tasks if suite else USUAL_TASKS)
        if isinstance(given, str):
            return tuple(part.strip() for part in given.split(",") if part.strip())
        if not isinstance(given, list | tuple) or not all(isinstance(t, str) for t in given):
            raise ValueError(f"evaluate.tasks is no list of tasks (found {given!r})")
        return tuple(given)

    @property
    def reference(self) -> str | None:
        """The reference set by which the score is SUPERB_S; none where it is the suite score."""
        return reference_of(str(self.evaluate.get("suite")), self.tasks)

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
        given = as_list(values.get("keep_at"))
        if given and values.get("patience"):
            raise ValueError(
                f"stage {stage.name}: it may end before it keeps an encoder (patience beside "
                "keep_at); take one of them away"
            )
        shares = given if isinstance(given, list | tuple) else ()
        early = (early_name(share) for share in shares if isinstance(share, float))
        averages = {EMA: "ema", AVERAGE: "average_last"}
        return (LAST, BEST, *early, *(n for n, key in averages.items() if values.get(key)))

    def _check_metric(self, finding: FindingSpec) -> None:
        """Refuse a finding whose metric nothing measures."""
        if finding.metric == SCORE:
            return
        task, _, metric = finding.metric.rpartition(" ")
        tasks = (*self.tasks, *self.further)
        known = [f"{t} {m}" for t in tasks if t in TASKS for m in TASKS[t].metrics]
        named = {name: str(column["task"]) for name, column in self.columns.items()}
        known += [f"{n} {m}" for n, t in named.items() if t in TASKS for m in TASKS[t].metrics]
        known += [f"{FEATURES} {measure}" for measure in self.measures]
        known += [without(t) for t in self.tasks if len(self.tasks) > 1]
        with_lm = metric == "wer_lm" and task in tasks and "asr_lm" in self.evaluate
        if finding.metric not in known and not with_lm:
            near = did_you_mean(finding.metric, [SCORE, *known])
            what = "there is no such metric" if metric not in DIRECTIONS else "nothing measures it"
            raise ValueError(
                f"finding {finding.says[:40]!r}, metric {finding.metric!r}: {what}; {near}"
            )

    @property
    def grouped(self) -> list[RowSpec]:
        """The rows with those of one group together, in the order in which groups appear."""
        groups = list(dict.fromkeys(row.group for row in self.rows))
        return sorted(self.rows, key=lambda row: groups.index(row.group))


def without(task: str) -> str:
    """Name the score over all tasks but one: what an encoder is for tasks it was not tuned on."""
    return f"{SCORE} without {task}"


def _check_known(reference: str, known: Mapping[str, tuple[str, ...]], where: str) -> None:
    name, slash, part = reference.partition("/")
    if name not in known:
        near = did_you_mean(name, known)
        raise ValueError(f"{where}: nothing before it is named {name!r}; {near}")
    if slash and part not in known[name]:
        near = did_you_mean(part, known[name]) if known[name] else "name it without a part"
        raise ValueError(f"{where}: {name!r} leaves no encoder {part!r}; {near}")

"""From a study to its jobs.

A job's folder is named by its key, so studies that need the same stage share it, and a changed
setting makes a new folder instead of an old one's ruin.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from speechft.core.errors import SettingsError
from speechft.core.files import read_jsonl
from speechft.pipeline.graph import Graph, Job, Source, encoder_of
from speechft.probing.settings import GRID
from speechft.reporting.study.settings import STAGES, StudySettings
from speechft.reporting.study.stage_and_row_settings import RowSpec, StageSpec
from speechft.training.finetune.settings import folder_name, task_names, with_columns

Choices = dict[str, str]
_PER_TASK: Final = ("data", "steps", "batch_size", "learning_rates", "select")
_OF_ASR: Final = ("asr_lm", "asr_lexicon")


class Builder:
    """Adds a study's jobs to a graph.

    Args:
        study: the study.
        root: folder of all studies.
        graph: gets the jobs.
        threads: of every training, where the study does not say it; digits depend on them.
    """

    def __init__(self, study: StudySettings, root: Path, graph: Graph, threads: int = 1) -> None:
        self.study, self.root, self.graph, self.threads = study, root, graph, threads
        self._stages = {stage.name: stage for stage in study.stages}
        self._known: dict[tuple[str, int], Source] = {}
        self.column_of: dict[Path, str] = {}  # folder of an evaluation → the column that it fills

    def add_jobs(self) -> Choices:
        """Add the study's jobs; give what the dev splits have chosen so far."""
        choosing = [row for row in self.study.rows if row.choose]
        chosen = {row.name: best for row in choosing if (best := self._choose(row)) is not None}
        for seed in self.study.seeds:  # one after the other, so that what is there can be compared
            for row in self.study.grouped:  # a group's encoders mostly share the front end
                encoder = chosen.get(row.name, row.encoder)
                if encoder is not None:
                    self.evaluations(encoder, seed)
                    self.analysis(row, chosen, seed)
        return chosen

    def evaluations(self, reference: str, seed: int, further: bool = True) -> list[Job]:
        """Add what an encoder's results need, and give the jobs that hold them.

        Args:
            reference: name of the encoder.
            seed: of its stages and of the probes.
            further: whether the tasks that do not count in the score are wanted too; these are a
                job of their own, so that a study without them shares the other.

        Raises:
            SettingsError: a stage's settings are wrong.
        """
        wanted = [self.study.tasks, *([self.study.further] if further else [])]
        jobs = [self._evaluation(reference, seed, tasks) for tasks in wanted if tasks]
        for name, column in self.study.columns.items() if further else ():
            own = {key: value for key, value in column.items() if key != "task"}
            job = self._evaluation(reference, seed, (str(column["task"]),), name, own)
            if twin := next((one for one in jobs if one.folder == job.folder), None):
                other = self.column_of.get(twin.folder, column["task"])
                raise SettingsError(
                    f"the column {name!r} measures what {other!r} does",
                    where=f"study {self.study.name}",
                    hint="give it data or settings of its own, or take it away",
                )
            self.column_of[job.folder] = name
            jobs.append(job)
        return jobs

    def analysis(self, row: RowSpec, chosen: Choices, seed: int) -> Job | None:
        """Add the analysis of a row beside its row of θ0, if the study wants one and there is one.

        Raises:
            SettingsError: a stage's settings are wrong.
        """
        encoders = {r.name: chosen.get(r.name, r.encoder) for r in self.study.rows}
        reference, before = encoders[row.name], encoders.get(row.before)
        if not self.study.analyze or None in (reference, before) or reference == before:
            return None
        encoder, base = self._source(str(reference), seed), self._source(str(before), seed)
        values = {
            **self.study.analyze,
            "base": base.path,
            "encoders": [{"name": "encoder", "path": encoder.path}],
        }
        name = f"{reference} beside {before}, seed {seed}"
        return self._job(name, "analyze", "", values, [base, encoder])

    def dev_scores(self, candidates: Sequence[str]) -> dict[str, float] | None:
        """Give the score of every candidate on the dev splits; none while one is out."""
        seed = self.study.seeds[0]
        jobs = {name: self.evaluations(name, seed, further=False) for name in candidates}
        open_ = self.graph.open
        if any(job in open_ for own in jobs.values() for job in own):
            return None
        return {name: self._dev_score(own) for name, own in jobs.items()}

    def _choose(self, row: RowSpec) -> str | None:
        """Choose by the suite score on the dev splits, with the first seed; none while one is out.

        A candidate whose training diverged has lost.
        """
        scores = self.dev_scores(row.choose)
        return None if scores is None else max(scores, key=lambda name: scores[name])

    def _dev_score(self, jobs: Sequence[Job]) -> float:
        if not all(self.graph.is_done(job) for job in jobs):
            return -math.inf
        from speechft.reporting.study.table import dev_score

        score = dev_score(
            [row for job in jobs for row in read_jsonl(job.folder / GRID)], self.study.reference
        )
        return score if math.isfinite(score) else -math.inf

    def _evaluation(
        self, reference: str, seed: int, tasks: tuple[str, ...], column: str = "", own: Any = None
    ) -> Job:
        encoder = self._source(reference, seed)
        values = {
            **_of_tasks(self.study.evaluate, tasks, (*self.study.tasks, *self.study.further)),
            **(own or {}),
            "tasks": tasks,
            "seeds": (seed,),
            "encoders": [{"name": "encoder", "path": encoder.path}],
        }
        name = f"{reference}, seed {seed}, {column or ' '.join(tasks)}"
        return self._job(name, "evaluate", "", values, [encoder])

    def _source(self, reference: str, seed: int) -> Source:
        if (reference, seed) not in self._known:
            name, _, part = reference.partition("/")
            if name in self.study.encoders:
                found = Source(self.study.encoders[name])
            else:
                found = encoder_of(self._stage(self._stages[name], seed), part)
            self._known[reference, seed] = found
        return self._known[reference, seed]

    def _stage(self, stage: StageSpec, seed: int) -> Job:
        sources = [self._source(parent, seed) for parent in stage.parents]
        common = getattr(self.study, stage.verb)
        values: dict[str, Any] = {**common, **(getattr(stage, stage.verb) or {}), "seed": seed}
        if stage.verb != "merge":
            values.setdefault("threads", self.threads)
        label = ""
        if stage.verb == "merge":
            values |= {"base": sources[0].path, "tuned": [s.path for s in sources[1:]]}
            label = str(values.get("method", "linear"))
        elif stage.verb == "finetune":
            values["encoder"] = sources[0].path
            values = with_columns(values)
            tasks = task_names(str(values.get("task", "")))
            label = f"{folder_name(tasks)}-{values.get('method', 'stable')}"
        else:
            values["init"] = sources[0].path
        return self._job(f"{stage.name}, seed {seed}", stage.verb, label, values, sources)

    def _job(
        self, name: str, verb: str, label: str, values: Mapping[str, Any], sources: list[Source]
    ) -> Job:
        def place(key: str) -> Path:
            return self.root / STAGES / "-".join(filter(None, (verb, label, key[:12])))

        where = f"study {self.study.name}, {verb} of {name}"
        hint = "write a stage for each with `for`"
        return self.graph.add(name, verb, values, sources, place, where, hint)


def _of_tasks(
    values: Mapping[str, Any], tasks: Sequence[str], every: Sequence[str]
) -> dict[str, Any]:
    """Leave out what an evaluation's settings say of other tasks of the study than these."""
    others = set(every) - set(tasks)
    result = {k: v for k, v in values.items() if "asr" not in others or k not in _OF_ASR}
    for key in _PER_TASK:
        if isinstance(result.get(key), Mapping):
            result[key] = {k: v for k, v in result[key].items() if k not in others}
    return result

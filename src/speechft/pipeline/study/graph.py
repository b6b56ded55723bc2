"""From a study to its jobs: each a stage with settings, a folder of its own, and parents.

A job's folder is named by a hash of all that its result depends on, so studies that need the same
stage share it, and a changed setting makes a new folder instead of an old one's ruin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from speechft.core.errors import SettingsError
from speechft.core.files import hash_json
from speechft.core.settings import Settings, parse_settings
from speechft.merging.settings import MergeSettings
from speechft.pipeline.recipe.keys import NEUTRAL, inputs_of
from speechft.pipeline.study.job_settings import check, identity_of, of_tasks
from speechft.pipeline.study.jobs import VERBS, Graph, Job
from speechft.probing.cells import VERSION
from speechft.probing.settings import EvaluateSettings
from speechft.reporting.study.settings import STAGES, StudySettings
from speechft.reporting.study.specs import RowSpec, StageSpec
from speechft.training.pretrain.settings import PretrainSettings


@dataclass(frozen=True)
class Source:
    """An encoder: where it lies, what tells it from others, and which job makes it."""

    path: str
    key: str
    job: Path | None = None


class Builder:
    """Adds a study's jobs to a graph.

    Args:
        study: the study.
        root: folder of all studies.
        graph: gets the jobs.
    """

    def __init__(self, study: StudySettings, root: Path, graph: Graph) -> None:
        self.study, self.root, self.graph = study, root, graph
        self._stages = {stage.name: stage for stage in study.stages}
        self._known: dict[tuple[str, int], Source] = {}
        self._identities: dict[str, str] = {}

    def evaluation(self, reference: str, seed: int, further: bool = True) -> Job:
        """Add what an encoder's results need, and give the job that holds them.

        Args:
            reference: name of the encoder.
            seed: of its stages and of the probes.
            further: whether the tasks that do not count in the score are wanted too.

        Raises:
            SettingsError: a stage's settings are wrong.
        """
        job = self._evaluation(reference, seed, False)
        if further and self.study.further:
            job = replace(self._evaluation(reference, seed, True), part=job)
        return self.graph.add(job)

    def _evaluation(self, reference: str, seed: int, further: bool) -> Job:
        encoder = self._source(reference, seed)
        given, tasks = self.study.evaluate, self.study.tasks
        if further:
            tasks += self.study.further
        elif self.study.further:
            given = of_tasks(given, tasks)
        values = {
            **given,
            "tasks": tasks,
            "seeds": (seed,),
            "encoders": [{"name": "encoder", "path": encoder.path}],
        }
        known = {"encoders": [encoder.key]}
        name = f"{reference}, seed {seed}, {' '.join(tasks)}"
        return self._job(name, "evaluate", "", values, known, [encoder])

    def analysis(self, reference: str, before: str, seed: int) -> Job:
        """Add what the comparison of an encoder with θ0 needs, and give the job that holds it.

        Args:
            reference: name of the encoder.
            before: name of θ0.
            seed: of both.

        Raises:
            SettingsError: a stage's settings are wrong.
        """
        encoder, base = self._source(reference, seed), self._source(before, seed)
        values = {
            **self.study.analyze,
            "base": base.path,
            "encoders": [{"name": "encoder", "path": encoder.path}],
        }
        known = {"base": base.key, "encoders": [encoder.key]}
        name = f"{reference} beside {before}, seed {seed}"
        return self.graph.add(self._job(name, "analyze", "", values, known, [base, encoder]))

    def _source(self, reference: str, seed: int) -> Source:
        if (reference, seed) not in self._known:
            self._known[reference, seed] = self._find(reference, seed)
        return self._known[reference, seed]

    def _find(self, reference: str, seed: int) -> Source:
        name, _, part = reference.partition("/")
        if name in self.study.encoders:
            path = self.study.encoders[name]
            return Source(path, self._identity(path))
        stage = self._stages[name]
        job = self._stage(stage, seed)
        inside = part or ("" if stage.verb == "merge" else "encoder")
        folder = job.folder / inside if inside else job.folder
        return Source(str(folder), f"{job.key}/{inside}", job.folder)

    def _stage(self, stage: StageSpec, seed: int) -> Job:
        sources = [self._source(parent, seed) for parent in stage.parents]
        common = getattr(self.study, stage.verb)
        values: dict[str, Any] = {**common, **(getattr(stage, stage.verb) or {}), "seed": seed}
        if stage.verb == "merge":
            values |= {"base": sources[0].path, "tuned": [s.path for s in sources[1:]]}
            known: dict[str, Any] = {"base": sources[0].key, "tuned": [s.key for s in sources[1:]]}
            label = str(values.get("method", "linear"))
        else:
            field_name = "init" if stage.verb == "pretrain" else "encoder"
            values[field_name], known = sources[0].path, {field_name: sources[0].key}
            label = f"{values.get('task', '')}-{values.get('method', 'stable')}".replace(",", "-")
            label = "" if stage.verb == "pretrain" else label
        name = f"{stage.name}, seed {seed}"
        return self.graph.add(self._job(name, stage.verb, label, values, known, sources))

    def _job(
        self,
        name: str,
        verb: str,
        label: str,
        values: Mapping[str, Any],
        known: Mapping[str, Any],
        sources: list[Source],
    ) -> Job:
        kind = VERBS[verb][0]
        where = f"study {self.study.name}, {verb} of {name}"
        settings = parse_settings(kind, {**values, "out": "."}, where=where)
        try:
            check(settings, where)
        except SettingsError as error:
            raise error.at(where) from None
        # Only what is said counts: a setting that a later version adds changes no key.
        said = settings.model_dump(mode="json", exclude_defaults=True, exclude=NEUTRAL | {"out"})
        plain = {**said, **known}
        further = self._further_inputs(settings)
        key = hash_json([verb, plain, inputs_of(plain), *([further] if further else [])])
        folder = self.root / STAGES / "-".join(filter(None, (verb, label, key[:12])))
        plain_values = settings.model_dump(mode="json", exclude_unset=True) | {"out": str(folder)}
        parents = tuple(dict.fromkeys(s.job for s in sources if s.job is not None))
        return Job(name, verb, plain_values, folder, key, parents)

    def _further_inputs(self, settings: Settings) -> dict[str, Any]:
        """Hash what only few stages depend on besides encoder and data; empty for all others."""
        further: dict[str, Any] = {}
        if isinstance(settings, PretrainSettings):
            teachers = [one.teacher for one in settings.iterations]
            return {name: self._identity(name) for name in (settings.front_end, *teachers) if name}
        if isinstance(settings, MergeSettings):
            files = [str(name) for name in (*settings.statistics, *settings.gram_data)]
        elif isinstance(settings, EvaluateSettings):
            files = [str(path) for path in (settings.asr_lm, settings.asr_lexicon) if path]
            further["version"] = VERSION
        else:
            return {}
        return further | {n: found for n in files if (found := inputs_of({"data": n}))}

    def _identity(self, encoder: str) -> str:
        if encoder not in self._identities:
            self._identities[encoder] = identity_of(encoder)
        return self._identities[encoder]


def rows_to_choose(study: StudySettings) -> list[RowSpec]:
    """Give the rows of which the dev splits choose the encoder."""
    return [row for row in study.rows if row.choose]

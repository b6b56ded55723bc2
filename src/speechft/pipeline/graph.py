"""One graph of jobs: a recipe and a study are two ways to write it down.

A job is a verb with settings, a folder and parents. Its key is the identity of its result by all
that it depends on; what its parents will make counts by their keys. Whether it is done is asked of
what lies in its folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from speechft.core.artifact import Artifact, Seen, inputs_of, looking_once, read_object
from speechft.core.errors import SpeechFTError
from speechft.core.paths import beside
from speechft.core.settings import Settings, parse_settings
from speechft.data.identity import DATA_IDS
from speechft.pipeline.job_kinds import STAGES, Stage, check

State = Literal["to do", "resume", "done", "redo"]
DIVERGED: Final = "diverged"
GUARD: Final = "guard"


class Source(NamedTuple):
    """An encoder, or other input of a job: where it lies, and what it is by its maker's key."""

    path: str
    key: str | None = None
    job: Path | None = None


@dataclass(frozen=True)
class Job:
    """One stage with one folder.

    Attributes:
        name: for people ("seed-0/finetune-sid").
        verb: the stage.
        settings: its settings, `out` among them.
        key: changes with all that the result depends on.
        parents: folders of the jobs that must be done before.
    """

    name: str
    verb: str
    settings: Settings
    key: str
    parents: tuple[Path, ...]

    @property
    def folder(self) -> Path:
        """What it writes."""
        folder: Path = self.settings.out  # type: ignore[attr-defined]  # every stage has one
        return folder

    @property
    def stage(self) -> Stage:
        """Its verb."""
        return STAGES[self.verb]

    @cached_property
    def artifact(self) -> Artifact:
        """Its folder as what it depends on, by the content of what its parents have made."""
        return self.stage.artifact(self.settings, None)

    @property
    def note(self) -> dict[str, Any]:
        """What the pipeline has noted of it: seconds, processor, or that its training diverged."""
        return read_object(note_of(self.folder)) or {}

    @property
    def guard(self) -> dict[str, Any]:
        """What may end its training early, which is no part of its key; empty where nothing may."""
        said = self.settings.model_dump(include={"guard", "guard_similarity", "guard_gradient"})
        return said if said.get("guard") == "stop" else {}

    @property
    def has_diverged(self) -> bool:
        """Whether its training came to nothing, under the guard that it has now if by a guard."""
        note = self.note
        return DIVERGED in note and note.get(GUARD, {}) in ({}, self.guard)


def note_of(folder: Path) -> Path:
    """Give the file beside a job's folder where the pipeline notes how it went."""
    return beside(folder, ".json")


def log_of(folder: Path) -> Path:
    """Give the file beside a job's folder that holds all that it says in a process of its own."""
    return beside(folder, ".log")


@dataclass
class Graph:
    """Jobs by folder, parents first; what it has once seen of the disk it does not look up anew."""

    jobs: dict[Path, Job] = field(default_factory=dict)
    _seen: Seen = field(default_factory=Seen, init=False, repr=False)
    _states: dict[Path, State] = field(default_factory=dict, init=False, repr=False)
    _lost: dict[Path, bool] = field(default_factory=dict, init=False, repr=False)

    def add(
        self,
        name: str,
        verb: str,
        values: Mapping[str, Any],
        sources: Sequence[Source],
        place: Callable[[str], Path],
        where: str,
        hint: str = "",
    ) -> Job:
        """Add a job, unless it is there already.

        Args:
            name: for people.
            verb: the stage.
            values: its settings but `out`.
            sources: what of these is an encoder, or another input that a job makes.
            place: gives its folder by its key.
            where: for messages.
            hint: what to do instead of a sweep of merges.

        Raises:
            SettingsError: a setting is wrong.
        """
        stage = STAGES[verb]
        settings = parse_settings(stage.settings, {**values, "out": "."}, where=where)
        check(settings, where, hint)
        known = {source.path: source.key for source in sources if source.key is not None}
        with self.looking():
            key = stage.artifact(settings, known).id
        parents = dict.fromkeys(source.job for source in sources if source.job is not None)
        settings = settings.model_copy(update={"out": place(key)})
        job = Job(name, verb, settings, key, tuple(parents))
        return self.jobs.setdefault(job.folder, job)

    def looking(self) -> AbstractContextManager[None]:
        """Look at every input once while the block runs."""
        return looking_once(self._seen)

    def state(self, job: Job) -> State:
        """Tell where a job stands: to do, begun, done, or made from something else."""
        if job.folder not in self._states:
            with self.looking():
                self._states[job.folder] = self._look(job)
        return self._states[job.folder]

    def is_done(self, job: Job) -> bool:
        """Tell whether a job's result is there."""
        return self.state(job) == "done"

    def is_lost(self, job: Job) -> bool:
        """Tell whether there will be no result, since the job or one before it has diverged."""
        if job.folder not in self._lost:
            before = any(self.is_lost(self.jobs[parent]) for parent in job.parents)
            self._lost[job.folder] = before or job.has_diverged
        return self._lost[job.folder]

    @property
    def open(self) -> list[Job]:
        """The jobs that are neither done nor lost."""
        return [
            job for job in self.jobs.values() if not self.is_done(job) and not self.is_lost(job)
        ]

    def data_of(self, job: Job) -> dict[str, SpeechFTError | None]:
        """Give the DATA that a job reads, and why it cannot be read where that was looked at."""
        settings: Any = job.settings
        marks = [(mark.identify, name) for mark, name in inputs_of(settings)]
        found = {name: self._seen.errors.get((by, name)) for by, name in marks if by in DATA_IDS}
        if isinstance(given := getattr(settings, "data", None), Mapping):  # also for other tasks
            read = {settings.data_of(task) for task in settings.tasks}
            found = {n: e for n, e in found.items() if n in read or n not in given.values()}
        return found

    def refuse_unread(self) -> None:
        """Refuse DATA of open jobs that planning could not read: nobody shall wait for that.

        Raises:
            SpeechFTError: names the data, the jobs, and what is wrong: a folder, column or row.
        """
        found: dict[str, tuple[str, SpeechFTError]] = {}
        for job in self.open:
            for name, error in self.data_of(job).items():
                if error is not None:
                    found.setdefault(name, (f"{job.verb} {job.name}", error))
        if len(found) > 1:
            kind = next(type(error) for _, error in found.values())
            lines = [f"{name}, for {of}: {e.in_a_line()}" for name, (of, e) in found.items()]
            listed = "".join(f"\n    {line}" for line in lines)
            raise kind(f"data cannot be read:{listed}", hint="get it, or name another")
        for name, (of, error) in found.items():
            details = {"expected": error.expected, "found": error.found, "hint": error.hint}
            raise type(error)(error.what, where=f"{error.where or name}, for {of}", **details)

    def refused(self) -> dict[str, list[str]]:
        """Give the costly jobs that are not replaced unasked: name → what differs."""
        return {
            job.name: job.artifact.changes()
            for job in self.jobs.values()
            if job.stage.costly and self.state(job) == "redo" and self._parents_are_done(job)
        }

    def _parents_are_done(self, job: Job) -> bool:
        return all(self.is_done(self.jobs[parent]) for parent in job.parents)

    def _look(self, job: Job) -> State:
        if Artifact(job.folder, job.verb, {}).before is None:
            return "to do"  # without a look at its inputs, which may take minutes
        artifact = job.artifact
        if artifact.empty:
            return "resume" if artifact.begun else "to do"
        if not self._parents_are_done(job):
            return "redo"
        if artifact.done:
            return "done"
        return "resume" if artifact.begun or not artifact.changes() else "redo"


def settings_of(job: Job) -> Mapping[str, Any]:
    """Give a job's settings as plain values, those that were said."""
    return job.settings.model_dump(mode="json", exclude_unset=True)


def encoder_of(job: Job, part: str = "") -> Source:
    """Give the encoder that a job makes, as later jobs name it.

    Args:
        job: the job.
        part: which one, where it leaves several.
    """
    inside = part or job.stage.encoder
    path = job.folder / inside if inside else job.folder
    return Source(str(path), f"{job.key}/{inside}", job.folder)

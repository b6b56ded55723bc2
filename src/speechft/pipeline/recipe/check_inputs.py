"""What the later steps of a run read, looked at before the first one begins.

That is the data that a recipe names: what is here, what is missing, and where to get it; and what
earlier steps leave.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING

from speechft.analysis.alpha.settings import AlphaSettings
from speechft.core.artifact import absent
from speechft.core.errors import CheckpointError, DataError, SettingsError, SpeechFTError
from speechft.core.heard import ANY, Heard
from speechft.core.paths import home_expanded
from speechft.data.corpora import Corpus, corpora
from speechft.data.cuts import audio_files
from speechft.data.data_names import is_synthetic, lies_ready, named_kind, root_and_variant
from speechft.data.identity import corpus_of, heard_in
from speechft.data.load import load_data
from speechft.encoders.identity import heard_of, is_known
from speechft.merging.alpha import UNLABELLED
from speechft.merging.settings import AUTO, MergeSettings
from speechft.pipeline.readings import Reading, by_data, read, readings_of
from speechft.pipeline.recipe.recipe_jobs import Plan
from speechft.pipeline.recipe.settings import RunSettings
from speechft.probing.heard_shares import leaking
from speechft.probing.inputs import DataSet, open_sweeps, read_data
from speechft.probing.leaks import heard_by, refuse_leaks
from speechft.probing.settings import EvaluateSettings
from speechft.tasks import DEFAULT, TASKS, data_of
from speechft.training.finetune.settings import BEST, FinetuneSettings, task_names
from speechft.training.pretrain.settings import PretrainSettings

if TYPE_CHECKING:
    from lhotse.cut import Cut


@dataclass(frozen=True)
class Needed:
    """One DATA of a recipe.

    Attributes:
        data: as it is written.
        tasks: that read it, with labels.
        place: its folder or file; none for speech that is made here.
        variant: of the corpus.
        corpus: the known corpus that it is of.
    """

    data: str
    tasks: tuple[str, ...] = ()
    place: Path | None = None
    variant: str = ""
    corpus: Corpus | None = None

    @property
    def missing(self) -> bool:
        """Tell whether nothing is there, or an empty folder."""
        if self.place is None or self.place.is_file():
            return False
        return not self.place.is_dir() or not any(self.place.iterdir())

    @cached_property
    def lacks(self) -> str:
        """What keeps it from being read, as far as that is told at once; empty if nothing does."""
        if self.missing:
            return self.corpus.source if self.corpus else "no such data"
        try:
            if self.corpus and self.place:
                self.corpus.look(self.place, self.variant, self.tasks)
        except DataError as error:
            return error.in_a_line()
        return ""

    @property
    def hours(self) -> float | None:
        """Hours of speech in the splits that tasks read, as the corpus' makers say."""
        return (self.corpus.hours or None) if self.corpus else None


def needed(recipe: RunSettings) -> list[Needed]:
    """Give the data of all sections with the tasks that read it, each once, in their order."""
    readers: dict[str, dict[str, None]] = {}

    def reads(data: str | dict[str, str] | None, tasks: Sequence[str] = ()) -> None:
        said = data or recipe.data
        if isinstance(said, dict) and tasks:
            for task in tasks:
                if task in said or DEFAULT in said:  # else whoever plans the step says so
                    readers.setdefault(data_of(said, task), {})[task] = None
        elif said is not None:
            for one in said.values() if isinstance(said, dict) else [said]:
                readers.setdefault(one, {}).update(dict.fromkeys(tasks))

    if recipe.pretrain is not None:
        reads(recipe.pretrain.data)
    for tuning in recipe.finetune:
        reads(tuning.data, task_names(tuning.task))
        if tuning.rehearsal_data:
            reads(tuning.rehearsal_data)
    for merge in recipe.merge:
        if merge.alpha == AUTO and merge.chosen is None:
            reads(merge.data, merge.tasks)
        for gathered in merge.gram_data:
            reads(gathered)
    reads(recipe.evaluate.data, recipe.evaluate.tasks)
    if recipe.analyze is not None:
        reads(recipe.analyze.data)
    return [_needed(data, tuple(tasks)) for data, tasks in readers.items()]


def _needed(data: str, tasks: tuple[str, ...]) -> Needed:
    if is_synthetic(data):
        return Needed(data, tasks)
    kind, rest = named_kind(data)
    known = corpora()
    if kind in known:
        return Needed(data, tasks, *root_and_variant(rest), known[kind])
    return Needed(data, tasks, home_expanded(rest))


def refuse_missing(recipe: RunSettings, least: int = 2) -> None:
    """Look for all data, encoders and files of a recipe at once, before any of it is read.

    Args:
        recipe: the recipe.
        least: less data than so much is left to whoever reads it, who says more of one alone.

    Raises:
        DataError: names what is missing, and where to get it.
        CheckpointError, SettingsError: all data is there; an encoder or a file is not.
    """
    data = [one for one in needed(recipe) if one.lacks]
    others = [error for error in absent(recipe) if not isinstance(error, DataError)]
    others += _absent_files(recipe)
    if len(data) < least and not others:
        return
    if len(others) == 1 and not data:
        raise others[0]
    lines = [f"{one.data}: {one.lacks}" for one in data]
    lines += [f"{error.where}: {error.in_a_line()}" for error in others]
    hint = "get it, or name another"
    if recipe.places:
        hint = "say where it is: --set data_root=FOLDER for all, --set places.NAME=FOLDER for one"
        if any(isinstance(error, CheckpointError) for error in others):
            hint += ", --set encoder=ENCODER"
    kind, what = (DataError, "data") if data else (type(others[0]), "something")
    listed = "".join(f"\n    {line}" for line in lines)
    raise kind(f"{what} is missing:{listed}", where=recipe.name, hint=hint)


def _absent_files(recipe: RunSettings) -> list[SpeechFTError]:
    files = [recipe.evaluate.asr_lm, recipe.evaluate.asr_lexicon]
    files += [file for one in recipe.merge for file in (one.chosen, *one.statistics)]
    lost = [file for file in files if file is not None and not file.is_file()]
    return [SettingsError("no such file", where=file, hint="check the path") for file in lost]


def check_inputs(plan: Plan) -> None:
    """Read the data of all steps but the next, which looks for itself before it works for hours.

    Raises:
        DataError: data is missing or broken, or lacks a split or what a task needs.
        SettingsError: unknown corpus; hidden states that there is no room for.
        CheckpointError: the encoder that the run begins with cannot be loaded.
    """
    plan.graph.refuse_unread()
    if any(getattr(step.settings, "on_leak", "") == "refuse" for step in plan.graph.open):
        refuse_leaks(foreseen_leaks(plan))
    seen: dict[Reading, DataSet | None] = {}
    room_checked = False
    for step in plan.graph.open[1:]:
        readings = readings_of(step)
        for key in readings:
            if key not in seen:
                seen[key] = read(*key)
        if isinstance(step.settings, EvaluateSettings) and not room_checked:
            _check_room(step.settings, [d for key in readings if (d := seen[key])], plan.out)
            room_checked = True  # the evaluations of a run differ in nothing that counts here


def foreseen_leaks(plan: Plan) -> list[str]:
    """Say which encoders of a run will have heard what they will be tested on, with labels.

    Of what the run itself tunes files are told by their paths, unless the encoder that it begins
    with has a list of what it heard. Data that is not there yet is left out; a corpus is scanned
    where another step tunes on the same one, or on a table.

    Raises:
        DataError, CheckpointError: data or a list cannot be read.
    """
    planned: dict[Path, Heard] = {}

    def of(name: str) -> Heard:
        made = next((f for f in planned if Path(name).is_relative_to(f)), None)
        if made is not None:
            return planned[made]
        known = is_known(name) or Path(name).expanduser().exists()
        return heard_of(name) if known else Heard(known=False)

    tunings = [s for step in plan.steps if isinstance(s := step.settings, FinetuneSettings)]
    choices = [s for step in plan.steps if isinstance(s := step.settings, AlphaSettings)]
    by_content = any(of(one.encoder).stretches for one in tunings)
    tuned_on = [corpus_of(one.data_of(t)) for one in tunings for t in one.tasks]
    tuned_on += [corpus_of(one.data) for one in choices] + [ANY] * by_content
    found: dict[str, None] = {}
    for step in plan.steps:
        settings = step.settings
        if isinstance(settings, FinetuneSettings):
            heard, dev = _tuned_on(settings, by_content)
            heard |= of(settings.encoder)
            if settings.evaluate_every != 0:
                planned[step.folder / BEST] = heard.chosen_on(dev)  # looked up before its folder
            planned[step.folder] = heard.chosen_on(dev) if settings.patience else heard
        elif isinstance(settings, MergeSettings):
            parents = [settings.base, *settings.tuned]
            parents += [str(settings.chosen)] if settings.chosen else []
            planned[step.folder] = reduce(or_, map(of, parents))
        elif isinstance(settings, AlphaSettings):
            planned[step.folder] = Heard().chosen_on(_chosen_on(settings, by_content))
        elif isinstance(settings, PretrainSettings):
            planned[step.folder] = of(settings.init) if isinstance(settings.init, str) else Heard()
        elif isinstance(settings, EvaluateSettings):
            found |= dict.fromkeys(_leaks_of(settings, of, by_content, tuned_on))
    return list(found)


def _tuned_on(settings: FinetuneSettings, by_content: bool) -> tuple[Heard, Heard]:
    """Give what a fine-tuning trains on, and what its best encoder is chosen on."""
    from speechft.training.finetune.data import read_task

    found = Heard(), Heard()
    for name, spec in zip(settings.tasks, map(settings.data_of, settings.tasks), strict=True):
        if not _is_readable(spec):
            continue
        loaded = load_data(spec)
        drawn = settings.hours, settings.seed, settings.max_seconds
        task = read_task(TASKS[name], loaded, spec, *drawn)
        parts = [_heard_in(cuts, spec, by_content) for cuts in (task.cuts, task.dev)]
        found = found[0] | parts[0], found[1] | parts[1]
    return found


def _chosen_on(settings: AlphaSettings, by_content: bool) -> Heard:
    """Give what labels choose an alpha; similarity reads none."""
    if settings.by == UNLABELLED or not _is_readable(settings.data):
        return Heard()
    read = read_data(settings.data, settings.tasks, hashed=False, longest=settings.max_seconds)
    dev = [cut for task in settings.tasks for cut in read.splits[read.names[task][1]]]
    return _heard_in(dev, settings.data, by_content)


def _heard_in(cuts: Sequence[Cut], spec: str, by_content: bool) -> Heard:
    itself = {file: file for cut in cuts for file in audio_files(cut)}
    return heard_in(cuts, spec, None if by_content else itself)


def _is_readable(data: str) -> bool:
    """Tell whether DATA can be read without being made, though perhaps only in minutes."""
    name, sign, rest = data.partition(":")
    corpus = bool(sign) and name in corpora() and root_and_variant(rest)[0].exists()
    return lies_ready(data) or corpus


def _may_share(data: str, tuned_on: Collection[str]) -> bool:
    """Tell whether DATA may hold what is in one of some corpora."""
    return ANY in (*tuned_on, corpus_of(data)) or corpus_of(data) in tuned_on


def _leaks_of(
    settings: EvaluateSettings,
    of: Callable[[str], Heard],
    by_content: bool,
    tuned_on: Collection[str],
) -> Iterator[str]:
    for data, tasks in by_data(settings).items():
        if not _is_readable(data) or not _may_share(data, tuned_on):
            continue
        read = read_data(
            data, tasks, settings.protocol, hashed=by_content, longest=settings.max_seconds
        )
        for spec in open_sweeps(settings.encoders):
            for task in set(tasks) & set(settings.tasks_of(spec)):
                if words := leaking(read.tested[task].shares(heard_by(spec, of))):
                    yield f"{spec.label} on {task}: {' and '.join(words)}"


def _check_room(settings: EvaluateSettings, read: list[DataSet], out: Path) -> None:
    """Refuse hidden states that do not fit before hours of fine-tuning, not behind them."""
    first = settings.encoders[0].sources[0]
    if Path(first).is_relative_to(out) and not Path(first).exists():
        return  # the run makes it itself, and what size it has is not known yet
    from speechft.encoders import load_encoder
    from speechft.probing.job import find_refused

    refused = find_refused(settings, load_encoder(first), [(data, data.names) for data in read])
    for error in refused.values():
        raise error

"""What an evaluation reads: its encoders, and every task's splits with what is in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import cycle, pairwise
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING

from speechft.core.errors import CheckpointError, DataError, SettingsError, SpeechFTError
from speechft.core.heard import Heard
from speechft.core.limits import LONGEST_SECONDS
from speechft.data.cuts import audio_files
from speechft.data.identity import audio_hashes, audio_key, cuts_id
from speechft.data.load import load_data, refuse_long
from speechft.encoders.identity import context_of, is_sweep_folder, locate
from speechft.merging.alpha import number_text
from speechft.merging.sweep import load_merged, load_point, read_sweep
from speechft.probing.leaks import Tested, heard_by, tested, without_heard
from speechft.probing.settings import EncoderSpec, EvaluateSettings
from speechft.tasks import TASKS, ProtocolName, arranged, check_labels, refuse_empty

if TYPE_CHECKING:
    from lhotse.cut import Cut

    from speechft.encoders import SpeechEncoder

Splits = dict[str, list["Cut"]]


@dataclass(frozen=True, eq=False)
class DataSet:
    """One DATA and the tasks that read it.

    Attributes:
        spec: DATA.
        splits: the cuts of every split that a task needs.
        names: task → its train, dev and test splits (several threes where it has folds).
        ids: split → identity, see `data.identity`.
        audio: split → one key per utterance, equal where what the encoder hears is the same.
        tested: task → what its test splits hold.
        dropped: task → test utterances that were left out, as encoders have heard them with labels.
    """

    spec: str
    splits: Splits
    names: dict[str, list[str]]
    ids: dict[str, str]
    audio: dict[str, list[str]]
    tested: dict[str, Tested]
    dropped: dict[str, int]

    def ids_of(self, task: str) -> dict[str, str]:
        """Give the identities of a task's splits by their parts; folds count from the second on."""
        parts = zip(cycle(("train", "dev", "test")), self.names[task], strict=False)
        return {
            part if n < 3 else f"{part}-{n // 3 + 1}": self.ids[name]
            for n, (part, name) in enumerate(parts)
        }

    def framed(self, tasks: Iterable[str]) -> dict[str, bool]:
        """Give the splits that tasks read, and whether they need frames."""
        framed: dict[str, bool] = {}
        for task in tasks:
            for name in self.names[task]:
                framed[name] = framed.get(name, False) or not TASKS[task].pooled
        return framed

    def label_error(self, task: str, protocol: ProtocolName) -> SpeechFTError | None:
        """Give what is wrong with a task's labels in any split; None where nothing is."""
        try:
            for n in range(0, len(self.names[task]), 3):
                parts = [self.splits[name] for name in self.names[task][n : n + 3]]
                own = TASKS[task].from_cuts(parts[0], protocol)
                for part in parts if own.trains else parts[1:]:
                    check_labels(own, part)
                for part in parts:
                    refuse_empty(own, part)
        except SpeechFTError as error:
            return error
        return None


def fold_numbers(names: Sequence[str]) -> tuple[int, ...]:
    """Give the numbers of a task's folds; 1 of one that is none.

    Args:
        names: of train, dev and test, of every fold.
    """
    found = [re.match(r"fold(\d+)_", name) for name in names[::3]]
    return tuple(int(one[1]) if one else n for n, one in enumerate(found, start=1))


def read_all(settings: EvaluateSettings, only: str | None = None) -> list[DataSet]:
    """Read every DATA of an evaluation, each once.

    Args:
        settings: of the evaluation.
        only: a task; then only its DATA is read, for all the tasks that share it.

    Raises:
        DataError, SettingsError: as `read_data`.
    """
    tasks: dict[str, list[str]] = {}
    for task in settings.tasks:
        tasks.setdefault(settings.data_of(task), []).append(task)
    wanted = list(tasks) if only is None else [settings.data_of(only)]
    heard = None
    if settings.on_leak == "drop":
        heard = reduce(or_, map(heard_by, settings.encoders))
    longest, rules = settings.max_seconds, settings.protocol
    return [read_data(s, tasks[s], rules, longest=longest, heard=heard) for s in wanted]


def read_data(
    spec: str,
    tasks: Sequence[str],
    protocol: ProtocolName = "clean",
    *,
    hashed: bool = True,
    longest: float = LONGEST_SECONDS,
    heard: Heard | None = None,
) -> DataSet:
    """Read a DATA once for all its tasks.

    Args:
        spec: DATA.
        tasks: that read it.
        protocol: "clean" or "s3prl", which arrange some splits differently.
        hashed: read the audio, too; else splits have no identity, and every file counts as another
            audio.
        longest: seconds of an utterance.
        heard: with labels, by any encoder; test utterances in it, or of its speakers, are left out.

    Raises:
        DataError: a split is missing, empty or holds an id twice, an utterance is too long, or
            audio cannot be read.
    """
    splits, names = read_splits(spec, tasks, protocol)
    every = [cut for cuts in splits.values() for cut in cuts]
    refuse_long(spec, every, longest)
    itself = {file: file for cut in every for file in audio_files(cut)}
    content = audio_hashes(every) if hashed else itself
    held = {task: tested(task, splits, own, spec, content) for task, own in names.items()}
    dropped: dict[str, int] = {}
    if heard is not None:
        for task, own in names.items():
            names[task], dropped[task] = without_heard(splits, task, own, held[task], heard)
            held[task] = tested(task, splits, names[task], spec, content)
        splits = {name: splits[name] for name in sorted({n for o in names.values() for n in o})}
    return DataSet(
        spec=spec,
        splits=splits,
        names=names,
        ids={name: cuts_id(cuts, content) for name, cuts in splits.items()} if hashed else {},
        audio={name: [audio_key(cut, content) for cut in cuts] for name, cuts in splits.items()},
        tested=held,
        dropped=dropped,
    )


def read_splits(
    spec: str, tasks: Sequence[str], protocol: ProtocolName = "clean"
) -> tuple[Splits, dict[str, list[str]]]:
    """Read the cuts of every split that a task needs, and each task's names of its splits.

    Raises:
        DataError: a split is missing, empty or holds an id twice.
    """
    loaded = {
        name: sorted(cuts, key=lambda cut: str(cut.id)) for name, cuts in load_data(spec).items()
    }
    splits: Splits = {}
    names: dict[str, list[str]] = {}
    for task in tasks:
        parts = arranged(TASKS[task], loaded, spec, protocol)
        names[task] = [name for name, _ in parts]
        splits |= dict(parts)
    for name in sorted({name for own in names.values() for name in own}):
        if not splits[name]:
            raise DataError(f"the split {name!r} is empty", where=spec, expected="utterances")
    for cuts in splits.values():  # also where a task has changed what is heard, or cut it up
        for one, other in pairwise(sorted(str(cut.id) for cut in cuts)):
            if one == other:
                raise DataError("two utterances have one id", where=spec, found=one)
    return {name: splits[name] for name in sorted(splits)}, names


def open_encoder(spec: EncoderSpec, device: str, context: str | None = None) -> SpeechEncoder:
    """Load an encoder, or merge two in memory; frozen and in evaluation mode.

    Args:
        spec: the encoder.
        device: where it computes.
        context: of Whisper's encoder; any other has none.

    Raises:
        CheckpointError: a checkpoint cannot be read.
        IncompatibleModelsError: the two encoders of an interpolation differ in their tensors.
    """
    if spec.path is not None and spec.alpha is not None:
        encoder = load_point(spec.path, spec.alpha, device=device)
    elif spec.path is not None:
        from speechft.encoders import load_encoder  # planning reads data, and needs no models

        encoder = load_encoder(spec.path, device=device)
    else:
        ends = str(spec.base), str(spec.tuned)
        encoder = load_merged(*ends, float(spec.alpha or 0), device=device)
    if encoder.contexts:
        encoder.use_context(context)
    return encoder.eval().requires_grad_(False)


def refuse_two_contexts(specs: Sequence[EncoderSpec], context: str | None) -> None:
    """Refuse to compare encoders of which some see 30 s and others their utterance alone.

    Raises:
        SettingsError: the encoders' folders say different contexts, and the call says none.
    """
    found = {spec.label: context_of(_tuned(spec)) for spec in specs}
    if context is None and len({one for one in found.values() if one}) > 1:
        raise SettingsError(
            "one call has one context, and these encoders have two",
            where="context",
            found=", ".join(f"{name}: {one}" for name, one in found.items() if one),
            hint="say which: --set context=30s or --set context=utterance",
        )


def _tuned(spec: EncoderSpec) -> str:
    """Give the encoder whose context a point between encoders takes; a stored one itself."""
    if spec.path is not None and is_sweep_folder(spec.path):
        return read_sweep(Path(spec.path)).tuned[0].path
    return str(spec.path or spec.tuned)


def open_sweeps(specs: Sequence[EncoderSpec]) -> tuple[EncoderSpec, ...]:
    """Put the points of a sweep in the place of the sweep.

    Raises:
        SettingsError: an encoder has an alpha but is no sweep.
        CheckpointError: a sweep's description cannot be read.
    """
    opened: list[EncoderSpec] = []
    for spec in specs:
        sweep = spec.path is not None and is_sweep_folder(spec.path)
        if spec.path is not None and spec.alpha is not None and not sweep:
            raise SettingsError(
                "only a sweep takes an alpha of its own",
                where=spec.path,
                expected="a folder written by speechft merge --alpha START:STOP:STEP",
                hint="or give base, tuned and alpha",
            )
        if not sweep or spec.alpha is not None:
            opened.append(spec)
            continue
        for alpha in read_sweep(Path(str(spec.path))).alphas:
            name = f"{spec.name}@{number_text(alpha)}" if spec.name else ""
            opened.append(spec.model_copy(update={"alpha": alpha, "name": name}))
    return tuple(opened)


def refuse_absent(specs: Sequence[EncoderSpec]) -> None:
    """Look for all stored encoders before any of them is worked with; Hub ids are downloaded.

    Whether what is there can be read shows when its turn comes.

    Raises:
        CheckpointError: encoders are not there; all of them are named.
    """
    absent: list[CheckpointError] = []
    sources = dict.fromkeys(source for spec in specs for source in spec.sources)
    for source in sources:
        try:
            locate(source)
        except CheckpointError as error:
            absent.append(error)
    if len(absent) == 1:
        raise absent[0]
    if absent:
        lines = "".join(f"\n    {error.where}: {error.what}" for error in absent)
        raise CheckpointError(
            f"{len(absent)} of {len(sources)} encoders are not there:{lines}",
            expected=absent[0].expected,
            hint=absent[0].hint,
        )

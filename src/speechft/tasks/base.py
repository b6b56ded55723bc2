"""What a task is: the one place where labels, head, loss, decoding and metric meet."""

from __future__ import annotations

import re
import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self

from speechft.core.artifact import hash_values
from speechft.core.errors import CheckpointError, DataError, MissingSplitError, SettingsError
from speechft.core.lengths import HOP
from speechft.core.logging import get_logger
from speechft.core.nearest_names import did_you_mean, nearest
from speechft.core.paths import first_of
from speechft.core.registry import Registry
from speechft.data.cuts import said_cut
from speechft.data.utterances import columns_of
from speechft.tasks.probe_plan import Plan, PublishedPlan, Scheme, TuningPlan

if TYPE_CHECKING:
    from lhotse.cut import Cut
    from lhotse.supervision import SupervisionSegment
    from torch import Tensor, nn

    from speechft.tasks.column_task import ColumnTask

_logger = get_logger(__name__)
Purpose = Literal["probe", "finetune"]
# "clean": exact lengths, every choice on dev. "s3prl": the published benchmark with its quirks.
ProtocolName = Literal["clean", "s3prl"]
# "linear" is for fine-tuning, where the head is one that transformers has, too.
Size = Literal["superb", "mini", "linear"]
# Columns that have a task of their own.
USUAL: Final = ("text", "phonemes", "speaker", "language")


class Task(ABC):
    """One task: its vocabulary or classes are fixed from the training split.

    Class attributes:
        id: short name as on the command line.
        title: name for people.
        pooled: the head takes one vector per utterance, so time means of the hidden states serve it
            exactly.
        metrics: metric names; the first one selects on dev.
        splits: names of the train, dev and test splits that the task prefers; plain `train`, `dev`
            and `test` are used where a corpus lacks them.
        one_class: an utterance has one class, so that there is a confusion matrix.
        target_is_sequence: `target` gives a sequence of labels (CTC), not classes.
        trains: the task trains a head; otherwise it compares hidden states as they are.
        fixed: name and type of what the training split fixes (classes, vocabulary, speakers): the
            constructor's first argument, saved under this name.
        plans: how the probe is trained, by size of the head. Size "mini" is for small encoders and
            corpora of minutes to hours: there a rate that falls to 0 gives better scores and a
            third of the spread between seeds, but not for recurrent heads, which are far from done
            after so few updates. Size "superb" is as SUPERB's configurations say.
        scheme: of the probe's batches.
        spec_augment: a head of size "superb" is trained with SpecAugment on the weighted sum.
        tuned: how the paper's release fine-tunes on the task; where it does not say, as SUPERB
            trains the task's head.
        published: S3PRL's batches, for the protocol "s3prl"; none where S3PRL lacks the task.
        labels_by_frame: S3PRL cuts hidden states to as many frames as there are labels.
        parts_by_protocol: what is heard of a cut depends on the protocol.
        takes_language_model: the test split can be decoded with a lexicon and a language model too.
        corpora: names of the data that SUPERB measures the task on.
        official_items: items of that official test set.
        revisions: protocol → raised by one when the task's results under it have changed.
        answer: what a prediction for a recording is called, see `present`.
        compares: why one recording alone has no prediction; empty where it has one.

    Attributes:
        protocol: whose rules hold; "clean" where nothing else is said.
        hop: samples per frame of the encoder, by which frames have labels; whoever trains or uses
            a head sets it.
        select: the metric that chooses on dev; the task's own if empty.
    """

    id: ClassVar[str]
    title: ClassVar[str]
    pooled: ClassVar[bool]
    metrics: ClassVar[tuple[str, ...]]
    splits: ClassVar[tuple[str, str, str]] = ("train", "dev", "test")
    one_class: ClassVar[bool] = False
    target_is_sequence: ClassVar[bool]
    trains: ClassVar[bool] = True
    fixed: ClassVar[tuple[str, type]]
    plans: ClassVar[Mapping[Size, Plan]]
    scheme: ClassVar[Scheme] = "bucketed"
    spec_augment: ClassVar[bool] = False
    tuned: ClassVar[TuningPlan | None] = None
    published: ClassVar[PublishedPlan | None] = None
    labels_by_frame: ClassVar[bool] = False
    parts_by_protocol: ClassVar[bool] = False
    takes_language_model: ClassVar[bool] = False
    corpora: ClassVar[tuple[str, ...]] = ()
    official_items: ClassVar[int | None] = None
    revisions: ClassVar[Mapping[ProtocolName, int]] = {}
    answer: ClassVar[str] = "value"
    compares: ClassVar[str] = ""
    protocol: ProtocolName
    hop: int = HOP
    select: str = ""

    @abstractmethod
    def __init__(self, fixed: Any, protocol: ProtocolName = "clean") -> None: ...

    @classmethod
    def linear(cls) -> bool:
        """Tell whether the task has a linear head."""
        return cls.pooled or cls.target_is_sequence

    @classmethod
    def arrange(
        cls, data: Mapping[str, Iterable[Cut]], protocol: ProtocolName = "clean"
    ) -> list[tuple[str, list[Cut]]]:
        """Give the splits that the task works on: train, dev, test, each a name and its cuts.

        A task may crop utterances, change their audio or draw its own splits; such a split has a
        name of its own. Several folds give several threes.

        Raises:
            MissingSplitError: a split is not there.
        """
        label = f"{cls.id}-{protocol}" if cls.parts_by_protocol else cls.id
        arranged = []
        for part, name in zip(Task.splits, choose_splits(cls, data), strict=True):
            old = list(data[name])
            new = [heard for cut in old for heard in cls.heard(cut, part, protocol)]
            same = len(old) == len(new) and all(a is b for a, b in zip(old, new, strict=True))
            arranged.append((name if same else f"{name}@{label}", new))
        return arranged

    @classmethod
    def heard(cls, cut: Cut, part: str, protocol: ProtocolName) -> list[Cut]:  # noqa: ARG003
        """Give what is heard of a cut of the part train, dev or test: here the cut itself."""
        return [cut]

    @classmethod
    def without_others(cls, cuts: list[Cut]) -> list[Cut]:
        """Give the utterances that are left of a test split as a test split of their own."""
        return cuts

    @classmethod
    @abstractmethod
    def from_cuts(cls, train: Iterable[Cut], protocol: ProtocolName = "clean") -> Self:
        """Fix the vocabulary or the classes from the training split.

        Raises:
            DataError: the split is empty, or a cut lacks what the task needs.
        """

    def to_dict(self) -> dict[str, Any]:
        """Give plain values that `from_dict` makes the same task of, to be saved beside a head."""
        name = self.fixed[0]
        return {"task": self.id, name: getattr(self, name), "protocol": self.protocol}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make the task of what `to_dict` gave.

        Raises:
            CheckpointError: the values lack what the training split has fixed.
        """
        name, kind = cls.fixed
        if not isinstance(values.get(name), kind):
            raise CheckpointError(f"no {name} for the task {cls.id!r}", found=sorted(values))
        return cls(values[name], values.get("protocol", "clean"))

    @classmethod
    def tuning(cls) -> TuningPlan:
        """Give how a fine-tuning is done as in the paper."""
        probe = cls.plans["superb"]
        return cls.tuned or TuningPlan(probe.steps, probe.batch_size, max(1, probe.steps // 30))

    @property
    def balanced_dev(self) -> bool:
        """Whether dev is scored on a draw in which all classes are equally frequent, as S3PRL's."""
        return self.scheme == "balanced" and self.protocol == "s3prl"

    @property
    def output_size(self) -> int:
        """Number of logits per utterance (C) or frame (V): one for each name that is `fixed`."""
        return len(getattr(self, self.fixed[0]))

    @abstractmethod
    def target(self, cut: Cut) -> Tensor:
        """Give the training target, int64: a label sequence (S,), or classes (G,), one per group.

        Raises:
            DataError: the cut lacks what the task needs, or holds a class unseen in training.
        """

    @abstractmethod
    def reference(self, cut: Cut) -> Any:
        """Give what the metric compares a prediction with."""

    @abstractmethod
    def build_head(self, input_dim: int, *, purpose: Purpose, size: Size) -> nn.Module:
        """Build a fresh head.

        Args:
            input_dim: D, width of the hidden states.
            purpose: "probe" for SUPERB's head on a frozen encoder, "finetune" for the head that
                trains together with the encoder.
            size: "superb" for the published widths, "mini" for small encoders and quick runs;
                "linear", if `linear` says so, for one linear layer (CTC) or two around the mean.

        Returns:
            A module called with (x, lengths): frames (B, T, D) and their lengths (B,); a pooled
            task's head also takes time means (B, D) and None. It gives logits (B, T, V) or (B, C).
        """

    @abstractmethod
    def loss(self, logits: Tensor, lengths: Tensor | None, targets: Sequence[Tensor]) -> Tensor:
        """Give the mean loss over the batch as a scalar, computed in float32.

        Args:
            logits: (B, T, V) or (B, C).
            lengths: valid frames (B,); not used by pooled tasks.
            targets: one `target` per item.
        """

    def weight(self, frames: Sequence[int], targets: Sequence[Tensor]) -> float:
        """Give how many things the mean of the loss is taken over: utterances, unless said.

        Args:
            frames: valid frames of each item.
            targets: one `target` per item.
        """
        del frames
        return float(len(targets))

    @abstractmethod
    def decode(self, logits: Tensor, lengths: Tensor | None) -> list[Any]:
        """Give one prediction per item, of the same kind as `reference`."""

    @abstractmethod
    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Give every metric of the task, in percent."""

    @property
    def leading(self) -> str:
        """The metric that chooses on dev."""
        return self.select or self.metrics[0]

    @classmethod
    def refuse_metric(cls, metric: str) -> None:
        """Refuse a metric that the task does not have; none at all is its own.

        Raises:
            SettingsError: says which it has.
        """
        if metric and metric not in cls.metrics:
            raise SettingsError(
                f"the task {cls.id!r} has no metric {metric!r}",
                where="select",
                expected=", ".join(cls.metrics),
            )

    def selecting(self, metric: str) -> Self:
        """Let another metric choose on dev; the task's own if empty. Raises: `refuse_metric`."""
        self.refuse_metric(metric)
        self.select = metric
        return self

    def choose(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Give the metrics of a dev split; the first one chooses learning rate and update."""
        found = self.score(predictions, references)
        first = self.leading if self.leading in found else next(iter(found))
        return {first: found[first], **found}

    def tune(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, Any]:  # noqa: ARG002
        """Fix on the dev split what decoding still leaves open; gives plain values for the record.

        Called with what the chosen head predicts, before the test split is scored or the head is
        kept. What was fixed before does not count.
        """
        return {}

    def answered(self, predictions: Sequence[Any], references: Sequence[Any]) -> float | None:  # noqa: ARG002
        """Give symbols that are predicted, as a share of those that were said.

        None where the answers are no sequences of symbols.
        """
        return None

    @property
    def tunes(self) -> bool:
        """Whether `tune` fixes something."""
        return type(self).tune is not Task.tune

    @property
    def decides_by(self) -> str:
        """By what `present` decides besides the head, in words; empty where nothing is open."""
        return ""

    def with_language_model(self, lexicon: Path, language_model: Path) -> Task:  # noqa: ARG002
        """Give the same task, decoded with a lexicon and a language model; its metrics say so.

        Raises:
            SettingsError: the task cannot be decoded so.
        """
        raise SettingsError(f"the task {self.id!r} takes no language model")

    def rows(
        self, cuts: Sequence[Cut], references: Sequence[Any], predictions: Sequence[Any]
    ) -> list[dict[str, Any]]:
        """Give the predictions as plain records, to be kept."""
        return [
            {"id": cut.id, "reference": reference, "prediction": prediction}
            for cut, reference, prediction in zip(cuts, references, predictions, strict=True)
        ]

    def present(self, logits: Tensor) -> dict[str, Any]:
        """Give the prediction for a recording under `answer`, and more, as plain values.

        Args:
            logits: of all its frames (T, V), or (C,).
        """
        return {self.answer: self.decode(logits[None], None)[0]}

    def mean(self, logits: Tensor, shares: Tensor) -> Tensor:
        """Give logits (C,) for a recording of those of its windows (W, C) and their shares (W,)."""
        return (shares[:, None] * logits).sum(dim=0)

    def lined_up(self, window: Tensor, before: Tensor, after: Tensor) -> Tensor:  # noqa: ARG002
        """Give a window's logits (T, V) with columns that mean what they meant before it.

        Args:
            window: its logits.
            before: those of the frames that it shares with the one before it (F, V), from there.
            after: those of the same frames from this window.
        """
        return window

    def unreachable(self, lengths: Sequence[int], targets: Sequence[Tensor]) -> int:  # noqa: ARG002
        """Count items whose target cannot be aligned with so few frames (0 but for CTC)."""
        return 0


class _Tasks(Registry[type[Task]]):
    """The tasks; those on a user's column are asked for as `ID:COLUMN`.

    Attributes:
        on_columns: kinds of tasks that need a column; they are no tasks by themselves.
    """

    def __init__(self) -> None:
        super().__init__("task")
        self.on_columns: Registry[type[ColumnTask]] = Registry("task")
        self._made: dict[str, type[Task]] = {}

    def __getitem__(self, name: str) -> type[Task]:
        kind, _, column = name.partition(":")
        if kind not in self.on_columns:
            if name in self:
                return super().__getitem__(name)
            known = [*self, *(f"{own}:COLUMN" for own in self.on_columns)]
            raise SettingsError(f"unknown task {name!r}", hint=did_you_mean(name, known))
        if not column.strip():
            raise SettingsError(
                f"the task {kind!r} needs the name of a column",
                expected=f"{kind}:COLUMN, or --task {kind} --label COLUMN",
                found=name,
            )
        return self._made.setdefault(name, self.on_columns[kind].on(column))

    def __contains__(self, name: object) -> bool:
        kind, _, column = str(name).partition(":")
        return super().__contains__(name) or (kind in self.on_columns and bool(column.strip()))


TASKS: Final = _Tasks()


def file_stem(task: str) -> str:
    """Give a task's name for files: `classify-dialect`; strange columns are told by a hash."""
    plain = task.replace(":", "-", 1)
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", plain)[:60]
    return plain if safe == plain else f"{safe.rstrip('-')}-{hash_values(task)[:8]}"


def name_columns(tasks: Iterable[str], column: object, *, tokens: bool = False) -> list[str]:
    """Give tasks' names with the column that is meant where a name says none.

    Args:
        tasks: their names.
        column: where one is said.
        tokens: the columns of `ctc` hold tokens.

    Raises:
        ValueError: a task is unknown, none takes the column, or none has tokens.
    """
    names, kinds = list(tasks), TASKS.on_columns
    if column is not None:
        if not any(name in kinds for name in names) or "," in str(column):
            if unknown := [name for name in names if name not in kinds and name not in TASKS]:
                near = did_you_mean(unknown[0], [*TASKS, *kinds])
                raise ValueError(f"unknown task {unknown[0]!r}; {near}")
            of = ", ".join(kinds)
            raise ValueError(f"label is the column of a task of {of}, which names none itself")
        names = [f"{name}:{column}" if name in kinds else name for name in names]
    if tokens:
        if not any(name.startswith("ctc:") for name in names):
            raise ValueError("tokens is read only with the task ctc and its column")
        names = [f"{name}:tokens" if name.startswith("ctc:") else name for name in names]
    return names


def task_from_dict(values: Mapping[str, Any]) -> Task:
    """Make a task of what its `to_dict` gave.

    Raises:
        CheckpointError: the values do not name a task.
        SettingsError: the task is not known.
    """
    from speechft.tasks import TASKS  # with all of them registered, whoever asks first

    if "task" not in values:
        raise CheckpointError("the saved task has no name", expected="task", found=sorted(values))
    return TASKS[str(values["task"])].from_dict(values)


def choose_splits(kind: type[Task], available: Iterable[str]) -> tuple[str, str, str]:
    """Choose the names of the train, dev and test splits of a task.

    Raises:
        MissingSplitError: a split is not there.
    """
    names = list(available)
    for wanted in (kind.splits, Task.splits):
        if set(wanted) <= set(names):
            return wanted
    missing = [name for name in Task.splits if name not in names]
    raise MissingSplitError(
        f"the data lacks the split {missing[0]!r}, which the task {kind.id!r} needs",
        expected=", ".join(Task.splits),
        found=", ".join(names) or "no split",
        hint="add it; a table without a column `split` is split without your help",
    )


def arranged(
    kind: type[Task],
    data: Mapping[str, Iterable[Cut]],
    spec: str,
    protocol: ProtocolName = "clean",
) -> list[tuple[str, list[Cut]]]:
    """Give `Task.arrange`, with the DATA in its errors."""
    try:
        return kind.arrange(data, protocol)
    except DataError as error:
        raise error.at(spec) from None


def check_labels(task: Task, cuts: Iterable[Cut]) -> None:
    """Look at the labels of cuts.

    Raises:
        DataError: a cut lacks what the task needs, or holds a class unseen in training.
    """
    for cut in cuts:
        task.reference(cut)
        if task.trains:
            task.target(cut)


def refuse_empty(task: Task, cuts: Sequence[Cut]) -> None:
    """Say how many utterances have nothing to compare with, and refuse a split of these alone.

    A text of punctuation is one of them, as nothing is left of it.

    Raises:
        DataError: a task of sequences has no reference at all.
    """
    empty = [str(cut.id) for cut in cuts if task.target_is_sequence and not task.reference(cut)]
    if not empty:
        return
    if len(empty) == len(cuts):
        raise DataError(
            f"no utterance of a split has a label for the task {task.id!r}",
            expected="something that is left after normalising",
            found=f"{len(empty)} empty ones: {first_of(empty)}",
            hint="correct the texts, or leave the task out",
        )
    _logger.warning(
        "%s: %d of %d utterances of a split have an empty reference: %s",
        *(task.id, len(empty), len(cuts), first_of(empty)),
    )


def refuse_unreachable(task: Task, frames: Sequence[int], targets: Sequence[Tensor]) -> int:
    """Count training utterances whose target needs more frames than they have, and say so.

    Raises:
        DataError: all of them are such; a head would learn nothing.
    """
    count = task.unreachable(frames, targets)
    if count and count == len(targets):
        raise DataError(
            f"no utterance has frames enough for its label of the task {task.id!r}",
            expected="a frame for each symbol, and one more between two equal ones",
            found=f"{count} utterances, the first with {frames[0]} frames for {len(targets[0])} "
            "symbols",
            hint="look whether the texts belong to this audio, or choose another task",
        )
    if count:
        _logger.warning(
            "%s: %d of %d training utterances have fewer frames than their target needs; "
            "they do not train the head",
            *(task.id, count, len(targets)),
        )
    return count


def frame_counts(logits: Tensor, lengths: Tensor | None) -> list[int]:
    """Give the valid frames of every item: all T of (B, T, V) where no lengths are given."""
    return [logits.shape[1]] * len(logits) if lengths is None else lengths.tolist()


def labelled_frames(frames: Sequence[int], targets: Sequence[Tensor]) -> float:
    """Give the frames for which there are labels, of targets with a row per frame."""
    return float(sum(min(n, len(target)) for n, target in zip(frames, targets, strict=True)))


def non_empty(train: Iterable[Cut], task: str) -> list[Cut]:
    """Give the training split as a list.

    Raises:
        DataError: it is empty.
    """
    cuts = list(train)
    if not cuts:
        raise DataError(f"the training split of task {task!r} is empty", expected="utterances")
    return cuts


def supervision(cut: Cut) -> SupervisionSegment:
    """Give the one supervision of a cut.

    Raises:
        DataError: the cut has none, or several.
    """
    if len(cut.supervisions) != 1:
        raise DataError(
            "an utterance needs exactly one supervision",
            where=said_cut(cut),
            expected=1,
            found=len(cut.supervisions),
        )
    return cut.supervisions[0]


def custom(cut: Cut, *names: str) -> Any:
    """Give the first custom field that the cut's supervision, or the cut itself, has; else None."""
    for holder in (supervision(cut).custom, getattr(cut, "custom", None)):
        for name in names:
            value = (holder or {}).get(name)
            if value is not None:
                return value
    return None


def missing(
    cut: Cut, what: str, task: str, names: Iterable[str], *, classes: bool = False
) -> DataError:
    """Give the error that says that a cut lacks what a task needs.

    Args:
        cut: the cut.
        what: in words.
        task: id.
        names: columns that would do.
        classes: it is a class; the error says how to take another column for it.
    """
    held, names = columns_of(cut), list(names)
    near = nearest(names[0], held, 1)
    hint = f"call the column {near[0]!r} {names[0]!r}" if near else "add it to the data"
    other = other_column("classify", near, held) if classes else None
    return DataError(
        f"the task {task!r} needs {what}",
        where=said_cut(cut),
        expected=" or ".join(names),
        found=", ".join(sorted(held)) or "no labels",
        hint=f"{hint}, or {f'another task: {other}' if other else 'leave the task out'}",
    )


def other_column(kind: str, near: Sequence[str], held: Mapping[str, Any]) -> str | None:
    """Give the task that would work on a column that is there: the nearest, or a likely one."""
    likely = [*near, *(n for n in ("label", *sorted(held)) if n in held and n not in USUAL)]
    if not likely:
        return None
    column = shlex.quote(likely[0])
    return f"{kind}:{likely[0]} takes that column (in finetune --task {kind} --label {column})"

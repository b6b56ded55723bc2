"""What SID, ER and IC share: classes per utterance, cross entropy, accuracy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from speechft.core.errors import DataError
from speechft.core.logging import say_once
from speechft.core.nearest_names import look_alike
from speechft.core.registry import deferred
from speechft.data.cuts import said_cut
from speechft.metrics.measures import accuracy
from speechft.tasks.base import ProtocolName, Purpose, Size, Task, custom, missing, non_empty
from speechft.tasks.probe_plan import GRID, Plan

if TYPE_CHECKING:
    import torch
    from lhotse.cut import Cut
    from torch import Tensor, nn
    from torch.nn import functional
else:
    torch, functional = deferred("torch"), deferred("torch.nn.functional")

Labels = dict[str, str]
SHOWN: Final = 10  # classes whose probabilities a prediction says


class ClassTask(Task):
    """A task that gives each utterance one class, or one class in each of several groups.

    An utterance counts as right only if every group is. Classes are sorted by name.

    Args:
        groups: group → its classes; one group but for intents with several slots.
        protocol: "clean" or "s3prl".

    Class attributes:
        group: name of the one group, where there are not several.
        needs: what the task needs, for messages ("an emotion").
        fields: custom fields that may hold it; the first one that is there does.
    """

    pooled: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = ("acc",)
    one_class: ClassVar[bool] = True
    target_is_sequence: ClassVar[bool] = False
    fixed: ClassVar[tuple[str, type]] = ("groups", dict)
    answer: ClassVar[str] = "label"
    group: ClassVar[str] = "label"
    needs: ClassVar[str] = "a label"
    fields: ClassVar[tuple[str, ...]] = ("label",)
    plans: ClassVar[Mapping[Size, Plan]] = {
        "mini": Plan(1000, 32, (1e-1, 3e-2, 1e-2), decay=True),
        "superb": Plan(200_000, 32, GRID),
    }

    def __init__(
        self, groups: Mapping[str, Sequence[str]], protocol: ProtocolName = "clean"
    ) -> None:
        self.groups = {group: list(classes) for group, classes in groups.items()}
        self.protocol = protocol
        self._sizes = [len(classes) for classes in self.groups.values()]
        self._index = {g: {c: i for i, c in enumerate(cs)} for g, cs in self.groups.items()}

    @classmethod
    def labels(cls, cut: Cut) -> Labels:
        """Give the cut's class in every group: here in one, as `fields` say.

        Raises:
            DataError: the cut has none of the fields.
        """
        return {cls.group: str(cls.label(cut))}

    @classmethod
    def label(cls, cut: Cut) -> Any:
        """Give what stands in the first of `fields` that the cut has.

        Raises:
            DataError: it has none.
        """
        label = custom(cut, *cls.fields)
        if label is None or not str(label).strip():
            raise missing(cut, cls.needs, cls.id, cls.fields, classes=True)
        return label

    @classmethod
    def from_cuts(cls, train: Iterable[Cut], protocol: ProtocolName = "clean") -> Self:
        """Collect the classes of the training split."""
        found: dict[str, set[str]] = {}
        for cut in non_empty(train, cls.id):
            for group, label in cls.labels(cut).items():
                found.setdefault(group, set()).add(label)
        groups = {group: sorted(labels) for group, labels in found.items()}
        for own in (own for labels in groups.values() for own in look_alike(labels)):
            say_once(f"{cls.id}: these classes look alike and count as different ones: {own}")
        if all(len(labels) < 2 for labels in groups.values()):
            raise DataError(
                f"the task {cls.id!r} needs at least two classes in the training split",
                found=", ".join(label for labels in groups.values() for label in labels),
            )
        return cls(groups, protocol)

    @property
    def output_size(self) -> int:
        """Classes of all groups together."""
        return sum(self._sizes)

    def target(self, cut: Cut) -> Tensor:
        """Give the class of each group (G,)."""
        labels = self.labels(cut)
        if set(labels) != set(self.groups):
            raise DataError(
                f"the label groups of task {self.id!r} differ from those of the training split",
                where=said_cut(cut),
                expected=", ".join(self.groups),
                found=", ".join(labels),
            )
        unseen = [labels[g] for g in self.groups if labels[g] not in self._index[g]]
        if unseen:
            raise DataError(
                f"the class {unseen[0]!r} of task {self.id!r} does not occur in the training split",
                where=said_cut(cut),
                expected=f"one of {sum(self._sizes)} classes",
                hint="split the data so that every class is in training",
            )
        return torch.tensor([self._index[group][labels[group]] for group in self.groups])

    def reference(self, cut: Cut) -> str | list[str]:
        """Give the class, or the classes in the groups' order where there are several groups."""
        labels = self.labels(cut)
        return self._merge([labels.get(group, "") for group in self.groups])

    def build_head(self, input_dim: int, *, purpose: Purpose, size: Size) -> nn.Module:  # noqa: ARG002
        """Build SUPERB's utterance-level linear head, for both purposes and sizes."""
        from speechft.heads.linear import PooledLinear

        return PooledLinear(input_dim, self.output_size, projection=256)

    def loss(self, logits: Tensor, lengths: Tensor | None, targets: Sequence[Tensor]) -> Tensor:  # noqa: ARG002
        """Give the cross entropy, summed over the groups, mean over the batch."""
        wanted = torch.stack(list(targets)).to(logits.device)
        parts = torch.split(logits.float(), self._sizes, dim=-1)
        losses = [functional.cross_entropy(p, wanted[:, g]) for g, p in enumerate(parts)]
        return torch.stack(losses).sum()

    def decode(self, logits: Tensor, lengths: Tensor | None) -> list[Any]:  # noqa: ARG002
        """Give the most likely class of every group."""
        parts = torch.split(logits, self._sizes, dim=-1)
        best = torch.stack([part.argmax(dim=-1) for part in parts], dim=1).tolist()
        names = list(self.groups.values())
        return [self._merge([names[g][i] for g, i in enumerate(row)]) for row in best]

    def present(self, logits: Tensor) -> dict[str, Any]:
        """Give the class and the probabilities of the likeliest ones; by group where several."""
        parts = [p.softmax(dim=-1) for p in torch.split(logits.float(), self._sizes, dim=-1)]
        found = {}
        for (group, classes), part in zip(self.groups.items(), parts, strict=True):
            best = part.topk(min(SHOWN, len(classes)))
            pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
            found[group] = {classes[i]: round(value, 6) for i, value in pairs}
        labels = {group: next(iter(likely)) for group, likely in found.items()}
        both = (labels, found)
        label, likely = (next(iter(o.values())) for o in both) if len(found) == 1 else both
        return {self.answer: label, "probabilities": likely}

    def mean(self, logits: Tensor, shares: Tensor) -> Tensor:
        """Give the logarithms of the mean probabilities."""
        parts = torch.split(logits.float(), self._sizes, dim=-1)
        means = [shares @ part.softmax(dim=-1) for part in parts]
        return torch.cat(means, dim=-1).log()

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Give the accuracy."""
        return {"acc": accuracy(references, predictions)}

    def _merge(self, labels: list[str]) -> str | list[str]:
        return labels[0] if len(labels) == 1 else labels

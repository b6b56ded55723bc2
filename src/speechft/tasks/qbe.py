"""QbE: query by example, finding spoken queries in spoken documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, NoReturn, Self

import numpy as np

from speechft.core.errors import DataError, SettingsError
from speechft.data.cuts import said_cut, with_effects
from speechft.data.waveform_effects import GAIN
from speechft.metrics.detection import mtwv, query_parts
from speechft.tasks.base import TASKS, ProtocolName, Size, Task, custom, missing
from speechft.tasks.probe_plan import Plan

if TYPE_CHECKING:
    from lhotse.cut import Cut

DECISION: Final = 2.0  # a normalised score above it counts as found


class Sought(NamedTuple):
    """What is right for a query.

    Attributes:
        matches: ids of the documents that contain it.
        trials: where the lists hold more than is searched: queries that match somewhere, documents,
            and documents that contain this query.
    """

    matches: list[str]
    trials: tuple[int, int, int] | None = None


@TASKS.register("qbe")
class QueryByExample(Task):
    """Which documents contain a query, by DTW on one hidden state; nothing is trained.

    The splits are documents, dev queries and eval queries; `custom["matches"]` of a query lists the
    ids of the documents that contain it. The volume of all audio is turned down by 3 dB. The state
    is chosen on the dev queries.

    `custom["listed"]` of a query says where the corpus' lists hold more than is searched (queries
    of one language in documents of it): `mtwv` then counts every trial that is missing, as QUESST's
    scorer and so the SUPERB tables do, and `mtwv_language` those alone that were searched.
    """

    id: ClassVar[str] = "qbe"
    title: ClassVar[str] = "query by example"
    pooled: ClassVar[bool] = False
    metrics: ClassVar[tuple[str, ...]] = ("mtwv",)
    splits: ClassVar[tuple[str, str, str]] = ("docs", "dev_queries", "eval_queries")
    target_is_sequence: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    fixed: ClassVar[tuple[str, type]] = ("documents", list)
    plans: ClassVar[Mapping[Size, Plan]] = {"mini": Plan(0, 0, ()), "superb": Plan(0, 0, ())}
    corpora: ClassVar[tuple[str, ...]] = ("quesst2014",)
    official_items: ClassVar[int | None] = 138  # QUESST's English queries
    revisions: ClassVar[Mapping[ProtocolName, int]] = {"clean": 1, "s3prl": 1}

    def __init__(self, documents: Sequence[str], protocol: ProtocolName = "clean") -> None:
        self.documents, self.protocol = list(documents), protocol
        self._known = set(self.documents)

    @classmethod
    def heard(cls, cut: Cut, part: str, protocol: ProtocolName) -> list[Cut]:  # noqa: ARG003
        """Give a document or a query with less volume."""
        return [with_effects(cut, [GAIN])]

    @classmethod
    def from_cuts(cls, train: Iterable[Cut], protocol: ProtocolName = "clean") -> Self:
        """Collect the documents."""
        documents = [str(cut.id) for cut in train]
        if len(documents) < 2:
            raise DataError("there are too few documents to search", found=len(documents))
        return cls(documents, protocol)

    def reference(self, cut: Cut) -> Sought:
        """Give the ids of the documents that contain a query, and what the lists hold."""
        found = custom(cut, "matches")
        if found is None:
            raise missing(cut, "the documents that contain a query", self.id, ["matches"])
        unknown = sorted({str(name) for name in found} - self._known)
        if unknown:
            raise DataError(
                "a query names a document that is not there",
                where=said_cut(cut),
                found=", ".join(unknown[:5]),
            )
        trials = custom(cut, "listed")
        return Sought([str(name) for name in found], trials and tuple(map(int, trials)))

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Give MTWV, in percent, of predictions that are normalised scores of all documents."""
        return {name: mtwv(*own) for name, own in self._measured(predictions, references).items()}

    def _measured(
        self, predictions: Sequence[Any], references: Sequence[Any]
    ) -> dict[str, tuple[Any, Any, Any]]:
        """Give, by metric, scores, matches and what the lists hold."""
        sought = [set(own.matches) for own in references]
        wanted = [[name in own for name in self.documents] for own in sought]
        scores = np.stack([np.asarray(p) for p in predictions])
        trials = [own.trials for own in references if own.trials is not None]
        if len(trials) < len(references):
            return {"mtwv": (scores, wanted, None)}
        return {"mtwv": (scores, wanted, trials), "mtwv_language": (scores, wanted, None)}

    def rows(
        self, cuts: Sequence[Cut], references: Sequence[Any], predictions: Sequence[Any]
    ) -> list[dict[str, Any]]:
        """Give for every query the documents in which it counts as found, and its part of MTWV."""
        measured = self._measured(predictions, references)
        parts = {name: query_parts(*own) for name, own in measured.items()}
        return [
            {
                "id": cut.id,
                "reference": reference.matches,
                "prediction": [
                    [name, round(float(score), 4)]
                    for name, score in zip(self.documents, own, strict=True)
                    if score > DECISION
                ],
                "parts": {name: found[n] for name, found in parts.items()},
            }
            for n, (cut, reference, own) in enumerate(
                zip(cuts, references, predictions, strict=True)
            )
        ]

    def _refuse(self, *_args: object, **_options: object) -> NoReturn:
        raise SettingsError(
            "query by example compares hidden states as they are; it trains no head",
            where="task qbe",
            expected="a task with a head",
            hint="use it with speechft evaluate",
        )

    # There is nothing to train, and no head.
    target: Any = _refuse
    build_head: Any = _refuse
    loss: Any = _refuse
    decode: Any = _refuse

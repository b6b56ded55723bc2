"""classify: the classes of any column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from speechft.metrics.per_class import class_scores
from speechft.tasks.base import TASKS, Size
from speechft.tasks.column_task import ColumnTask
from speechft.tasks.probe_plan import GRID, Plan
from speechft.tasks.utterance_classes import ClassTask

if TYPE_CHECKING:
    from lhotse.cut import Cut


@TASKS.on_columns.register("classify")
class Classification(ColumnTask, ClassTask):
    """The class in the column COLUMN, as it is written there; a number is a class, too."""

    id: ClassVar[str] = "classify"
    title: ClassVar[str] = "classification"
    group: ClassVar[str] = "class"
    wants: ClassVar[str] = "class"
    draws: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = ("acc", "uar", "macro_f1")
    plans: ClassVar[Mapping[Size, Plan]] = {
        "mini": Plan(1000, 32, (1e-1, 3e-2, 1e-2, 3e-3), decay=True),
        "superb": Plan(30_000, 32, GRID),
    }

    @classmethod
    def read(cls, value: Any) -> str:
        """Give the class as text.

        Raises:
            ValueError: it is a list or a mapping.
        """
        if not isinstance(value, str | int | float):
            raise ValueError(f"{value!r:.60} is no single value")
        return str(value)

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Give accuracy, UAR (balanced accuracy) and macro F1."""
        return class_scores(references, predictions)

    @classmethod
    def label(cls, cut: Cut) -> Any:
        """Give the class of a cut."""
        return cls.value(cut)

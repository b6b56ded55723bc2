"""Tasks on a column that a user names: what they share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from speechft.core.errors import DataError
from speechft.core.logging import say_once
from speechft.core.nearest_names import nearest
from speechft.data.column_names import ALIASES, COLUMNS
from speechft.data.splitting import draw_again
from speechft.data.utterances import columns_of
from speechft.tasks.base import ProtocolName, Task, choose_splits, file_stem, other_column

if TYPE_CHECKING:
    from lhotse.cut import Cut

_SHOWN: Final = 3  # utterances in a message


class ColumnTask(Task):
    """A task on a column that a user names, `ID:COLUMN`; no other column is taken in its place.

    `TASKS["classify:dialect"]` gives a class of its own, whose id is that name.

    Class attributes:
        column: what it reads.
        wants: what stands in the column, for messages ("a class").
        draws: data that came without splits are split by the column's classes.
    """

    column: ClassVar[str] = ""
    wants: ClassVar[str]
    draws: ClassVar[bool] = False

    @classmethod
    def on(cls, column: str) -> type[Task]:
        """Give the task on a column."""
        own = {"id": f"{cls.id}:{column}", "column": column, "__doc__": cls.__doc__}
        return type(cls.__name__, (cls,), own | {"title": f"{cls.title} by {column!r}"})

    @classmethod
    @abstractmethod
    def read(cls, value: Any) -> Any:
        """Give what the task makes of a value of the column.

        Raises:
            ValueError: says what is wrong with it.
        """

    @classmethod
    def _called(cls, found: Container[str]) -> str:
        """Give the column's name in what was read of a table, which may be our own for it."""
        small = cls.column.lower()
        own = ALIASES.get(small, small)
        return own if cls.column not in found and own in COLUMNS else cls.column

    @classmethod
    def value(cls, cut: Cut) -> Any:
        """Give what the column says of a cut.

        Raises:
            DataError: nothing, or something of another kind.
        """
        found = columns_of(cut)
        try:
            return cls.read(found[cls._called(found)])
        except (KeyError, ValueError) as error:
            given = "nothing" if isinstance(error, KeyError) else error
            raise cls._unusable([f"{cut.id}: {given}"], 1, found) from None

    @classmethod
    def arrange(
        cls, data: Mapping[str, Iterable[Cut]], protocol: ProtocolName = "clean"
    ) -> list[tuple[str, list[Cut]]]:
        """Give the splits; every value of the column is looked at.

        Raises:
            DataError: the column is not there, or some utterances have no usable value in it.
        """
        cls.check(cut for name in choose_splits(cls, data) for cut in data[name])
        found = draw_again(data, lambda cut: str(cls.value(cut))) if cls.draws else None
        if found is not None:
            drawn, notes = found
            choose_splits(cls, drawn)
            if any(set(drawn[n].ids) != {cut.id for cut in data[n]} for n in Task.splits):
                say_once(f"{cls.id}: split anew, {' '.join(notes).removeprefix('split ')}")
                return [(f"{n}@{file_stem(cls.id)}", list(drawn[n])) for n in Task.splits]
        return super().arrange(data, protocol)

    @classmethod
    def check(cls, cuts: Iterable[Cut]) -> None:
        """Look at the column of all cuts.

        Raises:
            DataError: one error for all that is wrong.
        """
        bad, held, count = list[str](), dict[str, Any](), 0
        for count, cut in enumerate(cuts, start=1):  # noqa: B007
            found = columns_of(cut)
            held |= found
            try:
                cls.read(found[cls._called(found)])
            except KeyError:
                bad.append(f"{cut.id}: nothing")
            except ValueError as error:
                bad.append(f"{cut.id}: {error}")
        if bad:
            raise cls._unusable(bad, count, held)

    @classmethod
    def _unusable(cls, bad: Sequence[str], count: int, held: Mapping[str, Any]) -> DataError:
        if cls._called(held) not in held:
            return DataError(
                f"the data has no column {cls.column!r}, which the task {cls.id!r} needs",
                found=", ".join(sorted(held)) or "audio alone",
                hint=other_column(cls.id.partition(":")[0], nearest(cls.column, held, 1), held),
            )
        shown = "; ".join(bad[:_SHOWN]) + (f"; and {len(bad) - _SHOWN} more" * (len(bad) > _SHOWN))
        return DataError(
            f"{len(bad)} of {count} utterances have no {cls.wants} in the column {cls.column!r}",
            expected=f"{cls.wants} for each, for the task {cls.id!r}",
            found=shown,
            hint="fill them in, or leave these utterances out of the data",
        )

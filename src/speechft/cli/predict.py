"""`speechft predict` on the screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from speechft.core.errors import DataError
from speechft.core.paths import first_of
from speechft.prediction.settings import PredictSettings


def show(records: Sequence[Mapping[str, Any]], settings: PredictSettings) -> None:
    """Print the predictions, or where they were written.

    Raises:
        DataError: some recordings have none; said last, when those of the others are there.
    """
    from speechft.prediction.answers import form_of, lines

    for line in lines(records, form_of(settings)) if settings.out is None else [settings.out]:
        print(line)
    wrong = [record["file"] for record in records if "error" in record]
    if wrong:
        raise DataError(
            f"{len(wrong)} of {len(records)} recordings have no prediction",
            found=first_of(wrong),
            hint="mend them, or leave them out; the lines above say what is wrong",
        )

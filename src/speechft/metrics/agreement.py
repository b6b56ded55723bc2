"""How well numbers agree: concordance correlation and mean squared error."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speechft.core.errors import DataError


def concordance(references: ArrayLike, predictions: ArrayLike) -> float:
    """Give the concordance correlation coefficient in percent, from -100 to 100.

    It is 2 cov / (var + var + (difference of the means)²); 0 where all numbers are the same.

    Raises:
        DataError: there is no item, or the lists differ in number.

    Source:
        Lin 1989, "A Concordance Correlation Coefficient to Evaluate Reproducibility".
    """
    wanted, found = _pair(references, predictions)
    spread = wanted.var() + found.var() + (wanted.mean() - found.mean()) ** 2
    shared = ((wanted - wanted.mean()) * (found - found.mean())).mean()
    return 100.0 * float(2 * shared / spread) if spread > 0 else 0.0


def mean_squared_error(references: ArrayLike, predictions: ArrayLike) -> float:
    """Give the mean squared error, in the square of the numbers' own unit.

    Raises:
        DataError: there is no item, or the lists differ in number.
    """
    wanted, found = _pair(references, predictions)
    return float(((wanted - found) ** 2).mean())


def _pair(
    references: ArrayLike, predictions: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    wanted, found = np.asarray(references, np.float64), np.asarray(predictions, np.float64)
    if wanted.shape != found.shape or not wanted.size:
        raise DataError(
            "as many predictions as references are needed, and one at least",
            expected=wanted.size or 1,
            found=found.size,
        )
    return wanted, found

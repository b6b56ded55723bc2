"""An encoder that inserts many phonemes has a PER above 100 %; its suite score fell below 0.

Seen with an untrained encoder in the first run of the whole chain: PER 163 %, suite score -66.
"""

from __future__ import annotations

import pytest

from speechft.metrics.superb import suite_score


def test_an_error_rate_above_100_percent_counts_as_0() -> None:
    scores = {"pr": {"per": (163.0, "lower")}, "sid": {"acc": (50.0, "higher")}}
    assert suite_score(scores) == pytest.approx(250.0)

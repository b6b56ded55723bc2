"""A result said `dev` of a split that is the test split under another name, or holds it."""

from __future__ import annotations

import pytest
from lhotse import MonoCut, Recording
from lhotse.audio import AudioSource

from speechft.probing.cells import chosen_on


def split(folder: str, count: int) -> list[MonoCut]:
    names = [f"{n:02d}" for n in range(count)]
    sources = [AudioSource("file", [0], f"{folder}/{name}.wav") for name in names]
    recordings = [Recording(s.source, [s], 16000, 16000, 1.0) for s in sources]
    both = zip(names, recordings, strict=True)
    return [MonoCut(name, 0.0, 1.0, 0, recording=recording) for name, recording in both]


@pytest.mark.parametrize(
    ("dev", "test", "expected"),
    [
        (split("a", 3), split("a", 3), "test"),
        (split("a", 3), split("a", 2), "test"),  # as on_leak: drop leaves it under S3PRL's ASV
        (split("a", 3), split("b", 3), "dev"),
        (split("a", 2), split("a", 3), "dev"),
    ],
)
def test_what_chose_is_told_by_what_is_in_it(dev, test, expected):
    assert chosen_on([split("t", 2), dev, test]) == expected

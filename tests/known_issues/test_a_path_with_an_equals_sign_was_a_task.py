"""`--data lang=de/my.csv` was taken for the data of a task `lang`."""

from __future__ import annotations

import pytest

from speechft.probing.settings import parse_data


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("lang=de/my.csv",), "lang=de/my.csv"),
        (
            ("pr=lang=de/my.csv", "lang=en/my.csv"),
            {"pr": "lang=de/my.csv", "default": "lang=en/my.csv"},
        ),
        (("default=a.csv", "sid=b.csv"), {"default": "a.csv", "sid": "b.csv"}),
    ],
)
def test_only_tasks_have_data_of_their_own(given: tuple[str, ...], expected: object) -> None:
    assert parse_data(given) == expected

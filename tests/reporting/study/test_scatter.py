"""Labels of the plot of hidden states against weights."""

from __future__ import annotations

from itertools import combinations

from speechft.reporting.study.plots import _box, _covers, label_offsets


def test_labels_cover_no_dot_and_no_label() -> None:
    places = [(100.0, 100.0), (104.0, 100.0), (101.0, 107.0), (140.0, 100.0), (300.0, 200.0)]
    labels = ["1", "2, 3", "4", "10, 11", "12"]
    offsets = label_offsets(places, labels)
    boxes = [
        _box(x, y, offset, 0.62 * 7.0 * len(text))
        for (x, y), offset, text in zip(places, offsets, labels, strict=True)
    ]
    assert not any(_covers(a, b) for a, b in combinations(boxes, 2))
    dots = [(x - 3, y - 3, x + 3, y + 3) for x, y in places]
    assert not any(_covers(b, d) for n, b in enumerate(boxes) for m, d in enumerate(dots) if n != m)
    assert offsets[-1] == (4.0, 2.0)  # one that is alone stands right above its dot


def test_more_labels_than_room_still_all_get_a_place() -> None:
    assert len(label_offsets([(0.0, 0.0)] * 60, ["1"] * 60)) == 60

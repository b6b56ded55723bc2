"""Confusion matrices and what follows from them, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from speechft.core.errors import DataError
from speechft.metrics.per_class import class_report, class_scores


def test_against_scikit_learn():
    random = np.random.default_rng(0)
    wanted = random.choice(list("abcd"), p=[0.6, 0.2, 0.15, 0.05], size=200).tolist()
    found = [w if random.random() < 0.6 else str(random.choice(list("abcd"))) for w in wanted]
    scores = class_scores(wanted, found)
    assert scores["acc"] == pytest.approx(100 * sk.accuracy_score(wanted, found))
    assert scores["uar"] == pytest.approx(100 * sk.balanced_accuracy_score(wanted, found))
    assert scores["macro_f1"] == pytest.approx(100 * sk.f1_score(wanted, found, average="macro"))
    report = class_report(wanted, found)
    assert np.array_equal(report.matrix, sk.confusion_matrix(wanted, found))
    precision, recall, f1, items = sk.precision_recall_fscore_support(wanted, found)
    for i, row in enumerate(report.rows):
        own = (row.precision, row.recall, row.f1, row.items)
        assert own == pytest.approx((100 * precision[i], 100 * recall[i], 100 * f1[i], items[i]))
    for name, interval in report.intervals.items():
        assert interval.low < scores[name] < interval.high


def test_a_class_that_is_only_said_counts_for_f1_alone():
    report = class_report(["a", "b"], ["a", "[/b]"], draws=20)
    assert report.names == ("[/b]", "a", "b")
    assert report.scores == pytest.approx({"acc": 50, "uar": 50, "macro_f1": 100 / 3})
    assert report.to_dict()["confusion"] == [[0, 0, 0], [0, 1, 0], [1, 0, 0]]


def test_the_draws_are_those_of_utterances():
    """Of 100 utterances with 80 right, the accuracy's interval is the binomial one."""
    report = class_report(["a"] * 100, ["a"] * 80 + ["b"] * 20)
    low, high = report.intervals["acc"][:2]
    assert (low, high) == pytest.approx((72, 87.5), abs=1.6)


def test_nothing_is_no_report():
    with pytest.raises(DataError):
        class_scores([], [])

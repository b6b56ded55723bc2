"""A split has the same names in files of cuts, in tables and where a user names it.

Files of cuts called `valid` stayed a split of that name, on which nothing was scored.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from lhotse import CutSet

from speechft.core.errors import DataError
from speechft.data.load import load_data, load_split
from speechft.prediction.recordings import find_recordings


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *(("valid", "dev"), ("cuts_validation", "dev"), ("Val", "dev"), ("dev", "dev")),
        *(("cuts-Test", "test"), ("eval_A", "eval_A")),  # a name of one's own stays
    ],
)
def test_files_of_cuts_are_the_split_that_their_name_means(
    synthetic_splits, tmp_path: Path, name, split
):
    synthetic_splits["train"].to_file(tmp_path / "training.jsonl")
    synthetic_splits["dev"].to_file(tmp_path / f"{name}.jsonl.gz")
    data = load_data(str(tmp_path))
    assert set(data) == {"train", split}
    assert [cut.id for cut in data[split]] == [cut.id for cut in synthetic_splits["dev"]]


def test_a_table_means_the_same(tone, tmp_path: Path):
    rows = [f"{tone(f'{n}.wav')},{n}" for n in ("training", "Val", "validation", "eval")]
    (tmp_path / "t.csv").write_text("\n".join(["audio,split", *rows]))
    assert {name: len(cuts) for name, cuts in load_data(str(tmp_path / "t.csv")).items()} == {
        **{"train": 1, "dev": 2, "eval": 1}
    }


def test_two_files_of_one_meaning_are_refused(synthetic_splits, tmp_path: Path):
    for name in ("valid", "dev"):
        synthetic_splits["dev"].to_file(tmp_path / f"{name}.jsonl.gz")
    with pytest.raises(DataError, match="two files hold cuts of the split 'dev'") as refused:
        load_data(str(tmp_path))
    assert "valid.jsonl.gz" in str(refused.value)


def test_a_user_may_name_it_so_too(synthetic_splits, tmp_path: Path):
    one = CutSet.from_cuts([next(iter(synthetic_splits["dev"]))])
    one.to_file(tmp_path / "valid.jsonl.gz")
    synthetic_splits["train"].to_file(tmp_path / "train.jsonl.gz")
    for name in ("valid", "dev"):
        assert [cut.id for cut in load_split(str(tmp_path), name, ())] == [c.id for c in one]
        assert [r.id for r in find_recordings([str(tmp_path)], name)] == [c.id for c in one]
    with pytest.raises(DataError, match="no split 'nope'"):
        load_split(str(tmp_path), "nope", ())

"""Of two columns of one name, or two values of one in JSON, the last one counted in silence."""

from __future__ import annotations

import pytest

from speechft.core.errors import DataError
from speechft.data.load import load_data


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("t.csv", "audio,label, label\na.wav,x,y\n", "two columns are called 'label'"),
        ("t.tsv", "audio\tlabel\tlabel\na.wav\tx\ty\n", "two columns are called 'label'"),
        (
            "t.jsonl",
            '{"audio": "a.wav", "label": "x", "label": "y"}\n',
            "row 1[\\s\\S]*the name 'label' stands twice",
        ),
    ],
)
def test_it_is_refused(tmp_path, tone, name, text, words):
    tone("a.wav")
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=words):
        load_data(str(tmp_path / name))


def test_columns_without_a_name_may_be_several(tmp_path, tone):
    tone("a.wav")
    (tmp_path / "t.csv").write_text(",audio,\n0,a.wav,\n")
    ((cut,),) = load_data(str(tmp_path / "t.csv")).values()
    assert cut.supervisions[0].custom == {}

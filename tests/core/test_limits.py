from __future__ import annotations

import gzip
import os
import time

import pytest

from speechft.core.limits import parse_json, regular_file, text_lines
from speechft.core.paths import fault_of_name, home_expanded


def test_lines_of_plain_and_packed_text(tmp_path):
    text = "\ufeffone\r\n\n two \n"
    (tmp_path / "a").write_bytes(text.encode())
    (tmp_path / "a.gz").write_bytes(gzip.compress(text.encode()))
    assert list(text_lines(tmp_path / "a")) == [(1, "one"), (3, "two")]
    assert list(text_lines(tmp_path / "a.gz")) == [(1, "one"), (3, "two")]


def test_what_is_beyond_a_limit_is_refused_at_once(tmp_path):
    begin = time.monotonic()
    (tmp_path / "zeros.gz").write_bytes(gzip.compress(b"\n" * (40 << 20)))
    with pytest.raises(ValueError, match="unpacks to more than 32 MB"):
        list(text_lines(tmp_path / "zeros.gz"))
    with (tmp_path / "long").open("wb") as file:
        file.truncate(1 << 33)
    with pytest.raises(ValueError, match="line 1 has more than 16 MB"):
        list(text_lines(tmp_path / "long"))
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(OSError, match="no regular file"):
            list(text_lines(path))
    assert time.monotonic() - begin < 4
    with pytest.raises(FileNotFoundError):
        regular_file(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "levels"),
        ("[" * 65 + "1" + "]" * 65, "levels"),
        ('{"a":' * 100 + "1" + "}" * 100, "levels"),
        ("1" * 100_000, "100000 digits"),
        ("NaN", "NaN is no JSON"),
        ("-Infinity", "Infinity is no JSON"),
        ("{", "Expecting"),
    ],
)
def test_json_beyond_a_limit(text, message):
    with pytest.raises(ValueError, match=message):
        parse_json(text)


def test_json_within_the_limits():
    assert parse_json('{"a": [1, 2.5, null, true, {}]}') == {"a": [1, 2.5, None, True, {}]}
    parse_json("[" * 64 + "]" * 64)


@pytest.mark.parametrize("name", ["train", "es_train", "müll 2", "a..b", ".hidden", "lang:de"])
def test_names_that_stay(name):
    assert fault_of_name(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        ".",
        "..",
        "../x",
        "x/../y",
        "/x",
        "x/",
        "a\\..\\b",
        "~/x",
        "C:\\x",
        "a\x1bb",
        "x" * 201,
    ],
)
def test_names_that_leave(name):
    assert fault_of_name(name) is not None
    assert fault_of_name(name, folders=True) is not None


def test_names_with_folders():
    assert fault_of_name("a/b") == "it names a folder"
    assert fault_of_name("a/b", folders=True) is None


def test_the_home_of_nobody_stays_as_it_is(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert str(home_expanded("~/x")) == "/home/me/x"
    assert str(home_expanded("~nobody-knows/x")) == "~nobody-knows/x"

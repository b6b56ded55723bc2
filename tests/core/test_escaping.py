"""Names that others chose, where they are shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechft.core.escaping import fenced, file_name, markdown_text, printable


def test_what_cannot_be_shown_is_an_escape() -> None:
    assert printable("θ̂ ok") == "θ̂ ok"
    assert printable("a\x1b[31mb\nc\ud800") == r"a\x1b[31mb\nc\ud800"
    printable("\udcff").encode("utf-8")


def test_no_name_is_markup() -> None:
    assert markdown_text("a|b *c* [d](e) <f> _g_ `h`") == (r"a\|b \*c\* [d]\(e) \<f> \_g\_ \`h\`")
    assert markdown_text("[-1, 2] (two)") == "[-1, 2] (two)"


def test_a_block_of_code_cannot_end_itself() -> None:
    assert fenced("a: 1\n", "yaml") == "```yaml\na: 1\n```"
    assert fenced("```\n# out").startswith("````\n")


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "a/b\\c", "..", "x" * 300, "θ/\0"])
def test_a_file_name_never_leaves_its_folder(name: str, tmp_path: Path) -> None:
    found = file_name(name)
    (tmp_path / found).write_text("x")
    assert [p.name for p in tmp_path.iterdir()] == [found]

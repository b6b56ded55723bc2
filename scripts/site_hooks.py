"""What the site needs beside docs/: files of the top folder as pages, links that stay inside."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
TOP = {"README.md": "readme.md"} | {
    f"{name}.md": f"{name.lower()}.md"
    for name in ("CONTRIBUTING", "CHANGELOG", "SECURITY", "CODE_OF_CONDUCT")
}
# Pages that record what was done answer fewer questions: the search gives them later.
RECORDS = re.compile(r"(studies/.*|changelog|contributing|code_of_conduct|security|readme)\.md")
LATER = 0.2
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the top folder."""
    for name, page in TOP.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_inside(text, PurePosixPath(name))))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links of a page of docs/ to pages of the site; say how much it counts in the search."""
    if RECORDS.fullmatch(page.file.src_uri):
        page.meta["search"] = {"boost": LATER}
    if page.file.src_uri in TOP.values():
        return markdown
    return _inside(markdown, PurePosixPath("docs") / page.file.src_uri)


def _inside(text: str, source: PurePosixPath) -> str:
    """Rewrite links of a file; what is no page of the site keeps its words alone."""
    return LINK.sub(lambda found: _link(found, source), text)


def _link(found: re.Match[str], source: PurePosixPath) -> str:
    picture, words, target, anchor = found.groups()
    if re.match(r"[a-z]+:", target):
        return found[0]
    folder = "docs" if source.parts[0] == "docs" else ""
    parts: list[str] = []
    for part in (source.parent / target).parts:
        parts = parts[:-1] if part == ".." else [*parts, part]
    there = "/".join(parts)
    if there in TOP:
        page = TOP[there]
    elif there.startswith("docs/"):
        page = there.removeprefix("docs/")
    else:
        return words
    up = "../" * (len(source.parent.parts) - 1) if folder else ""
    return f"{picture}[{words}]({up}{page}{anchor or ''})"

"""Ask the site's search the questions of docs/questions.yaml: the right page must come first.

The site searches in the browser with lunr over `search/search_index.json`. This does in Python what
the theme's script does there, and gives the same pages first: words are neither stemmed nor freed
from marks, each word of a question finds all that begin with it, and what is asked counts more
where a page has more of its words. It ends with 1 where another page comes first.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml
from lunr.builder import Builder
from lunr.index import Index
from lunr.stop_word_filter import WORDS, stop_word_filter

ROOT = Path(__file__).resolve().parent.parent


def first_pages(site: Path, questions: list[str], count: int = 3) -> list[list[str]]:
    """Give the best pages for each question, best first."""
    found = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    index = _index(found["docs"], found["config"]["fields"])
    return [_pages(index, ask.lower(), count) for ask in questions]


def _index(documents: list[dict[str, Any]], fields: dict[str, dict[str, float]]) -> Index:
    builder = Builder()
    builder.ref("location")
    builder.b(0)
    builder.pipeline.add(stop_word_filter)
    builder.metadata_whitelist = ["position"]
    for name in ("title", "text"):
        builder.field(name, boost=fields[name]["boost"])
    for one in documents:
        plain = {name: re.sub(r"<[^>]*>", " ", one[name]) for name in ("title", "text")}
        builder.add({"location": one["location"]} | plain, {"boost": one.get("boost", 1)})
    return builder.build()


def _pages(index: Index, question: str, count: int) -> list[str]:
    asked = re.split(r"[\s-]+", question)
    # Of a compound the last part alone is a beginning, and it is asked for once for each part.
    query = [f"{word.replace('-', ' ')}*" for word in question.split() for _ in word.split("-")]
    scores: dict[str, float] = {}
    for hit in index.search(" ".join(query)):
        page, _, section = hit["ref"].partition("#")
        words = hit["match_data"].metadata
        heard = {ask for ask in asked if any(word.startswith(ask) for word in words)}
        missed = set(asked) - heard - WORDS
        share = len(heard) / len(heard | missed) + (not section)
        scores[page] = max(scores.get(page, 0), hit["score"] * (1 + share**2))
    best = sorted(scores, key=lambda page: -scores[page])
    return [page.removesuffix(".html") for page in best[:count]]


def main() -> int:
    """Ask all questions; say which were not answered by their page."""
    questions = yaml.safe_load((ROOT / "docs" / "questions.yaml").read_text(encoding="utf-8"))
    answers = first_pages(ROOT / "site", [question["ask"] for question in questions])
    wrong = 0
    for question, pages in zip(questions, answers, strict=True):
        if pages[:1] != [question["page"]]:
            wrong += 1
            sys.stderr.write(f"{question['ask']}: {', '.join(pages)}, not {question['page']}\n")
    sys.stderr.write(f"search: {len(questions) - wrong} of {len(questions)} questions answered\n")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())

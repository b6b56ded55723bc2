"""Ask the site's search the questions of docs/questions.yaml: the right page must come first.

The site searches in the browser with lunr over `search/search_index.json`; this asks the same index
the same way, in Python, and ends with 1 where another page comes first.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import yaml
from lunr import lunr

ROOT = Path(__file__).resolve().parent.parent
# Words of a question that tell no page from another; the site's search drops these, too.
BOOSTS = [{"field_name": "title", "boost": 1000}, {"field_name": "text", "boost": 1}]


def first_pages(site: Path, questions: list[str], count: int = 3) -> list[list[str]]:
    """Give the best pages for each question, best first."""
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    documents = [
        {"location": d["location"], "title": d["title"], "text": re.sub(r"<[^>]+>", " ", d["text"])}
        for d in index["docs"]
    ]
    search = lunr(ref="location", fields=BOOSTS, documents=documents)
    return [_pages(search.search(re.sub(r"[^\w\s]", " ", ask)), count) for ask in questions]


def _pages(found: list[dict[str, str]], count: int) -> list[str]:
    pages = dict.fromkeys(hit["ref"].split("#")[0].removesuffix(".html") for hit in found)
    return list(pages)[:count]


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

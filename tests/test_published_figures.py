"""Figures of the paper that nobody has read in the paper itself are marked wherever they stand."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from speechft.metrics.published import ROWS, SPEECH_FT_PAPER
from speechft.metrics.superb import superb_score
from speechft.reporting.study.page import SEEN, SEEN_TEXT

ROOT = Path(__file__).resolve().parent.parent
# From a reader's summary: scores, PER after SID fine-tuning, by how much PER rises, Mandarin CER.
SUMMARY = (
    *("651.42", "881.07", "726.64", "877.66", "908.86", "1010.29", "29.08", "6.91", "3.27"),
    *("648.96", "887.50", "838.56", "790.12", "785.93", "736.06"),
    *("789.88", "866.51", "24.94", "23.47", "24.23"),
)
UNMARKED = re.compile(rf"(?<![\d.])({'|'.join(map(re.escape, SUMMARY))})(?![\d{SEEN}])")


def test_study_files_and_pages_mark_what_is_from_a_summary():
    """Only what is said to be published: a figure measured here may be the same by chance."""
    marked = 0
    for path in sorted((ROOT / "studies").glob("*.yaml")):
        for finding in yaml.safe_load(path.read_text("utf-8")).get("findings", []):
            said = finding.get("published", "")
            assert not UNMARKED.search(said), f"{path.name}: {said}"
            marked += SEEN in said
    assert marked > 10
    for page in sorted((ROOT / "docs" / "studies").glob("*.md")):
        text = page.read_text("utf-8")
        said = re.findall(r"\(Published: (.*?)\.\) \|", text)
        assert not any(UNMARKED.search(one) for one in said), page.name
        assert (SEEN_TEXT in text) == any(SEEN in one for one in said), page.name


def test_the_leaderboard_has_all_of_the_papers_own_rows():
    """θ0, fine-tuned and merged, with the scores that the paper prints for them."""
    own = {row.name: row.scores for row in ROWS if row.source == SPEECH_FT_PAPER}
    printed = {
        "HuBERT Base (Speech-FT)": 870.20,
        "HuBERT + stable": 870.71,
        "HuBERT + Speech-FT": 905.79,
        "wav2vec2 Base (Speech-FT)": 837.08,
        "wav2vec2 + stable": 824.82,
        "wav2vec2 + Speech-FT": 864.79,
    }
    assert {name: round(superb_score(scores), 2) for name, scores in own.items()} == printed

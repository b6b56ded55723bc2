"""QUESST 2014: spoken queries and documents, for query by example.

Anguera et al., "QUESST2014: evaluating query-by-example speech search in a zero-resource setting
with real-life queries", ICASSP 2015; https://speech.fit.vutbr.cz/software/quesst-2014-multilingual-
database-query-by-example-keyword-spotting. SUPERB uses the part in non-native English.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from speechft.core.errors import SettingsError
from speechft.core.nearest_names import did_you_mean
from speechft.data.corpora import Corpus, register
from speechft.data.corpus_tree import read_lines, tree
from speechft.data.utterances import Loaded, Utterance, load_splits, problems_error

LISTS = {
    "docs": "scoring/language_key_utterances.lst",
    "dev_queries": "scoring/language_key_dev.lst",
    "eval_queries": "scoring/language_key_eval.lst",
}
TRUTH = {
    "dev_queries": "scoring/groundtruth_quesst14_dev/quesst14_dev.rttm",
    "eval_queries": "scoring/groundtruth_quesst14_eval/quesst14_eval.rttm",
}
LANGUAGE, ALL = "nnenglish", "all"
_HINT = (
    "get https://speech.fit.vutbr.cz/files/quesst14Database.tgz and unpack it; quesst14Database "
    "holds Audio, dev_queries, eval_queries and scoring"
)


@register(
    "quesst2014",
    partial(
        Corpus,
        find=tree(
            ("quesst14Database",),
            (*LISTS.values(), *TRUTH.values()),
            ("Audio/*.wav", *(f"{split}/*.wav" for split in TRUTH)),
        ),
        hours=23,
        source=_HINT,
        counts={"docs": 2438, "dev_queries": 138, "eval_queries": 138},
        variants=None,
    ),
)
def quesst2014(base: Path, variant: str) -> Loaded:
    """Read the lists and the ground truth in `ROOT/scoring/` and the audio that they name.

    `docs` are the documents, `dev_queries` and `eval_queries` the queries: `custom["matches"]` of a
    query is the sorted list of the ids of the documents that contain it. The variant is the
    language as the corpus writes it, or "all"; by default "nnenglish", as in SUPERB. Of one
    language `custom["listed"]` of a query says what the lists hold of all: how many queries occur
    in any document, how many documents there are, and how many of them contain this query.

    Raises:
        DataError: a list is missing or cannot be read.
        SettingsError: no document has this language.
    """
    language = variant or LANGUAGE
    parts = {split: _read_list(base, base / name) for split, name in LISTS.items()}
    whole = {split: list(part) for split, part in parts.items()}
    found = {str(u.language) for part in parts.values() for u in part}
    if language not in found | {ALL}:
        raise SettingsError(
            f"QUESST 2014 has no language {language!r}",
            where=base / LISTS["docs"],
            expected=", ".join([*sorted(found), ALL]),
            hint=did_you_mean(language, found),
        )
    if language != ALL:
        parts = {s: [u for u in part if u.language == language] for s, part in parts.items()}
    documents = {u.id for u in parts["docs"]}
    every = {u.id for u in whole["docs"]}
    problems = []
    for split, name in TRUTH.items():
        matches = _read_truth(base / name)
        counts = {q.id: len(matches[q.id] & every) for q in whole[split]}
        listed = sum(map(bool, counts.values())), len(every)
        for place, query in enumerate(parts[split]):
            custom: dict[str, Any] = {"matches": sorted(matches[query.id] & documents)}
            if language != ALL:
                custom["listed"] = [*listed, counts[query.id]]
            parts[split][place] = replace(query, custom=custom)
        if parts[split] and not any(query.custom["matches"] for query in parts[split]):
            problems.append(f"{name}: no query of {LISTS[split]} occurs in a document")
    return load_splits(parts, problems)


def _read_list(base: Path, listing: Path) -> list[Utterance]:
    """Read lines "quesst14Database/FOLDER/NAME.wav LANGUAGE"; the first folder is the corpus'."""
    utterances, problems = [], []
    for number, line in read_lines(listing):
        fields = line.split()
        if len(fields) == 2 and "/" in fields[0]:
            path = fields[0].split("/", 1)[1]
            where = f"{listing.name}, line {number}"
            utterances.append(Utterance(Path(path).stem, base / path, where, language=fields[1]))
        else:
            problems.append(f"line {number}: expected 'FOLDER/PATH LANGUAGE', found {line!r}")
    if problems:
        raise problems_error(problems, listing, what="the list has")
    return utterances


def _read_truth(path: Path) -> dict[str, set[str]]:
    """Read lines "LEXEME DOCUMENT 1 START DURATION QUERY …": query → documents that hold it."""
    matches: dict[str, set[str]] = defaultdict(set)
    for _, line in read_lines(path, "replace"):
        fields = line.split()
        if len(fields) > 5 and fields[0] == "LEXEME" and fields[5] != "NO_KEYWORD":
            matches[fields[5]].add(fields[1])
    return matches

"""Common Voice: sentences read by volunteers in many languages (https://commonvoice.mozilla.org).

Ardila et al., "Common Voice: a massively-multilingual speech corpus", LREC 2020.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from speechft.core.errors import DataError
from speechft.core.nearest_names import did_you_mean
from speechft.data.corpora import Corpus, register
from speechft.data.corpus_tree import describe, not_here, read_rows, refuse_unfilled
from speechft.data.utterances import Loaded, Utterance, load_splits

SPLITS = ("train", "dev", "test")
COLUMNS = ("client_id", "path", "sentence")
_HINT = (
    "get a language from https://datacollective.mozillafoundation.org (Common Voice Scripted "
    "Speech) and unpack it; cv-corpus-VERSION/LANGUAGE holds clips and train.tsv, dev.tsv, test.tsv"
)


def _find(root: Path, variant: str) -> Path:
    """Give the folder of the language."""
    base = _find_language(root, variant)
    missing = [f"{split}.tsv" for split in SPLITS if not (base / f"{split}.tsv").is_file()]
    if missing or not (base / "clips").is_dir():
        raise DataError(
            "the corpus is not complete",
            where=base,
            expected="train.tsv, dev.tsv, test.tsv, clips",
            found=f"no {', no '.join([*missing] or ['clips'])}{describe(base)}",
        )
    return refuse_unfilled(base, ["clips/*.*"])


@register("common_voice", partial(Corpus, find=_find, source=_HINT, variants=None))
def common_voice(base: Path, _variant: str) -> Loaded:
    """Read `ROOT[/LANGUAGE]/{train,dev,test}.tsv` and `ROOT[/LANGUAGE]/clips/*.mp3`.

    The variant is the language's code; it is not needed where there is one language only. The
    tables say which clips belong to a split, so there is no official number to compare with.

    Raises:
        DataError: the language is missing or not named, or a table or a column is missing.
    """
    problems: list[str] = []
    parts = {split: _read(base, base / f"{split}.tsv", problems) for split in SPLITS}
    return load_splits(parts, problems)


def _find_language(root: Path, variant: str) -> Path:
    if _is_language(root) and variant in ("", root.name):
        return root
    found = {child.name: child for child in sorted(root.iterdir()) if _is_language(child)}
    if variant in found:
        return found[variant]
    if not variant and len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise DataError(
            f"no language {variant!r} here" if variant else "there are several languages here",
            where=root,
            expected="one of them after the folder, as in common_voice:ROOT@LANGUAGE",
            found=", ".join(found),
            hint=did_you_mean(variant, found) if variant else "",
        )
    expected = f"{variant or 'LANGUAGE'}/train.tsv"
    raise not_here("Common Voice", expected, root, lambda place: _is_language(place / variant))


def _is_language(folder: Path) -> bool:
    return any((folder / f"{split}.tsv").is_file() for split in SPLITS)


def _read(base: Path, table: Path, problems: list[str]) -> list[Utterance]:
    # Sentences hold quotation marks that do not come in pairs.
    utterances = []
    for number, row in read_rows(table, COLUMNS, problems, delimiter="\t", quoted=False):
        audio, where = base / "clips" / row["path"], f"{table.name}, row {number}"
        text, language = row["sentence"].strip(), row.get("locale") or base.name
        utterances.append(Utterance(audio.stem, audio, where, text, row["client_id"], language))
    return utterances

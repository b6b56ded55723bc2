"""The data that a recipe names: what is here, what is missing, and where to get it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from speechft.core.errors import DataError
from speechft.core.places import home_expanded
from speechft.data.corpora import Corpus, corpora
from speechft.data.sources import is_synthetic, named_kind, root_and_variant
from speechft.pipeline.recipe.settings import RunSettings


@dataclass(frozen=True)
class Needed:
    """One DATA of a recipe.

    Attributes:
        data: as it is written.
        place: its folder or file; none for speech that is made here.
        corpus: the known corpus that it is of.
    """

    data: str
    place: Path | None
    corpus: Corpus | None

    @property
    def missing(self) -> bool:
        """Tell whether nothing is there, or an empty folder."""
        if self.place is None or self.place.is_file():
            return False
        return not self.place.is_dir() or not any(self.place.iterdir())

    @property
    def hours(self) -> float | None:
        """Hours of speech in the splits that tasks read, as the corpus' makers say."""
        return (self.corpus.hours or None) if self.corpus else None


def needed(recipe: RunSettings) -> list[Needed]:
    """Give the data of all sections, each once, in their order."""
    sections = [recipe.pretrain, *recipe.finetune, recipe.evaluate, recipe.analyze]
    names: dict[str, None] = {}
    for section in sections:
        if section is None:
            continue
        said = section.data or recipe.data
        names |= dict.fromkeys(said.values() if isinstance(said, dict) else [str(said)])
        if further := getattr(section, "rehearsal_data", None):
            names[further] = None
    return [_needed(name) for name in names]


def _needed(data: str) -> Needed:
    if is_synthetic(data):
        return Needed(data, None, None)
    kind, rest = named_kind(data)
    known = corpora()
    if kind in known:
        return Needed(data, root_and_variant(rest)[0], known[kind])
    return Needed(data, home_expanded(rest), None)


def refuse_missing(recipe: RunSettings, least: int = 2) -> None:
    """Look for all data of a recipe at once, before any of it is read.

    Args:
        recipe: the recipe.
        least: fewer than so many are left to whoever reads them, who says more of one alone.

    Raises:
        DataError: names what is missing, and where to get it.
    """
    lost = [one for one in needed(recipe) if one.missing]
    if len(lost) < least:
        return
    lines = [f"{one.data}: {one.corpus.source if one.corpus else 'no such data'}" for one in lost]
    where = "say where it is: --set data_root=FOLDER for all, --set places.NAME=FOLDER for one"
    raise DataError(
        "data is missing:\n" + "\n".join(f"    {line}" for line in lines),
        where=recipe.name,
        hint=where if recipe.places else "get it, or name other data",
    )

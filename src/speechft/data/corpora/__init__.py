"""Known corpora: `NAME:ROOT` reads the tree at ROOT as its publisher lays it out.

A corpus is one module here with one function, registered under its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from speechft.core.errors import DataError, SettingsError
from speechft.core.limits import LONGEST_SECONDS
from speechft.core.nearest_names import did_you_mean
from speechft.core.registry import Registry, import_modules
from speechft.data.corpus_tree import Finder, no_folder
from speechft.data.utterances import Loaded

Reader = Callable[[Path, str], Loaded]
Lack = Callable[[Path, str], Sequence[str]]


def _nothing(_base: Path, _task: str) -> Sequence[str]:
    return ()


@dataclass(frozen=True)
class Corpus:
    """A known corpus.

    Attributes:
        find: takes the root and the variant ("" for the usual one), and looks for the tree.
        read: takes the folder that `find` gave, and the variant.
        source: where to get it and how to lay it out, in one sentence.
        counts: split → official number of utterances, of the usual variant.
        variants: what may follow the root after `@`, and what it means; None for anything.
        packages: of Debian, that hold it.
        hours: of speech in the splits that tasks read, roughly; 0 where that is not known.
        longest: seconds of its longest utterance, where that is more than usual.
        lack: takes that folder and a task, and says what the task needs of it that is not there.
    """

    find: Finder
    read: Reader
    source: str
    counts: Mapping[str, int] = field(default_factory=dict)
    variants: Mapping[str, str] | None = field(default_factory=dict)
    packages: Sequence[str] = ()
    hours: float = 0.0
    longest: float = LONGEST_SECONDS
    lack: Lack = _nothing

    def look(self, root: Path, variant: str = "", tasks: Iterable[str] = ()) -> Path:
        """Look for the tree at a root, without reading it: its folders, lists and some audio.

        Args:
            root: where it should be.
            variant: what follows the root.
            tasks: that will read it.

        Returns:
            The folder that holds it.

        Raises:
            DataError: something is missing that every use, or one of the tasks, needs.
            SettingsError: the corpus has no such variant.
        """
        if variant and self.variants is not None and variant not in self.variants:
            raise SettingsError(
                f"the corpus has no variant {variant!r}",
                where=f"{root}@{variant}",
                expected=", ".join(f"@{name}" for name in self.variants) or "no @ after the root",
                hint=did_you_mean(variant, self.variants) if self.variants else None,
            )
        if not root.is_dir():
            raise no_folder(root, self.source)
        try:
            base = self.find(root, variant)
        except DataError as error:
            raise error.advised(self.source) from None
        if lost := dict.fromkeys(line for task in tasks for line in self.lack(base, task)):
            raise DataError("the corpus is not complete", where=base, found="; ".join(lost))
        return base

    def load(self, root: Path, variant: str = "") -> Loaded:
        """Read the tree at a root.

        Raises:
            DataError: something that every use needs is missing.
            SettingsError: the corpus has no such variant.
        """
        base = self.look(root, variant)
        try:
            loaded = self.read(base, variant)
        except DataError as error:
            raise error.advised(self.source) from None
        expected = {} if variant else self.counts
        return replace(loaded, source=self.source, official=True, expected=expected)


CORPORA: Registry[Corpus] = Registry("corpus")


def register(name: str, about: Callable[..., Corpus]) -> Callable[[Reader], Reader]:
    """Give a decorator that registers a corpus's reader; `about` is `partial(Corpus, …)`.

    A `DataError` of the reader that says nothing of what to do says where to get the corpus.
    """

    def add(read: Reader) -> Reader:
        CORPORA.register(name)(about(read=read))
        return read

    return add


def corpora() -> Registry[Corpus]:
    """Give all corpora by name."""
    import_modules(__name__, __path__)
    return CORPORA

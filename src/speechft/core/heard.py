"""What an encoder has heard with labels, and what it was chosen on: stretches of audio, speakers.

The list lies in `heard.gz` in the encoder's folder, or in `NAME.heard.gz` beside a checkpoint file,
and goes along wherever these go. It holds hashes, no names: of the weights that it speaks of, of
every stretch its file and channel with begin and end, of every speaker the corpus and the name.
Where an encoder was made by others its history is not known, and stays so in all that is made from
it; and so is that of other weights in the place of those that a list speaks of.
"""

from __future__ import annotations

import gzip
import re
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Final

from speechft.core.artifact import file_hashes, hash_values
from speechft.core.errors import CheckpointError
from speechft.core.files import atomic_path
from speechft.core.limits import text_lines

FILE: Final = "heard.gz"
UNKNOWN: Final = "unknown"
ANY: Final = ""
"""The corpus of speakers whose data says none: a table's may be those of any corpus."""
LOADED: Final = re.compile(
    r"((pytorch_|adapter_)?model(-\d+-of-\d+)?|adapter\.[\w-]+)\.(safetensors|bin)(\.index\.json)?"
)
"""What is loaded of an encoder's folder where it is there, whatever else is."""
_WEIGHTS: Final = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
_HEAD: Final = "speechft heard 1"
Stretch = tuple[str, int, int]
"""Key of a file's channel, begin and end in milliseconds."""
Speaker = tuple[str, str]
"""Keys of the corpus, which may be `ANY`, and of the name."""


def key_of(*parts: object) -> str:
    """Give eight bytes that stand for some values, as hex."""
    return hash_values([str(part) for part in parts])[:16]


@dataclass(frozen=True)
class Heard:
    """What was heard with labels.

    Attributes:
        stretches: of audio.
        speakers: whose speech that is.
        known: whether that is all.
        dev_stretches: of audio that it was not trained on, but chosen by, among those of a run.
        dev_speakers: whose speech that is.
    """

    stretches: frozenset[Stretch] = frozenset()
    speakers: frozenset[Speaker] = frozenset()
    known: bool = True
    dev_stretches: frozenset[Stretch] = frozenset()
    dev_speakers: frozenset[Speaker] = frozenset()

    def __or__(self, other: Heard) -> Heard:
        """Give what both have heard."""
        return Heard(
            self.stretches | other.stretches,
            self.speakers | other.speakers,
            self.known and other.known,
            self.dev_stretches | other.dev_stretches,
            self.dev_speakers | other.dev_speakers,
        )

    @property
    def as_dev(self) -> Heard:
        """What it was chosen on, as what was heard."""
        return Heard(self.dev_stretches, self.dev_speakers, self.known)

    def chosen_on(self, dev: Heard) -> Heard:
        """Give the same, of an encoder that was chosen by its scores on what `dev` holds."""
        return self | Heard(frozenset(), frozenset(), dev.known, dev.stretches, dev.speakers)

    def holds(self, stretches: Iterable[Stretch]) -> bool:
        """Tell whether any part of some audio was heard."""
        for key, begin, end in stretches:
            begins, ends = self._by_file.get(key, ((), ()))
            place = bisect_left(begins, end)  # those before begin earlier than this one ends
            if place and ends[place - 1] > begin:
                return True
        return False

    def holds_speaker(self, speaker: Speaker) -> bool:
        """Tell whether a speaker was heard."""
        corpora = self._corpora_of.get(speaker[1], frozenset())
        return bool(corpora) and (ANY in (*corpora, speaker[0]) or speaker[0] in corpora)

    def share(self, heard: int, of: int) -> float | str:
        """Give a share that was heard; where nothing of it is known to be, perhaps `unknown`."""
        return round(heard / of, 4) if heard or self.known else UNKNOWN

    @cached_property
    def _by_file(self) -> dict[str, tuple[list[int], list[int]]]:
        """Begins in order, and the latest end among those up to each."""
        parts: dict[str, list[tuple[int, int]]] = {}
        for key, begin, end in sorted(self.stretches):
            parts.setdefault(key, []).append((begin, end))
        return {
            key: ([b for b, _ in own], list(accumulate((e for _, e in own), max)))
            for key, own in parts.items()
        }

    @cached_property
    def _corpora_of(self) -> dict[str, frozenset[str]]:
        found: dict[str, set[str]] = {}
        for corpus, name in self.speakers:
            found.setdefault(name, set()).add(corpus)
        return {name: frozenset(corpora) for name, corpora in found.items()}


def write_heard(place: Path, heard: Heard) -> None:
    """Write the list of the weights that are there; the same list gives the same bytes.

    Args:
        place: an encoder's folder, all of whose weights have heard that, or a checkpoint file.
        heard: what they have heard.
    """
    lines = [f"{_HEAD} {'known' if heard.known else UNKNOWN}"]
    lines += [f"w {digest}" for digest in sorted(_hashes(_weights(place)))]
    lines += [" ".join(map(str, ("a", *stretch))) for stretch in sorted(heard.stretches)]
    lines += [f"s {corpus or '-'} {name}" for corpus, name in sorted(heard.speakers)]
    lines += [" ".join(map(str, ("da", *stretch))) for stretch in sorted(heard.dev_stretches)]
    lines += [f"ds {corpus or '-'} {name}" for corpus, name in sorted(heard.dev_speakers)]
    packed = gzip.compress("\n".join([*lines, ""]).encode(), mtime=0)
    with atomic_path(_list_of(place)) as temporary:
        temporary.write_bytes(packed)


def read_heard(place: Path) -> Heard:
    """Read what the weights in an encoder's folder, or in a checkpoint file, have heard.

    Nothing is known where there is no list, or where it speaks of other weights. One of an earlier
    version does not say of which: of a folder at least that was heard, of a file nothing is known.

    Raises:
        CheckpointError: the list is damaged.
    """
    path = _list_of(place)
    if place.is_file() and not path.exists():
        path = place.parent / FILE  # a merge writes BASE's format beside its own
    if not path.exists():
        return Heard(known=False)
    heard, spoken_of = _read(path)
    if not spoken_of and place.is_dir():
        return replace(heard, known=False)
    files = _weights(place)
    loaded = [f for f in files if LOADED.fullmatch(f.name)]
    if all(f.name.startswith("adapter.") for f in loaded):  # then one of another name is loaded
        loaded = files
    try:
        found = _hashes(loaded)
    except OSError:  # whoever loads it says so
        found = set()
    return heard if found and found <= spoken_of else Heard(known=False)


def _list_of(place: Path) -> Path:
    return place / FILE if place.is_dir() else place.with_name(f"{place.name}.{FILE}")


def _weights(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]
    files = (f for f in place.iterdir() if f.is_file())
    return [f for f in files if f.suffix in _WEIGHTS or LOADED.fullmatch(f.name)]


def _hashes(files: Iterable[Path]) -> set[str]:
    return set(file_hashes(map(str, files)).values())


def _read(path: Path) -> tuple[Heard, set[str]]:
    """Give what a list says was heard, and the hashes of the weights that it speaks of."""
    spoken_of: set[str] = set()
    stretches: dict[str, set[Stretch]] = {"a": set(), "da": set()}
    speakers: dict[str, set[Speaker]] = {"s": set(), "ds": set()}
    try:
        lines = (line for _, line in text_lines(path))
        head, _, state = next(lines, "").strip().rpartition(" ")
        if head != _HEAD or state not in ("known", UNKNOWN):
            raise ValueError("the first line is another one")
        for line in lines:
            kind, *fields = line.split()
            if kind == "w":
                (digest,) = fields
                spoken_of.add(digest)
            elif kind in stretches:
                key, begin, end = fields
                stretches[kind].add((key, int(begin), int(end)))
            elif kind in speakers:
                corpus, name = fields
                speakers[kind].add((ANY if corpus == "-" else corpus, name))
            else:
                raise ValueError(f"a line of the kind {kind!r}")
    except (OSError, ValueError, EOFError) as error:
        raise CheckpointError(
            "the list of what the encoder has heard cannot be read",
            where=path,
            found=error,
            hint="make the encoder again; without the file its history counts as not known",
        ) from None
    heard, dev = (
        Heard(frozenset(stretches[f"{d}a"]), frozenset(speakers[f"{d}s"])) for d in ("", "d")
    )
    return replace(heard.chosen_on(dev), known=state == "known"), spoken_of

"""Deterministic splits for data that comes without: by speaker, or by a hash of each utterance."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from speechft.core.registry import deferred
from speechft.data.cuts import audio_files
from speechft.data.identity import audio_hashes, audio_key
from speechft.data.utterances import DRAWN

if TYPE_CHECKING:
    import lhotse
    from lhotse import CutSet
    from lhotse.cut import Cut
else:
    lhotse = deferred("lhotse")

NAMES: Final = ("train", "dev", "test")
Key = Callable[["Cut"], str]
"""Gives an utterance's class."""
_SHARE: Final = 0.1
_BY_SPEAKER: Final = "split by speaker: train, dev and test share none"
_BY_ROW: Final = "split row by row within each label: train, dev and test may share speakers"


def split_cuts(
    cuts: Sequence[Cut], seed: int = 0, key: Key | None = None
) -> tuple[dict[str, CutSet], list[str]]:
    """Split into about 80 % `train`, 10 % `dev` and 10 % `test`, the same on every machine.

    Where every utterance has a speaker, `train`, `dev` and `test` share none, as long as `train`
    and `test` then have every class; otherwise utterances are split within their class.
    `sid_train`, `sid_dev` and `sid_test` are a second split of the same utterances with all
    speakers in each, for speaker identification. A cut keeps the seed in
    `custom["drawn_split"]`, so that a task on another column can draw again (see `draw_again`).

    Args:
        cuts: all utterances.
        seed: of the draw.
        key: gives an utterance's class; its label, emotion or intent if not given.

    Returns:
        split → cuts, and a line that says which was done.
    """
    key = key or _label
    cuts = [cut.with_custom(DRAWN, seed) if not is_drawn(cut) else cut for cut in cuts]
    speakers = {_speaker(cut) for cut in cuts}
    if "" in speakers or len(speakers) < len(NAMES):
        why = "some have no speaker" if "" in speakers else "there are under 3 speakers"
        return _within(cuts, key, seed), [f"{_BY_ROW}, as {why}"]
    splits, note = split_by_speaker(cuts, seed, key), _BY_SPEAKER
    train, test = ({key(cut) for cut in splits.get(name, ())} for name in ("train", "test"))
    lacking = sorted({key(cut) for cut in cuts} - (train & test) - {""})
    if lacking or "dev" not in splits:
        why = f"{lacking[0]!r} has" if lacking else "there are"
        splits, note = _within(cuts, key, seed), f"{_BY_ROW}, as {why} too few speakers"
    closed = _within(cuts, _speaker, seed)
    return splits | {f"sid_{name}": part for name, part in closed.items()}, [note]


def is_drawn(cut: Cut) -> bool:
    """Tell whether the split of an utterance was drawn by `split_cuts`, and is nobody's own."""
    return DRAWN in (cut.custom or {})


def draw_again(
    splits: Mapping[str, Iterable[Cut]], key: Key
) -> tuple[dict[str, CutSet], list[str]] | None:
    """Split data that came without splits again, by other classes; None where they are its own."""
    cuts = sorted((c for name in NAMES for c in splits.get(name, ())), key=lambda cut: str(cut.id))
    if not cuts or not all(map(is_drawn, cuts)):
        return None
    found, notes = split_cuts(cuts, (cuts[0].custom or {})[DRAWN], key)
    return {name: found[name] for name in NAMES if name in found}, notes


def split_by_speaker(
    cuts: Sequence[Cut], seed: int = 0, key: Key | None = None
) -> dict[str, CutSet]:
    """Give whole speakers to dev and test until each holds its share of the utterances.

    Who has more than twice that share stays in train, as long as there are others. A speaker whom a
    class needs elsewhere stays, too: train comes first, then test. Then dev and test get further
    speakers, until they have all classes too where that can be.
    """
    groups = _group(cuts, _speaker)
    order = sorted(groups, key=lambda speaker: _hash(seed, speaker))
    of = {s: {(key or _label)(cut) for cut in own} - {""} for s, own in groups.items()}
    home: dict[str, str] = {}
    left = Counter(one for classes in of.values() for one in classes)

    def give(speaker: str, name: str) -> int:
        home[speaker] = name
        left.subtract(of[speaker])
        return len(groups[speaker])

    def free(needed: int) -> list[str]:
        return [s for s in order if s not in home and all(left[c] > needed for c in of[s])]

    share, most = _SHARE * len(cuts), len(order) // len(NAMES)
    for name, needed in (("dev", 2), ("test", 1)):
        count = 0
        others = [s for s in order if s not in home]
        fewest = min(others, key=lambda speaker: len(groups[speaker]))
        for speaker in [s for s in others if s == fewest or len(groups[s]) <= 2 * share][:most]:
            if count < share and speaker in free(needed):
                count += give(speaker, name)
    for name in ("test", "dev"):
        for one in sorted(left):
            if not any(one in of[s] for s, own in home.items() if own == name):
                for speaker in [s for s in free(1) if one in of[s]][:1]:
                    give(speaker, name)
    return _collect(cuts, lambda cut: home.get(_speaker(cut), "train"))


def _within(cuts: Sequence[Cut], key: Key, seed: int) -> dict[str, CutSet]:
    """Split every group alike; a group of three or more is in all three splits."""
    home: dict[str, str] = {}
    first = _first_of_same_audio(cuts)
    for group in _group(cuts, lambda cut: key(first[cut.id])).values():
        names = {first[cut.id].id for cut in group}
        order = sorted(names, key=lambda name: _hash(seed, name))
        count = max(1, round(_SHARE * len(order))) if len(order) >= len(NAMES) else 0
        home |= dict.fromkeys(order[:count], "dev")
        home |= dict.fromkeys(order[count : 2 * count], "test")
    return _collect(cuts, lambda cut: home.get(first[cut.id].id, "train"))


def _first_of_same_audio(cuts: Iterable[Cut]) -> dict[str, Cut]:
    """Give the first utterance with the audio of each one, by id: those stay on one side.

    Only files of one length are compared by their bytes.
    """
    like: dict[tuple[object, ...], list[Cut]] = defaultdict(list)
    for cut in sorted(cuts, key=lambda one: str(one.id)):
        files = [Path(file) for file in audio_files(cut)]
        there = files and all(map(Path.is_file, files))
        sizes = [file.stat().st_size for file in files] if there else [cut.id]
        like[(*sizes, cut.start, cut.duration)].append(cut)
    found: dict[str, Cut] = {}
    for group in like.values():
        content = audio_hashes(group) if len(group) > 1 else {}
        seen: dict[str, Cut] = {}
        for cut in group:
            found[cut.id] = seen.setdefault(audio_key(cut, content), cut) if content else cut
    return found


def _collect(cuts: Iterable[Cut], key: Key) -> dict[str, CutSet]:
    parts = _group(cuts, key)
    return {name: lhotse.CutSet.from_cuts(parts[name]) for name in NAMES if name in parts}


def _group(cuts: Iterable[Cut], key: Key) -> dict[str, list[Cut]]:
    groups: dict[str, list[Cut]] = defaultdict(list)
    for cut in cuts:
        groups[key(cut)].append(cut)
    return groups


def _speaker(cut: Cut) -> str:
    return str(cut.supervisions[0].speaker or "")


def _label(cut: Cut) -> str:
    custom = cut.supervisions[0].custom or {}
    return str(next((custom[k] for k in ("label", "emotion", "intent") if custom.get(k)), ""))


def _hash(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()

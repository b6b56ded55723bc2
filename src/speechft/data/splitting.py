"""Deterministic splits for data that comes without: by speaker, or by a hash of each utterance."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from lhotse import CutSet
from lhotse.cut import Cut

NAMES = ("train", "dev", "test")
_SHARE = 0.1


def split_cuts(cuts: Sequence[Cut], seed: int = 0) -> tuple[dict[str, CutSet], list[str]]:
    """Split into about 80 % `train`, 10 % `dev` and 10 % `test`, the same on every machine.

    Where every utterance has a speaker and there are at least three, `train`, `dev` and `test`
    share no speaker, and `sid_train`, `sid_dev`, `sid_test` are a second split of the same
    utterances with all speakers in each, for speaker identification. Otherwise, and where `train`
    would then lack a class, utterances are split within their label, emotion or intent.

    Returns:
        split → cuts, and what is worth knowing of them.
    """
    speakers = {_speaker(cut) for cut in cuts}
    if "" in speakers or len(speakers) < len(NAMES):
        return _within(cuts, _label, seed), []
    splits, notes = split_by_speaker(cuts, seed), []
    lacking = {_label(cut) for cut in cuts} - {_label(cut) for cut in splits["train"]}
    if lacking:
        splits = _within(cuts, _label, seed)
        notes = [
            f"train, dev and test share speakers, as {min(lacking)!r} has too few of them; a "
            "column 'split' says it otherwise"
        ]
    closed = _within(cuts, _speaker, seed)
    return splits | {f"sid_{name}": part for name, part in closed.items()}, notes


def split_by_speaker(cuts: Sequence[Cut], seed: int = 0) -> dict[str, CutSet]:
    """Give whole speakers to dev and test until each holds its share of the utterances."""
    groups = _group(cuts, _speaker)
    order = sorted(groups, key=lambda speaker: _hash(seed, speaker))
    home: dict[str, str] = {}
    for name in ("dev", "test"):
        count = 0
        for speaker in [s for s in order if s not in home][: len(order) // len(NAMES)]:
            if count >= _SHARE * len(cuts):
                break
            home[speaker] = name
            count += len(groups[speaker])
    return _collect(cuts, lambda cut: home.get(_speaker(cut), "train"))


def _within(cuts: Sequence[Cut], key: Callable[[Cut], str], seed: int) -> dict[str, CutSet]:
    """Split every group alike; a group of three or more is in all three splits."""
    home: dict[str, str] = {}
    for group in _group(cuts, key).values():
        order = sorted((cut.id for cut in group), key=lambda name: _hash(seed, name))
        count = max(1, round(_SHARE * len(order))) if len(order) >= len(NAMES) else 0
        home |= dict.fromkeys(order[:count], "dev")
        home |= dict.fromkeys(order[count : 2 * count], "test")
    return _collect(cuts, lambda cut: home.get(cut.id, "train"))


def _collect(cuts: Iterable[Cut], key: Callable[[Cut], str]) -> dict[str, CutSet]:
    parts = _group(cuts, key)
    return {name: CutSet.from_cuts(parts[name]) for name in NAMES if name in parts}


def _group(cuts: Iterable[Cut], key: Callable[[Cut], str]) -> dict[str, list[Cut]]:
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

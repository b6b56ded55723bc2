"""Speaker verification: pairs of utterances, and the loss of its head."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from speechft.core.errors import DataError
from speechft.core.registry import deferred
from speechft.core.seeding import numpy_generator
from speechft.tasks.base import custom, supervision

if TYPE_CHECKING:
    from lhotse.cut import Cut
    from torch import Tensor
    from torch.nn import functional
else:
    functional = deferred("torch.nn.functional")

PAIRS = 20_000


def has_trials(cuts: Iterable[Cut]) -> bool:
    """Tell whether the cuts name their trials."""
    return any(custom(cut, "trials") for cut in cuts)


def with_drawn_trials(cuts: Sequence[Cut]) -> list[Cut]:
    """Draw up to `PAIRS` trials, half of one speaker and half of two, the same for the same cuts.

    Args:
        cuts: utterances with speakers.

    Raises:
        DataError: there is no pair of one speaker, or none of two.
    """
    ordered = sorted(cuts, key=lambda cut: str(cut.id))
    speakers = [str(supervision(cut).speaker) for cut in ordered]
    random = numpy_generator(0, "trials", len(ordered))
    groups: dict[str, list[int]] = {}
    for i, speaker in enumerate(speakers):
        groups.setdefault(speaker, []).append(i)
    same = [pair for members in groups.values() for pair in combinations(members, 2)]
    if not same or len(groups) < 2:
        raise DataError(
            "there are no pairs to verify speakers with",
            expected="at least two speakers, one with two utterances",
            found=f"{len(ordered)} utterances of {len(groups)} speakers",
        )
    half = min(PAIRS // 2, len(same))
    chosen = [same[i] for i in random.choice(len(same), half, replace=False)]
    pairs = [(*pair, 1) for pair in chosen]
    pairs += [(*pair, 0) for pair in _different(speakers, half, random)]
    own: dict[int, list[list[Any]]] = {}
    for one, other, label in sorted(pairs):
        own.setdefault(one, []).append([ordered[other].id, label])
    return [with_trials(cut, own[i]) if i in own else cut for i, cut in enumerate(ordered)]


def trials_of(references: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str, int]]:
    """Give (one id, other id, label) of every trial."""
    for reference in references:
        for other, label in reference["trials"]:
            yield str(reference["id"]), str(other), int(label)


def _different(
    speakers: Sequence[str], count: int, random: np.random.Generator
) -> list[tuple[int, int]]:
    """Draw distinct pairs of two speakers, all of them where there are no more than asked for."""
    total = len(speakers)
    if total * total <= 8 * count:
        every = [p for p in combinations(range(total), 2) if speakers[p[0]] != speakers[p[1]]]
        kept = random.permutation(len(every))[:count]
        return [every[i] for i in kept]
    found: dict[tuple[int, int], None] = {}
    tries = 0
    while len(found) < count and tries < 100 * count:
        tries += 1
        one, other = sorted(int(i) for i in random.integers(total, size=2))
        if speakers[one] != speakers[other]:
            found[one, other] = None
    return list(found)


def with_trials(cut: Cut, trials: list[list[Any]]) -> Cut:
    """Give a cut that opens these trials and no others."""
    old: Any = cut.supervisions[0]
    changed = replace(old, custom={**(old.custom or {}), "trials": trials})
    return replace(cut, supervisions=[changed])


def am_softmax(
    cosines: Tensor, classes: Tensor, scale: float = 30.0, margin: float = 0.4
) -> Tensor:
    """Give the additive-margin softmax loss, mean over the batch, in float32.

    Args:
        cosines: (B, C), between utterances and classes.
        classes: (B,).
        scale: what the cosines are multiplied with.
        margin: what is taken off the right class' cosine first.

    Source:
        Wang et al., "Additive Margin Softmax for Face Verification", 2018, equation 6.
    """
    right = functional.one_hot(classes, cosines.shape[1])
    return functional.cross_entropy(scale * (cosines.float() - margin * right), classes)

"""Leaks: test items and speakers that an encoder has heard with labels, or was chosen on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

from lhotse.cut import Cut

from speechft.core.errors import DataError, SettingsError
from speechft.core.heard import UNKNOWN, Heard, Speaker, Stretch
from speechft.data.identity import heard_in, speakers_of, stretches_of
from speechft.encoders.identity import heard_of, is_sweep_folder
from speechft.merging.sweep import read_sweep
from speechft.probing.settings import EncoderSpec
from speechft.tasks import TASKS

SHARES = ("heard_items", "heard_speakers")
"""In a record: shares of the test split, from 0 to 1, or `unknown`."""
DEV_SHARES = ("dev_items", "dev_speakers")
"""In a record: shares that were dev when the encoder was chosen among those of its fine-tuning."""
PROBE_SHARE = "probe_items"
"""In a record: share of the test items that the task's own training split holds, too."""
ALL_SHARES = (*SHARES, *DEV_SHARES, PROBE_SHARE)


def heard_by(spec: EncoderSpec, of: Callable[[str], Heard] = heard_of) -> Heard:
    """Give what all the encoders have heard that an encoder is made of.

    Args:
        spec: the encoder.
        of: gives what a stored one has heard.

    Raises:
        CheckpointError: a list is damaged.
    """
    names: list[str] = []
    for source in spec.sources:
        if is_sweep_folder(source):
            sweep = read_sweep(Path(source))
            names += [one.path for one in (sweep.base, *sweep.tuned)]
        else:
            names.append(source)
    return reduce(or_, map(of, names), Heard())


_AS = dict.fromkeys(DEV_SHARES, " as the dev split that chose the encoder")
_AS[PROBE_SHARE] = " as training data of the probe itself"


@dataclass(frozen=True)
class Tested:
    """What a task's test splits hold.

    Attributes:
        items: of every fold, the stretches of every test utterance.
        speakers: likewise, the utterance's speakers that are not among those the task's own head
            is trained on: where those are the same by design, nothing is said of them.
        taught: likewise, whether the task's own head is trained on a part of the utterance.
    """

    items: list[list[list[Stretch]]]
    speakers: list[list[set[Speaker]]]
    taught: list[list[bool]]

    def shares(self, heard: Heard) -> dict[str, float | str]:
        """Give what of it an encoder has heard; speakers, dev and probe only where they count."""
        found = self._shares(heard, SHARES)
        taught = [one for fold in self.taught for one in fold]
        if any(taught):
            found[PROBE_SHARE] = round(sum(taught) / len(taught), 4)
        if heard.dev_stretches:
            dev = self._shares(heard.as_dev, DEV_SHARES)
            found |= {name: share for name, share in dev.items() if share not in (0, UNKNOWN)}
        return found

    def _shares(self, heard: Heard, names: tuple[str, str]) -> dict[str, float | str]:
        items = [own for fold in self.items for own in fold]
        found = {names[0]: heard.share(sum(map(heard.holds, items)), len(items))}
        new: list[set[Speaker]] = [set().union(*fold) for fold in self.speakers]
        if count := sum(map(len, new)):
            old = sum(heard.holds_speaker(one) for fold in new for one in fold)
            found[names[1]] = heard.share(old, count)
        return found

    def clean(self, heard: Heard, fold: int) -> list[bool]:
        """Tell of every test utterance of a fold whether neither it nor its speaker was heard."""
        either = heard | heard.as_dev
        parts = zip(self.items[fold], self.speakers[fold], self.taught[fold], strict=True)
        return [
            not taught and not either.holds(own) and not any(map(either.holds_speaker, speakers))
            for own, speakers, taught in parts
        ]


def tested(
    task: str,
    splits: Mapping[str, Sequence[Cut]],
    names: Sequence[str],
    spec: str,
    content: Mapping[str, str],
) -> Tested:
    """Look at a task's test splits.

    Args:
        task: whose they are.
        splits: name → cuts.
        names: train, dev and test, of every fold.
        spec: the DATA.
        content: audio file → hash.
    """
    result = Tested([], [], [])
    for train, test in zip(names[::3], names[2::3], strict=True):
        trained = TASKS[task].trains
        taught = heard_in(splits[train] if trained else [], spec, content)
        known = speakers_of(splits[train], spec)
        items = [stretches_of(cut, content) for cut in splits[test]]
        result.items.append(items)
        result.speakers.append([speakers_of([cut], spec) - known for cut in splits[test]])
        result.taught.append(list(map(taught.holds, items)))
    return result


def without_heard(
    splits: dict[str, list[Cut]], task: str, names: Sequence[str], of: Tested, heard: Heard
) -> tuple[list[str], int]:
    """Put test splits beside the others that hold nothing that was heard.

    Args:
        splits: name → cuts; the new ones are added.
        task: whose they are.
        names: its train, dev and test, of every fold.
        of: what its test splits hold.
        heard: by any encoder of the evaluation.

    Returns:
        The names with the new ones in their place, without folds of which nothing is left, and how
        many utterances were left out.

    Raises:
        DataError: nothing is left.
    """
    kept: list[str] = []
    before = after = 0
    for fold, (train, dev, test) in enumerate(
        zip(names[::3], names[1::3], names[2::3], strict=True)
    ):
        chosen = of.clean(heard, fold)
        before, after = before + len(chosen), after + sum(chosen)
        if all(chosen):
            kept += [train, dev, test]
            continue
        left = [cut for cut, clean in zip(splits[test], chosen, strict=True) if clean]
        left = TASKS[task].without_others(left)
        if left:
            new = f"{test}@unheard-{task}"
            splits[new] = left
            kept += [train, dev, new]
    if not kept:
        raise DataError(
            f"nothing is left of the test split of {task!r} that no encoder has heard with labels",
            expected="utterances and speakers that were not tuned on",
            found=f"{before} utterances, all heard",
            hint="give other data, leave the task out, or mark such results with on_leak: mark",
        )
    return kept, before - after


def leaking(shares: Mapping[str, Any]) -> list[str]:
    """Say what of a test split was heard, in words; nothing where nothing is known to be."""
    found = [(name, shares.get(name)) for name in ALL_SHARES]
    return [
        f"{100 * share:.3g} % of the test {name.partition('_')[2]}{_AS.get(name, '')}"
        for name, share in found
        if isinstance(share, int | float) and share > 0
    ]


def share_heard(record: Mapping[str, Any]) -> float | None:
    """Give the largest share that a record names; none where nothing is known of it."""
    found = [record.get(name, 0.0) for name in ALL_SHARES]
    numbers = [float(share) for share in found if isinstance(share, int | float)]
    return None if UNKNOWN in found and not any(numbers) else max(numbers, default=0.0)


def is_dev_alone(record: Mapping[str, Any]) -> bool:
    """Tell whether nothing of a test split was trained on, and some of it was dev."""
    trained_on = {name: share for name, share in record.items() if name not in DEV_SHARES}
    return bool(share_heard(record)) and not share_heard(trained_on)


def refuse_leaks(leaks: Sequence[str]) -> None:
    """Refuse to score what was heard.

    Args:
        leaks: one line for every encoder and task.

    Raises:
        SettingsError: there are some.
    """
    if leaks:
        lines = "".join(f"\n    {line}" for line in leaks[:20])
        raise SettingsError(
            f"encoders have heard what they would be tested on, with labels, or were chosen on it:"
            f"{lines}",
            expected="test utterances and speakers that no encoder was tuned on",
            hint="choose other data, or on_leak: mark (say so) or drop (leave them out for all)",
        )

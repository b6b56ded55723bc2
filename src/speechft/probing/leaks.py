"""Leaks: test items and speakers that an encoder has heard with labels, or was chosen on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Final

from speechft.core.errors import DataError, SettingsError
from speechft.core.heard import UNKNOWN, Heard, Speaker, Stretch
from speechft.data.identity import heard_in, speakers_of, stretches_of
from speechft.encoders.identity import heard_of, is_sweep_folder
from speechft.merging.sweep import read_sweep
from speechft.probing.heard_shares import DEV_SHARES, PROBE_DEV_SHARE, PROBE_SHARE, SHARES
from speechft.probing.settings import EncoderSpec
from speechft.tasks import TASKS

if TYPE_CHECKING:
    from lhotse.cut import Cut

_UNHEARD: Final = "@unheard-"


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


@dataclass(frozen=True)
class Tested:
    """What a task's test splits hold.

    Attributes:
        items: of every fold, the stretches of every test utterance.
        speakers: likewise, the utterance's speakers that are not among those the task's own head
            is trained on: where those are the same by design, nothing is said of them.
        taught: likewise, whether the task's own head is trained on a part of the utterance.
        chose: likewise, whether the task's own dev split holds a part of it; not where that is the
            test split by its protocol.
    """

    items: list[list[list[Stretch]]]
    speakers: list[list[set[Speaker]]]
    taught: list[list[bool]]
    chose: list[list[bool]]

    def shares(self, heard: Heard) -> dict[str, float | str]:
        """Give what of it an encoder has heard; speakers, dev and probe only where they count."""
        found = self._shares(heard, SHARES)
        for name, folds in ((PROBE_SHARE, self.taught), (PROBE_DEV_SHARE, self.chose)):
            own = [one for fold in folds for one in fold]
            if any(own):
                found[name] = round(sum(own) / len(own), 4)
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
        by_probe = map(or_, self.taught[fold], self.chose[fold])
        parts = zip(self.items[fold], self.speakers[fold], by_probe, strict=True)
        return [
            not probed and not either.holds(own) and not any(map(either.holds_speaker, speakers))
            for own, speakers, probed in parts
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
    result = Tested([], [], [], [])
    for train, dev, test in zip(names[::3], names[1::3], names[2::3], strict=True):
        trained = TASKS[task].trains
        taught = heard_in(splits[train] if trained else [], spec, content)
        known = speakers_of(splits[train], spec)
        items = [stretches_of(cut, content) for cut in splits[test]]
        result.items.append(items)
        result.speakers.append([speakers_of([cut], spec) - known for cut in splits[test]])
        result.taught.append(list(map(taught.holds, items)))
        by_protocol = dev == test.partition(_UNHEARD)[0]
        chose = heard_in([] if by_protocol else splits[dev], spec, content)
        result.chose.append(list(map(chose.holds, items)))
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
            new = f"{test}{_UNHEARD}{task}"
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

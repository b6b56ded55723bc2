"""ASV: speaker verification.

How much audio silence leaves of an utterance is remembered for large data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from speechft.core.artifact import hash_values
from speechft.core.errors import DataError, MissingSplitError
from speechft.core.files import cache_folder, read_json, write_json
from speechft.core.registry import deferred
from speechft.core.seeding import numpy_generator
from speechft.data.cuts import crop_start, with_effects
from speechft.data.identity import audio_keys
from speechft.data.utterances import in_threads
from speechft.data.waveform_effects import GAIN, TRIM, crop
from speechft.metrics.detection import equal_error_rate, min_dcf
from speechft.tasks.base import (
    TASKS,
    ProtocolName,
    Purpose,
    Size,
    Task,
    choose_splits,
    custom,
    missing,
    non_empty,
    supervision,
)
from speechft.tasks.probe_plan import Plan, PublishedPlan
from speechft.tasks.speaker_trials import (
    am_softmax,
    has_trials,
    trials_of,
    with_drawn_trials,
    with_trials,
)

if TYPE_CHECKING:
    import torch
    from lhotse.cut import Cut
    from torch import Tensor, nn
    from torch.nn import functional
else:
    torch, functional = deferred("torch"), deferred("torch.nn.functional")

CROP: Final = 128_000  # samples of a training utterance
SHORTEST: Final = 32_000  # samples that a training utterance of VoxCeleb1 must exceed
HELD_OUT: Final = 40  # speakers of the dev trials


@TASKS.register("asv")
class SpeakerVerification(Task):
    """Whether two utterances have one speaker: cosine between embeddings, by an x-vector head.

    All audio is turned down by 3 dB and its silence removed; of a longer training utterance one
    fixed crop of 8 s is heard (S3PRL draws a new one each time). Trials are in `custom["trials"]`
    of their first utterance, [other id, 1 or 0]; where there are none they are drawn from the
    speakers.

    With VoxCeleb1 (`asv_train`, `asv_test`) the dev trials are drawn from 40 training speakers, who
    are left out of training. S3PRL trains on all and keeps the best result on the test trials.
    """

    id: ClassVar[str] = "asv"
    title: ClassVar[str] = "speaker verification"
    pooled: ClassVar[bool] = False
    metrics: ClassVar[tuple[str, ...]] = ("eer", "min_dcf")
    target_is_sequence: ClassVar[bool] = False
    fixed: ClassVar[tuple[str, type]] = ("speakers", list)
    plans: ClassVar[Mapping[Size, Plan]] = {
        "mini": Plan(400, 32, (3e-3, 1e-3), clip=1000.0, weight_decay=0.01),
        "superb": Plan(200_000, 50, (1e-3, 1e-4, 5e-5, 1e-5), clip=1000.0, weight_decay=0.01),
    }
    published: ClassVar[PublishedPlan | None] = PublishedPlan("shuffled", 10, 5, 1, 10)
    corpora: ClassVar[tuple[str, ...]] = ("voxceleb1",)
    official_items: ClassVar[int | None] = 4715  # the utterances of VoxCeleb1's cleaned trials
    revisions: ClassVar[Mapping[ProtocolName, int]] = {"clean": 1, "s3prl": 2}
    compares: ClassVar[str] = "it tells whether two utterances have one speaker"

    def __init__(self, speakers: Sequence[str], protocol: ProtocolName = "clean") -> None:
        self.speakers = list(speakers)
        self.protocol = protocol
        self._index = {speaker: i for i, speaker in enumerate(self.speakers)}

    @classmethod
    def arrange(
        cls, data: Mapping[str, Iterable[Cut]], protocol: ProtocolName = "clean"
    ) -> list[tuple[str, list[Cut]]]:
        """Give the utterances to train on, and those of the dev and test trials."""
        missing_half = [name for name in ("asv_train", "asv_test") if name not in data]
        if len(missing_half) == 1:
            raise MissingSplitError(
                f"the data lacks the split {missing_half[0]!r}, which the task 'asv' needs",
                expected="asv_train, asv_test",
                found=", ".join(data),
                hint="for VoxCeleb1, put the list of trials beside dev and test",
            )
        if missing_half:
            names = choose_splits(cls, data)
            train, dev, test = (_without_silence(data[name]) for name in names)
            own = [(names[0], [_cropped(*item) for item in train]), (names[1], _pairs(dev))]
            own.append((names[2], _pairs(test)))
            return [(f"{name}@{cls.id}", cuts) for name, cuts in own]
        train = [item for item in _without_silence(data["asv_train"]) if item[1] > SHORTEST]
        testing = ("asv_test@asv", _pairs(_without_silence(data["asv_test"])))
        if protocol == "s3prl":
            return [("asv_train@asv", [_cropped(*item) for item in train]), testing, testing]
        held = _held_out([cut for cut, _ in train])
        kept = [_cropped(cut, n) for cut, n in train if supervision(cut).speaker not in held]
        others = [item for item in train if supervision(item[0]).speaker in held]
        return [("asv_train@clean", kept), ("asv_dev@clean", _pairs(others)), testing]

    @classmethod
    def without_others(cls, cuts: list[Cut]) -> list[Cut]:
        """Give the utterances with the trials whose two are left; none if one kind is gone."""
        there = {str(cut.id) for cut in cuts}
        own = [[t for t in custom(cut, "trials") or [] if str(t[0]) in there] for cut in cuts]
        kinds = {label for trials in own for _, label in trials}
        return list(map(with_trials, cuts, own)) if len(kinds) == 2 else []

    @classmethod
    def from_cuts(cls, train: Iterable[Cut], protocol: ProtocolName = "clean") -> Self:
        """Collect the speakers of the training split."""
        speakers = {cls._speaker(cut) for cut in non_empty(train, cls.id)}
        if len(speakers) < 2:
            raise DataError(
                f"the task {cls.id!r} needs at least two speakers in the training split",
                found=", ".join(speakers),
            )
        return cls(sorted(speakers), protocol)

    def target(self, cut: Cut) -> Tensor:
        """Give the speaker's class (1,); −1 for a speaker that is not in training."""
        return torch.tensor([self._index.get(self._speaker(cut), -1)])

    def reference(self, cut: Cut) -> dict[str, Any]:
        """Give the utterance's id and the trials that it opens."""
        return {"id": str(cut.id), "trials": custom(cut, "trials") or []}

    def build_head(self, input_dim: int, *, purpose: Purpose, size: Size) -> nn.Module:  # noqa: ARG002
        """Build the x-vector head, for both purposes."""
        from speechft.heads.xvector import XVector

        width, last = (512, 1500) if size == "superb" else (128, 384)
        quirk = self.protocol == "s3prl"
        return XVector(input_dim, self.output_size, width, last, padded_frame=quirk)

    def loss(self, logits: Tensor, lengths: Tensor | None, targets: Sequence[Tensor]) -> Tensor:  # noqa: ARG002
        """Give the additive-margin softmax loss (scale 30, margin 0.4)."""
        return am_softmax(logits, torch.cat(list(targets)).to(logits.device))

    def decode(self, logits: Tensor, lengths: Tensor | None) -> list[Any]:  # noqa: ARG002
        """Give each utterance's embedding (E,) of length 1."""
        return list(functional.normalize(logits.float()).cpu())

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Give EER and minDCF over all trials that the references open."""
        rows = self._scored(predictions, references)
        trials = [r["label"] for r in rows], [r["score"] for r in rows]
        return {"eer": equal_error_rate(*trials), "min_dcf": min_dcf(*trials)}

    def rows(
        self,
        cuts: Sequence[Cut],  # noqa: ARG002
        references: Sequence[Any],
        predictions: Sequence[Any],
    ) -> list[dict[str, Any]]:
        """Give every trial with its score."""
        return self._scored(predictions, references)

    @classmethod
    def _speaker(cls, cut: Cut) -> str:
        speaker = supervision(cut).speaker
        if not speaker:
            raise missing(cut, "a speaker", cls.id, ["speaker"])
        return str(speaker)

    @staticmethod
    def _scored(predictions: Sequence[Any], references: Sequence[Any]) -> list[dict[str, Any]]:
        place = {str(reference["id"]): i for i, reference in enumerate(references)}
        trials = list(trials_of(references))
        absent = [other for _, other, _ in trials if other not in place]
        if absent:
            raise DataError(
                "a trial names an utterance that is not in the split",
                found=f"{absent[0]} and {len(absent) - 1} more" if absent[1:] else absent[0],
            )
        vectors = torch.stack(list(predictions))
        one, other = [place[a] for a, _, _ in trials], [place[b] for _, b, _ in trials]
        scores = (vectors[one] * vectors[other]).sum(dim=1).tolist()
        return [
            {"id": a, "other": b, "label": label, "score": round(score, 6)}
            for (a, b, label), score in zip(trials, scores, strict=True)
        ]


def _without_silence(cuts: Iterable[Cut]) -> list[tuple[Cut, int]]:
    """Give each cut with its effects, and how many samples they leave."""
    changed = [with_effects(cut, [GAIN, TRIM]) for cut in cuts]
    return list(zip(changed, heard_lengths(changed), strict=True))


def _cropped(cut: Cut, samples: int) -> Cut:
    if samples <= CROP:
        return with_effects(cut, [], samples)
    return with_effects(cut, [crop(crop_start(cut, samples, CROP), CROP)], CROP)


def _pairs(items: Sequence[tuple[Cut, int]]) -> list[Cut]:
    cuts = [with_effects(cut, [], samples) for cut, samples in items]
    return cuts if has_trials(cuts) else with_drawn_trials(cuts)


def _held_out(cuts: Sequence[Cut]) -> set[str | None]:
    """Choose the speakers of the dev trials: 40, or a fifth of them where there are few."""
    speakers = sorted({str(supervision(cut).speaker) for cut in cuts})
    count = min(HELD_OUT, max(2, len(speakers) // 5))
    if len(speakers) < count + 2:
        raise DataError(
            "there are too few speakers to hold some out for dev",
            expected=f"{count + 2} with utterances above 2 s",
            found=len(speakers),
            hint="give more speakers, or choose protocol: s3prl, which holds none out",
        )
    order = numpy_generator(0, "held-out speakers").permutation(len(speakers))
    return {speakers[i] for i in order[:count]}


LENGTHS_VERSION: Final = 2  # raise it when an effect gives other audio
MANY: Final = 1000  # cuts from which on lengths are remembered
_THREADS: Final = 8


def heard_lengths(cuts: Sequence[Cut]) -> list[int]:
    """Give the samples of each cut as `load_waveform` gives it; all audio is read for that.

    For 1000 cuts or more the answer is remembered under what is heard of them.

    Raises:
        DataError: audio cannot be read.
    """
    if len(cuts) < MANY:
        return _measure(cuts)
    file = cache_folder() / "heard" / f"{hash_values([LENGTHS_VERSION, audio_keys(cuts)])}.json"
    with suppress(OSError, ValueError):
        known = read_json(file)
        if isinstance(known, list) and len(known) == len(cuts):
            return [int(length) for length in known]
    lengths = _measure(cuts)
    with suppress(OSError):
        write_json(file, lengths)
    return lengths


def _measure(cuts: Sequence[Cut]) -> list[int]:
    from speechft.data.audio import load_waveform

    return in_threads(lambda cut: len(load_waveform(cut)), cuts, "listening for silence", _THREADS)

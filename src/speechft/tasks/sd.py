"""SD: speaker diarization."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np

from speechft.core.errors import DataError
from speechft.data.cuts import said_cut
from speechft.data.utterances import DIARIZATION
from speechft.metrics.diarization import Turn, diarization_error_rate
from speechft.tasks.base import (
    TASKS,
    ProtocolName,
    Purpose,
    Size,
    Task,
    frame_counts,
    labelled_frames,
    non_empty,
)
from speechft.tasks.probe_plan import Plan, PublishedPlan
from speechft.tasks.speaker_turns import (
    chunks,
    decide,
    frame_labels,
    frames_of,
    matched,
    most_speakers,
    permutation_free,
    turns_of,
    whole_frames,
)

if TYPE_CHECKING:
    from lhotse.cut import Cut
    from torch import Tensor, nn

CHUNK: Final = 2000  # frames of 20 ms
# Thresholds and widths of the median filter that S3PRL tries.
USUAL: Final = (0.5, 11)  # where none was chosen
POINTS: Final = tuple(product((0.3, 0.4, 0.5, 0.6, 0.7), (1, 11)))


@TASKS.register("sd")
class SpeakerDiarization(Task):
    """Who speaks when: per frame and speaker a probability, the order of speakers left open.

    A cut is a recording with one supervision per segment (speaker, start, duration). Training and
    dev recordings are cut into pieces of 40 s. Threshold and median filter are chosen on dev;
    S3PRL gives the least DER of all ten pairs on the test split, and chooses the head by frame
    accuracy.

    Args:
        speakers: at most in one recording.
        protocol: "clean" or "s3prl".
    """

    id: ClassVar[str] = "sd"
    title: ClassVar[str] = "speaker diarization"
    pooled: ClassVar[bool] = False
    metrics: ClassVar[tuple[str, ...]] = ("der",)
    target_is_sequence: ClassVar[bool] = False
    fixed: ClassVar[tuple[str, type]] = ("speakers", int)
    plans: ClassVar[Mapping[Size, Plan]] = {
        "mini": Plan(400, 8, (3e-3, 1e-3)),
        "superb": Plan(30_000, 32, (1e-3, 5e-4, 1e-4, 1e-5)),  # 5e-4: published submissions
    }
    published: ClassVar[PublishedPlan | None] = PublishedPlan("shuffled", 8, 4, 1, 60)
    labels_by_frame: ClassVar[bool] = True
    parts_by_protocol: ClassVar[bool] = True
    corpora: ClassVar[tuple[str, ...]] = ("libri2mix",)
    official_items: ClassVar[int | None] = 3000  # Libri2Mix
    revisions: ClassVar[Mapping[ProtocolName, int]] = {"clean": 1, "s3prl": 2}
    answer: ClassVar[str] = "turns"

    def __init__(self, speakers: int = 2, protocol: ProtocolName = "clean") -> None:
        self.speakers = speakers
        self.protocol = protocol
        self._point: tuple[float, int] | None = None

    @classmethod
    def heard(cls, cut: Cut, part: str, protocol: ProtocolName) -> list[Cut]:
        """Give training and dev recordings in pieces of 40 s, in S3PRL of whole frames."""
        published = protocol == "s3prl"
        if part == "test":
            return [cut]
        return chunks(whole_frames(cut) if published else cut, CHUNK, drop_spanning=published)

    @classmethod
    def from_cuts(cls, train: Iterable[Cut], protocol: ProtocolName = "clean") -> Self:
        """Find how many speakers a recording has at most."""
        cuts = non_empty(train, cls.id)
        nameless = [cut for cut in cuts if not all(s.speaker for s in cut.supervisions)]
        speakers = most_speakers(cuts)
        if nameless or speakers < 2:
            raise DataError(
                f"the task {cls.id!r} needs recordings of several speakers",
                where=said_cut((nameless or cuts)[0]),
                expected="one supervision per segment, with speaker, start and duration",
                found="segments without speaker" if nameless else f"at most {speakers} in one",
                hint=f'lhotse cuts of recordings stay whole with custom {{"{DIARIZATION}": true}}; '
                "else leave the task out, or make mixtures such as Libri2Mix",
            )
        return cls(speakers, protocol)

    def to_dict(self) -> dict[str, Any]:
        """Give the number of speakers, the protocol, and what `tune` has fixed."""
        return {**super().to_dict(), **({"point": self._point} if self._point else {})}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make the task of what `to_dict` gave."""
        task = super().from_dict(values)
        if values.get("point"):
            threshold, median = values["point"]
            task._point = float(threshold), int(median)
        return task

    @property
    def output_size(self) -> int:
        """Speakers."""
        return self.speakers

    def target(self, cut: Cut) -> Tensor:
        """Give who speaks in each frame (T, S)."""
        return self._labels(**self.reference(cut))

    def reference(self, cut: Cut) -> dict[str, Any]:
        """Give the recording's segments and its number of label frames."""
        return {"turns": turns_of(cut), "frames": frames_of(cut, self.hop)}

    def build_head(self, input_dim: int, *, purpose: Purpose, size: Size) -> nn.Module:  # noqa: ARG002
        """Build SUPERB's recurrent head, for both purposes."""
        from speechft.heads.rnn import Diarizer

        return Diarizer(input_dim, self.speakers, 512 if size == "superb" else 128)

    def loss(self, logits: Tensor, lengths: Tensor | None, targets: Sequence[Tensor]) -> Tensor:
        """Give the permutation-free cross entropy over the frames that have a label."""
        total = frame_counts(logits, lengths)
        frames = [min(n, len(target)) for n, target in zip(total, targets, strict=True)]
        return permutation_free(logits, frames, targets)

    def weight(self, frames: Sequence[int], targets: Sequence[Tensor]) -> float:
        """Give the frames that the loss is the mean over."""
        return labelled_frames(frames, targets)

    def decode(self, logits: Tensor, lengths: Tensor | None) -> list[Any]:
        """Give each recording's probabilities (T, S)."""
        total = frame_counts(logits, lengths)
        found = logits.float().sigmoid().cpu().numpy()
        return [row[:n] for row, n in zip(found, total, strict=True)]

    def present(self, logits: Tensor) -> dict[str, Any]:
        """Give the segments (speaker, begin, end) at the point that `tune` has fixed, and that."""
        (found,) = self.decode(logits[None], None)
        threshold, median = point = self._point or USUAL
        return {self.answer: self._decide(found, point), "threshold": threshold, "median": median}

    def lined_up(self, window: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Give the speakers the order in which the shared frames agree best with those before."""
        one, other = before.sigmoid().T, after.sigmoid().T
        return window[:, matched((one[:, None] - other[None]).abs().sum(dim=2))]

    def choose(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Give DER at the best pair of threshold and filter.

        Under "s3prl" frame accuracy, unless DER is asked for.
        """
        if self.protocol == "s3prl" and not self.select:
            return {"frame_acc": self.frame_accuracy(predictions, references)}
        return {"der": self._best(predictions, references)[0]}

    def tune(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, Any]:
        """Fix threshold and median filter on dev; leave them open under "s3prl"."""
        if self.protocol == "s3prl":
            return {"operating_point": "least of ten on the test split"}
        self._point = None
        _, self._point = self._best(predictions, references)
        return {"operating_point": {"threshold": self._point[0], "median": self._point[1]}}

    @property
    def decides_by(self) -> str:
        """The point that `present` takes, and where it is from."""
        threshold, median = self._point or USUAL
        why = "chosen on dev" if self._point else "the usual ones, as none were chosen on dev"
        return f"a threshold of {threshold:g} and a median filter over {median} frames ({why})"

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Give DER at the pair that `tune` has fixed, or at the best one."""
        return {"der": self._best(predictions, references)[0]}

    def frame_accuracy(self, predictions: Sequence[Any], references: Sequence[Any]) -> float:
        """Give the share of right decisions in the best order of speakers, mean over recordings."""
        from scipy.optimize import linear_sum_assignment

        shares = []
        for found, reference in zip(predictions, references, strict=True):
            labels = self._labels(**reference).numpy()
            frames = min(len(found), len(labels))
            sure, truth = found[:frames].clip(1e-6, 1 - 1e-6), labels[:frames].astype(bool)
            # The cross entropy of every found speaker with every true one, up to a constant.
            costs = np.log(1 / sure - 1).T @ truth
            order = linear_sum_assignment(costs)[1]
            shares.append(float(np.mean((sure > 0.5) == truth[:, order])))
        return 100.0 * sum(shares) / len(shares)

    def rows(
        self, cuts: Sequence[Cut], references: Sequence[Any], predictions: Sequence[Any]
    ) -> list[dict[str, Any]]:
        """Give every recording's segments."""
        _, point = self._best(predictions, references)
        found = [self._decide(prediction, point) for prediction in predictions]
        return super().rows(cuts, [reference["turns"] for reference in references], found)

    def _labels(self, turns: list[Turn], frames: int) -> Tensor:
        return frame_labels(turns, frames, self.speakers, self.hop)

    def _decide(self, probabilities: Any, point: tuple[float, int]) -> list[Turn]:
        return decide(probabilities, *point, self.hop)

    def _best(
        self, predictions: Sequence[Any], references: Sequence[Any]
    ) -> tuple[float, tuple[float, int]]:
        """Give the least DER and its pair of threshold and median filter."""
        wanted = [reference["turns"] for reference in references]
        points = POINTS if self._point is None else (self._point,)
        return min(
            (diarization_error_rate(wanted, [self._decide(p, point) for p in predictions]), point)
            for point in points
        )

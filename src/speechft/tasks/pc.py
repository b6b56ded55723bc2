"""PC: phoneme classification, the phoneme of every frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from speechft.core.errors import DataError
from speechft.core.lengths import SAMPLE_RATE
from speechft.core.registry import deferred
from speechft.data.cuts import heard_samples, said_cut
from speechft.tasks.base import (
    TASKS,
    ProtocolName,
    Purpose,
    Size,
    Task,
    frame_counts,
    labelled_frames,
    missing,
    non_empty,
    supervision,
)
from speechft.tasks.probe_plan import GRID, Plan

if TYPE_CHECKING:
    import torch
    from lhotse.cut import Cut
    from lhotse.supervision import AlignmentItem
    from torch import Tensor, nn
    from torch.nn import functional
else:
    torch, functional = deferred("torch"), deferred("torch.nn.functional")

SILENCES: Final = ("sil", "SIL")  # names for silence that a corpus may use itself
IGNORED: Final = -100
_SLACK: Final = 3  # frames by which encoders differ at the end of an utterance


@TASKS.register("pc")
class PhonemeClassification(Task):
    """The phoneme of each frame, from the alignment `phone`; cross entropy, frame accuracy.

    Frame t is labelled by the phoneme at its centre, sample 320 t + 200 at 16 kHz; with a hop of h
    samples that is h t + 5/8 h. Where no phoneme lies there it is silence, a class like the others
    (`sil`, or `SIL` where the corpus says so); every frame counts. Frames of a phoneme that
    training lacks train nothing and count as wrong.

    Args:
        classes: the phonemes of the training split and silence.
        protocol: "clean" or "s3prl".
    """

    id: ClassVar[str] = "pc"
    title: ClassVar[str] = "phoneme classification"
    pooled: ClassVar[bool] = False
    metrics: ClassVar[tuple[str, ...]] = ("frame_acc",)
    answer: ClassVar[str] = "phonemes"
    target_is_sequence: ClassVar[bool] = False
    fixed: ClassVar[tuple[str, type]] = ("classes", list)
    # It is none of SUPERB's tasks, and is trained as PR is.
    plans: ClassVar[Mapping[Size, Plan]] = {
        "mini": Plan(400, 16, (3e-2, 1e-2), decay=True),
        "superb": Plan(100_000, 32, GRID),
    }
    revisions: ClassVar[Mapping[ProtocolName, int]] = {"clean": 1, "s3prl": 1}

    def __init__(self, classes: Sequence[str], protocol: ProtocolName = "clean") -> None:
        self.classes, self.protocol = list(classes), protocol
        self.silence = next((name for name in SILENCES if name in self.classes), SILENCES[0])
        self._index = {name: i for i, name in enumerate(self.classes)}

    @classmethod
    def from_cuts(cls, train: Iterable[Cut], protocol: ProtocolName = "clean") -> Self:
        """Collect the phonemes of the training split."""
        found = {item.symbol for cut in non_empty(train, cls.id) for item in _phones(cut)}
        if not found & set(SILENCES):
            found.add(SILENCES[0])
        return cls(sorted(found), protocol)

    def target(self, cut: Cut) -> Tensor:
        """Give the class of each frame (T,); -100 for a phoneme that training lacks."""
        return torch.tensor([self._index.get(name, IGNORED) for name in self.reference(cut)])

    def reference(self, cut: Cut) -> list[str]:
        """Give the phoneme of each frame."""
        frames = [self.silence] * -(-heard_samples(cut) // self.hop)
        for item in _phones(cut):
            begin, end = (self._first_frame(time) for time in (item.start, item.end))
            for frame in range(max(begin, 0), min(end, len(frames))):
                frames[frame] = item.symbol
        return frames

    def _first_frame(self, time: float) -> int:
        """Give the first frame whose centre lies at or behind a time in seconds."""
        return -((self.hop * 5 // 8 - round(time * SAMPLE_RATE)) // self.hop)

    def build_head(self, input_dim: int, *, purpose: Purpose, size: Size) -> nn.Module:  # noqa: ARG002
        """Build PR's linear head on frames, for both purposes."""
        from speechft.heads.linear import FrameLinear

        return FrameLinear(input_dim, self.output_size, 256 if size == "superb" else 128)

    def loss(self, logits: Tensor, lengths: Tensor | None, targets: Sequence[Tensor]) -> Tensor:
        """Give the cross entropy, mean over the batch's frames.

        Raises:
            DataError: the encoder has another frame rate than its hop says.
        """
        wanted = torch.full(logits.shape[:2], IGNORED)
        pairs = zip(frame_counts(logits, lengths), targets, strict=True)
        for row, (count, target) in enumerate(pairs):
            if abs(count - len(target)) > _SLACK:
                raise DataError(
                    f"the labels of the task {self.id!r} are for frames of {self.hop} samples",
                    expected=f"about {len(target)} frames",
                    found=count,
                )
            used = min(count, len(target))
            wanted[row, :used] = target[:used]
        return functional.cross_entropy(
            logits.float().flatten(0, 1), wanted.flatten().to(logits.device), ignore_index=IGNORED
        )

    def weight(self, frames: Sequence[int], targets: Sequence[Tensor]) -> float:
        """Give the frames that the loss is the mean over."""
        return labelled_frames(frames, targets)

    def decode(self, logits: Tensor, lengths: Tensor | None) -> list[Any]:
        """Give the most likely phoneme of each frame."""
        rows = zip(logits.argmax(dim=-1).tolist(), frame_counts(logits, lengths), strict=True)
        return [[self.classes[i] for i in row[:count]] for row, count in rows]

    def present(self, logits: Tensor) -> dict[str, Any]:
        """Give the stretches of one phoneme each, with start and end in seconds."""
        phonemes, begin, rate = [], 0, SAMPLE_RATE / self.hop
        for name, frames in groupby(super().present(logits)[self.answer]):
            end = begin + len(list(frames))
            phonemes.append([name, begin / rate, end / rate])
            begin = end
        return {self.answer: phonemes}

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Give the frame accuracy over all frames of all utterances."""
        pairs = list(zip(predictions, references, strict=True))
        total = sum(min(len(found), len(wanted)) for found, wanted in pairs)
        if not total:
            raise DataError("a frame accuracy needs at least one frame", found="an empty split")
        right = sum(a == b for found, wanted in pairs for a, b in zip(found, wanted, strict=False))
        return {"frame_acc": 100.0 * right / total}


def _phones(cut: Cut) -> list[AlignmentItem]:
    """Give the aligned phonemes of a cut, times from its start on."""
    phones = (supervision(cut).alignment or {}).get("phone")
    if not phones:
        raise missing(cut, "the times of the phonemes", "pc", ["an alignment named `phone`"])
    if not any(item.end > 0 and item.start < cut.duration for item in phones):
        raise DataError(
            "no phoneme lies in the utterance",
            where=said_cut(cut),
            expected=f"times from its start on, of 0 to {cut.duration:g} s",
            found=f"{phones[0].start:g} to {phones[-1].end:g} s",
            hint="times from the recording's start on have to be moved",
        )
    return list(phones)

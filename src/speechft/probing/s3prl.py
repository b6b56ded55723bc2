"""S3PRL's protocol, with all quirks of the published numbers; nothing else knows of them.

- Lengths: S3PRL takes round(samples / 320) frames of an utterance, which is the exact number or one
  more. In a batch with a longer utterance the one more is a padding frame; the longest utterance
  has none. So probes need, besides the exact states, those of one padding frame.
- Batches of PR, SF and ASR, and batches where nothing is trained, as its configurations make them.
- Input normalisation as S3PRL's own files of an encoder have it.
- Dev of keyword spotting is a draw in which all classes are equally frequent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Final, Literal, cast

import torch
from lhotse.cut import Cut
from torch import Tensor
from torch.nn import functional

from speechft.core.errors import SettingsError
from speechft.core.lengths import HOP
from speechft.core.logging import get_logger
from speechft.core.seeding import torch_generator
from speechft.data.cuts import heard_samples
from speechft.encoders import SpeechEncoder
from speechft.encoders.base import EncoderOutput
from speechft.hidden.dataset_states import Request
from speechft.hidden.states import PooledStates, SplitStates, States
from speechft.probing.batches import Split, balanced_draws, cut, scheme, shuffled
from speechft.probing.protocol import Open, Protocol
from speechft.tasks import ProtocolName, Size, Task

# S3PRL seeds every pass over the dev split alike, so that its draw is always the same.
DEV_DRAW: Final = 1337
# Limits in samples.
HALVED_WINDOW: Final = 300_000
HALVED_BLOCK: Final = 2_000
FAIRSEQ_EPS: Final = 1e-5  # of the norm over a waveform
_logger = get_logger(__name__)
Kind = Literal["means", "frames"]


def rounded(samples: int, hop: int = HOP) -> int:
    """Give S3PRL's number of frames: the half goes to the even number."""
    return round(samples / hop)


class RoundedMeans(States):
    """Time means over S3PRL's frames.

    Args:
        states: exact means (K, N, D) and behind them the padding frame's state (K, N, D), as one
            (K, N, 2 D).
        wanted: frames of each utterance that S3PRL asks for.
        alone: every utterance is a batch of its own, which leaves the exact means.
    """

    def __init__(self, states: PooledStates, wanted: list[int], *, alone: bool) -> None:
        self.states, self.wanted, self.alone = states, wanted, alone
        self.num_states, self.width = states.num_states, states.width // 2
        self.lengths = states.lengths

    def batch(self, items: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Give (K, B, D) and None."""
        both, _ = self.states.batch(items)
        mean, padding = both.chunk(2, dim=-1)
        if self.alone:
            return mean.contiguous(), None
        exact = torch.tensor([self.lengths[i] for i in items], device=mean.device)
        wanted = torch.tensor([self.wanted[i] for i in items], device=mean.device)
        more = (wanted.clamp(max=int(exact.max())) > exact)[:, None]
        count = exact[:, None].to(mean.dtype)
        return torch.where(more, (mean * count + padding) / (count + 1), mean), None


class RoundedFrames(States):
    """Frames as S3PRL's probes see them.

    Args:
        states: exact frames and one padding frame more of every utterance.
        wanted: frames of each utterance that S3PRL asks for.
        alone: every utterance is a batch of its own, which leaves no padding frame.
        repeat: where a frame is wanted that a batch does not have, give the last one again, as
            S3PRL's SD does to match its labels.
    """

    def __init__(self, states: States, wanted: list[int], *, alone: bool, repeat: bool) -> None:
        self.states, self.wanted, self.alone, self.repeat = states, wanted, alone, repeat
        self.num_states, self.width, self.on_cpu = states.num_states, states.width, states.on_cpu
        self.lengths = [n - 1 for n in states.lengths]

    def batch(self, items: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Give zero-padded (K, B, T, D), in the type they are kept in, and lengths (B,)."""
        frames, _ = self.states.batch(items)
        exact = [self.lengths[i] for i in items]
        longest = max(exact)
        lengths = []
        for row, (i, own) in enumerate(zip(items, exact, strict=True)):
            most = own if self.alone else longest
            length = min(self.wanted[i], most)
            if self.repeat and length < self.wanted[i]:
                length = min(self.wanted[i], own + 1)
                frames[:, row, own:length] = frames[:, row, own - 1 : own]
            frames[:, row, length:] = 0
            lengths.append(length)
        return frames[:, :, : max(lengths)], torch.tensor(lengths, device=frames.device)

    def views(self) -> list[Tensor] | None:
        """Give (K, T, D) of each utterance alone, where it has no frame more than it should."""
        views = self.states.views() if self.alone and not self.repeat else None
        lengths = map(min, self.wanted, self.lengths)
        return views and [own[:, :n] for own, n in zip(views, lengths, strict=True)]


class PaddedEncoder:
    """An encoder whose output shows the first padding frame of every utterance too.

    What a padding frame becomes does not depend on how much padding follows: frames attend to
    valid ones only.

    Args:
        encoder: the encoder.
        kind: "frames": every utterance is one frame longer; "means": every frame has the padding
            frame's state behind its own, so that time means (K, N, 2 D) hold both.
    """

    def __init__(self, encoder: SpeechEncoder, kind: Kind) -> None:
        self.encoder = encoder
        self.kind = kind

    def __getattr__(self, name: str) -> Any:
        return getattr(self.encoder, name)

    @property
    def hidden_size(self) -> int:
        """Width of what `from_front_end` gives."""
        return self.encoder.hidden_size * (2 if self.kind == "means" else 1)

    def from_front_end(self, features: Tensor, frame_lengths: Tensor) -> EncoderOutput:
        """Apply everything behind the front end to (B, T, C) with one padding frame more."""
        longer = functional.pad(features, (0, 0, 0, 1))
        states, lengths = self.encoder.from_front_end(longer, frame_lengths)
        if self.kind == "frames":
            return EncoderOutput(states, lengths + 1)
        rows = torch.arange(len(lengths), device=lengths.device)
        both = [torch.cat([s, s[rows, lengths][:, None].expand_as(s)], dim=-1) for s in states]
        return EncoderOutput(tuple(both), lengths)


class S3PRL(Protocol):
    """The protocol "s3prl"."""

    name: ClassVar[ProtocolName] = "s3prl"
    means_per_utterance: ClassVar[int] = 2  # with a padding frame

    def find_error(self, encoder: SpeechEncoder) -> SettingsError | None:
        """Refuse encoders without padding frames."""
        if encoder.front_end_by_frames and encoder.hop == HOP:
            return None
        return SettingsError(
            "this encoder pads every utterance itself and has no padding frame of a batch"
            if encoder.hop == HOP
            else f"this protocol rounds lengths to {HOP} samples, and a frame has {encoder.hop}",
            where="protocol",
            found=f"s3prl, with a {encoder.family} encoder",
            expected="clean",
        )

    def prepare(self, encoder: SpeechEncoder) -> None:
        """Normalise waveforms as S3PRL does: as a checkpoint of fairseq's kind says.

        Where an encoder comes from elsewhere, its preprocessor may say otherwise than S3PRL's file
        of the same encoder: there they are normalised exactly where every convolution has a layer
        norm (the Large models; of the Base ones only the first has a norm, over time).
        """
        said = encoder.preprocessor
        layout = getattr(encoder.config, "feat_extract_norm", None)
        if layout is None or "do_normalize" not in said or "normalize_eps" in said:
            return
        wanted = layout == "layer"
        if bool(said["do_normalize"]) != wanted:
            _logger.info(
                "protocol s3prl: waveforms %s as in S3PRL; the preprocessor says otherwise",
                "are normalised" if wanted else "stay as they are",
            )
        encoder.preprocessor = {**said, "do_normalize": wanted, "normalize_eps": FAIRSEQ_EPS}

    def plan(self, kind: type[Task], size: Size) -> dict[str, Any]:
        """Give S3PRL's batches: made, accumulated and evaluated as it does."""
        published = kind.published
        if published is None:
            return super().plan(kind, size)
        plan = {
            "batch_size": published.batch,
            "checks": published.checks,
            "scheme": published.scheme,
            "accumulate": published.accumulate,
        }
        if published.eval_batch > 1:
            plan |= {"eval_batch_size": published.eval_batch, "eval_sorted": False}
        return plan

    def open_states(
        self,
        open_: Open,
        encoder: SpeechEncoder,
        requests: Mapping[str, Request],
        pooled: Collection[str],
        encoder_id: str,
    ) -> dict[str, SplitStates]:
        """Give hidden states with a padding frame; those of the two kinds lie beside each other."""

        def shown(kind: Kind, wanted: dict[str, Request]) -> dict[str, SplitStates]:
            padded = cast(SpeechEncoder, PaddedEncoder(encoder, kind))
            return open_(padded, wanted, f"{encoder_id}+{kind}") if wanted else {}

        frames = shown("frames", {name: r for name, r in requests.items() if r.frames})
        exact = shown("means", {name: Request(requests[name].items, False) for name in pooled})
        return {
            name: SplitStates(
                (exact.get(name) or frames[name]).pooled,
                frames[name].frames if name in frames else None,
            )
            for name in requests
        }

    def view(self, task: Task, cuts: Sequence[Cut], states: SplitStates, *, alone: bool) -> States:
        """Give the states of a split with S3PRL's lengths."""
        samples = [heard_samples(one) for one in cuts]
        if task.pooled or states.frames is None:
            return RoundedMeans(states.pooled, [rounded(n, task.hop) for n in samples], alone=alone)
        labelled = task.labels_by_frame
        wanted = [n // task.hop if labelled else rounded(n, task.hop) for n in samples]
        return RoundedFrames(states.frames, wanted, alone=alone, repeat=labelled)

    def draw_dev(self, task: Task, targets: Sequence[Tensor]) -> list[int] | None:
        """Draw dev with all classes equally frequent where batches are drawn so."""
        if not task.balanced_dev:
            return None
        return balanced_draws(targets, torch_generator(DEV_DRAW))


@scheme("window")
def window(train: Split, size: int, generator: torch.Generator) -> list[list[int]]:
    """Give for every utterance, in random order, the batch that begins with it.

    The utterances lie in order of their targets' lengths, the longest first, so that the batches
    of an epoch overlap. If the first utterance of a batch exceeds 300 000 samples, only the first
    half of the batch is kept.

    Source:
        S3PRL 0.4, PR and SF.
    """
    samples, targets = train.samples, [len(target) for target in train.targets]
    order = sorted(range(len(targets)), key=lambda i: (-targets[i], i))
    last = max(0, len(order) - size)
    result = []
    for i in torch.randperm(len(order), generator=generator).tolist():
        batch = order[min(i, last) :][:size]
        long = len(batch) > 1 and samples[batch[0]] > HALVED_WINDOW
        result.append(batch[: len(batch) // 2] if long else batch)
    return result


@scheme("blocks")
def blocks(train: Split, size: int, generator: torch.Generator) -> list[list[int]]:
    """Cut the utterances, the longest first, into blocks, halve them, and shuffle the halves.

    S3PRL halves a full block whose longest utterance exceeds 2000; as lengths are in samples, that
    is every block, and the batch of ASR is 16, not 32. What remains after the last full block is
    not halved, and dropped if it is a single utterance.

    Source:
        S3PRL 0.4, ASR.
    """
    samples = train.samples
    order = sorted(range(len(samples)), key=lambda i: (-samples[i], i))
    result: list[list[int]] = []
    for block in cut(order, size):
        if len(block) == size and samples[block[0]] > HALVED_BLOCK and size > 1:
            result += [block[: size // 2], block[size // 2 :]]
        elif len(block) > 1 or len(order) == 1:
            result.append(block)
    return shuffled(result, generator)

"""`speechft predict`: what the head on an encoder says of recordings of any length."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from speechft.core.devices import usable_device
from speechft.core.errors import DataError, SettingsError
from speechft.core.lengths import SAMPLE_RATE
from speechft.core.logging import get_logger
from speechft.core.progress import progress_bar
from speechft.data.audio import load_waveform
from speechft.data.batching import DurationBatches
from speechft.data.cuts import place_of
from speechft.encoders import SpeechEncoder, load_encoder
from speechft.encoders.base import refuse_not_finite
from speechft.prediction.answers import form_of, write_answers
from speechft.prediction.recordings import Recording, find_recordings
from speechft.prediction.settings import PredictSettings
from speechft.tasks import Task
from speechft.tasks.kept_head import KeptHead, choose_head, heads_of, read_head

log = get_logger(__name__)
Record = dict[str, Any]
Span = tuple[int, int]


def predict(settings: PredictSettings) -> list[Record]:
    """Say what a head hears in recordings; one that cannot be used stops no other.

    A recording longer than `window` is heard in windows that overlap. Logits of frames are joined
    before they are decoded, half of every overlap from either side; those of whole windows are
    averaged, classes by their probabilities.

    Returns:
        A record per recording, in the order of `audio`: `file`, `start`, `end`, `task` and what
        its task gives (`text`, `phonemes`, `label` with `probabilities`, `slots`, `turns`,
        `value`), or `error`.

    Raises:
        CheckpointError: there is no head, or it does not belong to the encoder.
        SettingsError: the head's task needs more than one recording, or the output cannot be.
        DataError: DATA cannot be read.
    """
    if settings.out is not None and settings.out.exists() and not settings.overwrite:
        hint = "choose another --out, or replace it with --overwrite"
        raise SettingsError("the output is there already", where=settings.out, hint=hint)
    files = heads_of(settings.encoder, settings.head)
    device = usable_device(settings.device)
    encoder = load_encoder(settings.encoder, device=device, context=settings.context)
    several = encoder.fingerprint() if len(files) > 1 else None
    head = read_head(choose_head(files, settings.task, several))
    head.check(encoder, settings.encoder, same=settings.head is not None)
    _check_task(head, settings)
    if said := head.task.decides_by:
        log.info("predict: %s decides by %s", head.task.id, said)
    recordings = find_recordings(settings.audio, settings.split)
    records = list(_Predictor(settings, encoder, head, device).all(recordings))
    for record in records:
        if "error" in record:
            log.warning("predict: %s: %s", record["file"], record["error"])
    if settings.out is not None:
        write_answers(settings.out, records, form_of(settings))
    return records


def _check_task(head: KeptHead, settings: PredictSettings) -> None:
    task = head.task
    if task.compares:
        raise SettingsError(
            f"the task {task.id!r} gives no prediction for one recording: {task.compares}",
            where=head.where,
            hint="`speechft evaluate` scores it",
        )
    if form_of(settings) == "rttm" and task.answer != "turns":
        raise SettingsError(
            "RTTM holds who speaks when",
            where="format",
            expected="text or jsonl",
            found=f"a head for {task.title}",
        )


class _Heard(NamedTuple):
    recording: Recording
    wave: Tensor
    spans: list[Span]


class _Predictor:
    """An encoder with a head, and how long recordings are heard."""

    def __init__(
        self,
        settings: PredictSettings,
        encoder: SpeechEncoder,
        head: KeptHead,
        device: torch.device,
    ) -> None:
        self.encoder, self.head, self.task = encoder, head, head.task
        self.head.module.to(device)
        self.task.hop = encoder.hop
        self.batch_seconds = settings.batch_seconds
        self.size, self.overlap = (
            round(seconds * SAMPLE_RATE / encoder.hop) * encoder.hop
            for seconds in (settings.window, settings.overlap)
        )

    def all(self, recordings: Sequence[Recording]) -> Iterator[Record]:
        """Give the records, some recordings at a time."""
        waiting: list[_Heard | Record] = []
        seconds = 0.0
        with progress_bar() as bar:
            shown = bar.add_task("predict", total=len(recordings), note="")
            for recording in recordings:
                try:
                    heard = self._hear(recording)
                except DataError as error:
                    details = [text for text in (error.found, error.hint) if text]
                    text = error.what + (f" ({'; '.join(details)})" if details else "")
                    waiting.append({"file": recording.file, "error": text})
                else:
                    waiting.append(heard)
                    seconds += len(heard.wave) / SAMPLE_RATE
                if seconds >= self.batch_seconds:
                    yield from self._answers(waiting)
                    waiting, seconds = [], 0.0
                bar.advance(shown, 1)
            yield from self._answers(waiting)

    def _hear(self, recording: Recording) -> _Heard:
        if recording.cut is None:
            raise DataError(recording.error)
        kind = type(self.task)
        (cut, *_) = kind.heard(recording.cut, "test", self.task.protocol)
        wave = load_waveform(cut)
        if int(self.encoder.frame_lengths(torch.tensor([len(wave)]))) < 1:
            raise DataError("the audio is too short for one frame", found=f"{len(wave)} samples")
        spans = windows(len(wave), self.size, self.overlap, self.encoder.hop)
        self.encoder.refuse_long(torch.tensor([spans[0][1]]), lambda _: recording.file)
        return _Heard(recording, wave, spans)

    def _answers(self, waiting: Sequence[_Heard | Record]) -> Iterator[Record]:
        parts = [(one, span) for one in waiting if isinstance(one, _Heard) for span in one.spans]
        logits = iter(self._logits([one.wave[begin:end] for one, (begin, end) in parts]))
        for one in waiting:
            if not isinstance(one, _Heard):
                yield one
                continue
            own = [next(logits) for _ in one.spans]
            recording, place = one.recording, place_of(one.recording.cut)
            refuse_not_finite(own, recording.file)
            whole = join(self.task, one.spans, own, self.encoder.hop)
            named = {"id": recording.id} if recording.id else {}
            answer = self.task.present(whole)
            yield {**place, "file": recording.file, **named, "task": self.task.id, **answer}

    def _logits(self, waves: Sequence[Tensor]) -> list[Tensor]:
        """Give the logits of every window: (T, V) or (C,)."""
        found: list[Tensor] = [torch.empty(0)] * len(waves)
        durations = [len(wave) / SAMPLE_RATE for wave in waves]
        limit = max([self.batch_seconds, *durations])
        for batch in DurationBatches(durations, limit, seed=0, shuffle=False).epoch(0):
            with torch.inference_mode():
                output = self.encoder([waves[i] for i in batch])
                logits = self.head(output).float().cpu()
            for i, own, frames in zip(batch, logits, output.lengths.tolist(), strict=True):
                found[i] = own[:frames] if own.dim() > 1 else own
        return found


def windows(samples: int, size: int, overlap: int, hop: int) -> list[Span]:
    """Give the windows of a recording, each (first sample, one behind the last).

    Args:
        samples: of the recording.
        size: of a window, a multiple of `hop`; the last one is shorter by less than a frame.
        overlap: least samples that neighbours share, a multiple of `hop`.
        hop: samples from frame to frame; every window begins at a frame.
    """
    if samples <= size:
        return [(0, samples)]
    last = math.ceil((samples - size) / hop)  # in frames, so that no window exceeds its size
    steps = math.ceil(last * hop / (size - overlap))
    starts = [round(i * last / steps) * hop for i in range(steps + 1)]
    return [(start, min(start + size, samples)) for start in starts]


def join(task: Task, spans: Sequence[Span], parts: Sequence[Tensor], hop: int) -> Tensor:
    """Give the logits of a recording, (T, V) or (C,), of those of its windows."""
    if parts[0].dim() < 2:
        lengths = torch.tensor([float(end - begin) for begin, end in spans])
        return (
            parts[0]
            if len(parts) == 1
            else task.mean(torch.stack(list(parts)), lengths / lengths.sum())
        )
    whole = parts[0]
    for (begin, _), part in zip(spans[1:], parts[1:], strict=True):
        first = begin // hop
        shared = len(whole) - first
        part = task.lined_up(part, whole[first:], part[:shared])
        cut = first + shared // 2
        whole = torch.cat([whole[:cut], part[cut - first :]])
    return whole

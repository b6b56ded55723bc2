"""Settings of `speechft embed` and `speechft predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from speechft.core.artifact import FileInput, Input, Neutral, file_id
from speechft.core.limits import LONGEST_SECONDS
from speechft.core.settings import Option, PathText, Positional, Settings, Shown
from speechft.encoders.identity import Context, EncoderName, EncodingPrecision


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str | Path) else value


Heard = Annotated[PathText, Input(file_id)]


class EmbedSettings(Settings):
    """What to encode, and how.

    Args:
        encoder: a folder, a checkpoint file, a Hub id or a packaged name.
        audio: files, or folders that are searched for audio files.
        out: a file ending in .safetensors, .npz or .npy.
        layers: numbers of hidden states to keep, 0 the transformer's input, -1 the encoder's
            output; all of them if not given.
        pooled: keep the mean over time instead of all frames.
        dtype: type of the numbers written.
        batch_seconds: bound on a batch, padding included.
        max_seconds: bound on one file: attention over T frames needs memory as T times T.
        context: of Whisper's encoder: `30s`, as it was trained, or `utterance`; as it says itself
            if not given.
        precision: `bfloat16` computes faster and less exactly.
        device: "cpu", "cuda", "cuda:N", or "auto" for a GPU where there is one.
        base: an encoder whose configuration is used where the checkpoint holds none.
        skip_bad: leave out files that cannot be used, each with a warning; otherwise they are
            an error. All files are decoded once more for that, before anything is encoded.
        overwrite: replace any file that is in the place of `out`; otherwise only one that says that
            it holds hidden states, as .safetensors does.
    """

    encoder: Annotated[EncoderName, Positional]
    audio: Annotated[tuple[FileInput, ...], BeforeValidator(_several), Positional] = Field(
        min_length=1
    )
    out: Annotated[Path, Neutral, Shown]
    layers: Annotated[tuple[int, ...] | None, Option("layer")] = Field(default=None, min_length=1)
    pooled: Annotated[bool, Shown] = False
    dtype: Annotated[Literal["float32", "float16"], Shown] = "float32"
    batch_seconds: Annotated[float, Shown] = Field(default=60.0, gt=0)
    max_seconds: Annotated[float, Shown] = Field(default=LONGEST_SECONDS, gt=0)
    context: Context | None = None
    precision: Annotated[EncodingPrecision, Shown] = "float32"
    device: Annotated[str, Neutral, Shown] = "auto"
    base: Annotated[EncoderName | None, Shown] = None
    skip_bad: Annotated[bool, Shown] = False
    overwrite: Annotated[bool, Neutral, Shown] = False


Form = Literal["text", "jsonl", "rttm"]


class PredictSettings(Settings):
    """What hears, what is heard, and what is written.

    Args:
        encoder: ENCODER with a head: what `finetune` left, its run's folder, or a merged encoder
            that kept a head; any other with `head`.
        audio: files, folders that are searched for audio files, or DATA such as a table.
        out: a file; the predictions are printed if not given.
        format: `text` (path and prediction), `jsonl` (all that is known) or `rttm` (who speaks
            when); what the name of `out` says, else text.
        head: file of a head that was trained on this very encoder, or a folder with one: a
            fine-tuning run, or an evaluation that kept its heads.
        task: which head, where there are several.
        split: the one to hear, where the audio comes in splits; all of them if not given.
        window: seconds that are heard at once; longer recordings in windows of this length.
        overlap: seconds that neighbouring windows share, at least.
        batch_seconds: seconds of audio per batch.
        context: of Whisper's encoder: `30s`, as it was trained, or `utterance`; as it says itself
            if not given.
        device: "cpu", "cuda", "cuda:N", or "auto" for a GPU where there is one.
        overwrite: replace a file that is in the place of `out`.
    """

    encoder: Annotated[EncoderName, Positional]
    audio: Annotated[tuple[Heard, ...], BeforeValidator(_several), Positional] = Field(min_length=1)
    out: Annotated[Path | None, Neutral, Shown] = None
    format: Annotated[Form | None, Shown] = None
    head: Annotated[FileInput | None, Shown] = None
    task: Annotated[str | None, Shown] = None
    split: Annotated[str | None, Shown] = None
    window: Annotated[float, Shown] = Field(default=30.0, ge=1)
    overlap: Annotated[float, Shown] = Field(default=4.0, ge=0.1)
    batch_seconds: float = Field(default=60.0, gt=0)
    context: Context | None = None
    device: Annotated[str, Neutral, Shown] = "auto"
    overwrite: Annotated[bool, Neutral, Shown] = False

    @model_validator(mode="after")
    def _windows_move_on(self) -> PredictSettings:
        if self.overlap > self.window / 2:
            raise ValueError("overlap must be at most half of window")
        return self

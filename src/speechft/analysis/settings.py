"""Settings of `speechft analyze`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, field_validator, model_validator

from speechft.core.artifact import Artifact, FileInput, Neutral, dependencies
from speechft.core.limits import LONGEST_SECONDS
from speechft.core.settings import Listed, Option, Positional, Settings, Shown
from speechft.data.identity import AudioName, DataName
from speechft.encoders.identity import Context, EncoderName
from speechft.probing.settings import EncoderSpec, as_spec

RECORDS: Final = "analysis.jsonl"


class AnalyzeSettings(Settings):
    """Settings of `speechft analyze`.

    Args:
        base: ENCODER, θ0.
        encoders: each an ENCODER, a pair [name, ENCODER], or the fields of `EncoderSpec`; with the
            base's tensors.
        data: DATA; only its audio counts.
        out: folder of the results.
        split: of the data; by default test, else dev, else train.
        utterances: at most so many, drawn by the seed.
        at_once: encoders in memory beside θ0; so many share one pass over the audio.
        alphas: points between θ0 and every encoder where layers are looked at for being linear,
            and losses for barriers.
        barriers: DATA with labels, on whose dev split the losses of heads along the way to every
            stored encoder are measured; nothing if not given.
        heads: the files of these heads, as a fine-tuning or an evaluation keeps them: one for all
            stored encoders, or one for each.
        context: of Whisper's encoders, see `evaluate`.
        batch_seconds: seconds of audio per batch.
        max_seconds: longest utterance that is taken: attention over T frames needs memory as T
            times T.
        device: "cpu", "cuda", or "auto" for a GPU where there is one.
        seed: of the draw.
    """

    base: Annotated[EncoderName, Positional]
    encoders: Annotated[tuple[EncoderSpec, ...], Positional] = Field(min_length=1)
    data: Annotated[AudioName, Shown]
    out: Annotated[Path, Neutral, Shown]
    split: Annotated[str | None, Shown] = None
    utterances: Annotated[int, Shown] = Field(default=200, gt=0)
    at_once: Annotated[int, Neutral] = Field(default=8, gt=0)
    alphas: Annotated[tuple[float, ...], Option("alpha")] = (0.25, 0.5)
    barriers: Annotated[DataName | None, Shown] = None
    heads: Annotated[tuple[FileInput, ...], Listed, Option("head")] = ()
    context: Context | None = None
    batch_seconds: float = Field(default=60.0, gt=0)
    max_seconds: Annotated[float, Neutral, Shown] = Field(default=LONGEST_SECONDS, gt=0)
    device: Annotated[str, Neutral, Shown] = "auto"
    seed: Annotated[int, Shown] = 0

    @field_validator("encoders", mode="before")
    @classmethod
    def _as_specs(cls, value: Any) -> Any:
        return [as_spec(one) for one in value] if isinstance(value, list | tuple) else value

    @field_validator("alphas")
    @classmethod
    def _between(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < alpha < 1 for alpha in value) or len(set(value)) != len(value):
            raise ValueError("alphas are above 0 and below 1, each once")
        return value

    @model_validator(mode="after")
    def _barriers_make_sense(self) -> AnalyzeSettings:
        if (self.barriers is None) is bool(self.heads):
            raise ValueError("barriers needs the heads whose losses are measured, and heads data")
        return self


def analyze_artifact(settings: AnalyzeSettings, known: Mapping[str, str] | None = None) -> Artifact:
    """Give the folder of an analysis, with all that it depends on.

    Args:
        settings: of the analysis.
        known: name of an encoder or of data → identity, where it is still to be made.
    """
    names = [spec.label for spec in settings.encoders]
    depends = {**dependencies(settings, known), "names": names}
    return Artifact(settings.out, "analyze", depends, settings=settings)

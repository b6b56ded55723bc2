"""Settings of the job that chooses alpha before a merge."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, field_validator, model_validator

from speechft.core.artifact import Artifact, Neutral, dependencies
from speechft.core.errors import SettingsError
from speechft.core.limits import LONGEST_SECONDS
from speechft.core.settings import Listed, Settings, parse_settings
from speechft.data.identity import DataName
from speechft.encoders.identity import Context, EncoderName
from speechft.merging.methods import METHODS
from speechft.merging.settings import BOUND, By, MergeSettings
from speechft.probing.settings import EvaluateSettings
from speechft.tasks import TASKS

VERSION: Final = 1  # raise it when the same settings would choose otherwise
_GRIDS: Final[Mapping[By, tuple[float, ...]]] = {
    "similarity": (0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    "probe": (0.1, 0.25, 0.5, 0.75),
    "interpolated": tuple(round(0.05 * n, 2) for n in range(1, 20)),
}
_OWN: Final = ("encoders", "data", "out", "tasks", "seeds", "protocol", "context", "device")


class AlphaSettings(Settings):
    """Settings of the choice of an alpha.

    Args:
        base: ENCODER, θ0.
        tuned: one or more ENCODERs, θ'_i; one alpha is chosen for all of them.
        data: DATA; with `similarity` only its audio is heard.
        out: folder of the choice.
        by: `similarity`, `probe` or `interpolated`, see `speechft merge`.
        tasks: of which dev scores choose.
        source: the tasks that TUNED was tuned on; as the heads beside it say if not given.
        retain: share of θ0's mean first metric on the other tasks that must stay.
        bound: how far hidden states may move, in standard deviations.
        by_layer: an alpha for every layer.
        alphas: the points that are shown, or probed, besides 0 and 1.
        passes: with `similarity` and `interpolated`, how often at most the encoder at what was
            chosen is passed over the audio itself, besides both ends; 0 believes the prediction.
        utterances: with `similarity`, at most so many, drawn by the seed.
        frames: of each, at most so many, at equal distances.
        split: with `similarity`; dev, else train, if not given.
        probe: further settings of `speechft evaluate` for the probes, such as steps, head_size,
            store.
        merge: further settings of the merge, such as method.
        context: of Whisper's encoders, see `evaluate`.
        max_seconds: longest utterance that is taken.
        device: "cpu", "cuda", or "auto" for a GPU where there is one.
        seed: of draws, heads and batches.
    """

    base: EncoderName
    tuned: Annotated[tuple[EncoderName, ...], Listed] = Field(min_length=1)
    data: DataName
    out: Annotated[Path, Neutral]
    by: By = "similarity"
    tasks: Annotated[tuple[str, ...], Listed] = ()
    source: Annotated[tuple[str, ...], Listed] = ()
    retain: float | None = Field(default=None, gt=0, le=1)
    bound: float = Field(default=BOUND, gt=0)
    by_layer: bool = False
    alphas: Annotated[tuple[float, ...], Listed] = ()
    passes: int = Field(default=2, ge=0)
    utterances: int = Field(default=100, gt=0)
    frames: int = Field(default=50, gt=0)
    split: str | None = None
    probe: dict[str, Any] = Field(default_factory=dict)
    merge: dict[str, Any] = Field(default_factory=dict)
    context: Context | None = None
    max_seconds: Annotated[float, Neutral] = Field(default=LONGEST_SECONDS, gt=0)
    device: Annotated[str, Neutral] = "auto"
    seed: int = 0

    @field_validator("alphas")
    @classmethod
    def _between(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < alpha < 1 for alpha in value) or len(set(value)) != len(value):
            raise ValueError("alphas are above 0 and below 1, each once")
        return tuple(sorted(value))

    @model_validator(mode="after")
    def _fits(self) -> AlphaSettings:
        method = METHODS[self.merge.get("method", "linear")]
        if "alpha" not in method.parameters or method.statistics:
            raise ValueError(f"alpha: auto needs a method with an alpha alone, not {method.name}")
        if self.by == "similarity":
            given = [n for n in ("tasks", "source", "retain", "probe") if getattr(self, n)]
            if given:
                raise ValueError(f"{given[0]} is read by probes (by: probe or interpolated)")
            return self
        if not self.tasks:
            raise ValueError(f"by: {self.by} needs tasks whose dev scores choose (--tasks)")
        if self.by_layer:
            raise ValueError("by_layer is for by: similarity")
        for task in self.tasks:
            if not TASKS[task].trains:
                raise ValueError(f"the task {task!r} trains no head, so it has no dev scores")
        fixed = [name for name in _OWN if name in self.probe]
        if fixed:
            raise ValueError(f"probe does not say {fixed[0]}")
        self.probing()
        return self

    @property
    def points(self) -> tuple[float, ...]:
        """The points that are looked at, from 0 to 1."""
        return (0.0, *(self.alphas or _GRIDS[self.by]), 1.0)

    def probing(self) -> EvaluateSettings:
        """Give how probes are trained."""
        own = {"encoders": [self.base], "data": self.data, "out": self.out, "tasks": self.tasks}
        own |= {"seeds": (self.seed,), "max_seconds": self.max_seconds}
        return parse_settings(EvaluateSettings, {**self.probe, **own}, where="choose.probe")


def alpha_settings(settings: MergeSettings, out: Path, **more: Any) -> AlphaSettings:
    """Give how the alpha of a merge is chosen.

    Args:
        settings: of the merge.
        out: folder of the choice.
        more: in the place of what they say.

    Raises:
        SettingsError: they do not fit together.
    """
    names = ("base", "tuned", "data", "by", "tasks", "retain", "bound", "by_layer", "seed")
    values = {name: getattr(settings, name) for name in names}
    fields = MergeSettings.model_fields
    shaping = ("method", "parameters", "sequential", "weight_norm", "statistics", "gram_data")
    given = {n: v for n in shaping if (v := getattr(settings, n)) not in (fields[n].default, {})}
    fixed = [name for name in (*values, "out", "merge") if name in settings.choose]
    if fixed:
        raise SettingsError(f"choose does not say {fixed[0]}", where="choose", found=fixed)
    values |= {**settings.choose, **more, "merge": given, "out": out}
    return parse_settings(AlphaSettings, values, where="alpha: auto")


def alpha_artifact(settings: AlphaSettings, known: Mapping[str, str] | None = None) -> Artifact:
    """Give the folder of a choice, with all that it depends on; also on how its method merges."""
    version = VERSION + METHODS[settings.merge.get("method", "linear")].revision - 1
    return Artifact(settings.out, "alpha", dependencies(settings, known), version, settings)

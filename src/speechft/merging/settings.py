"""Settings of `speechft merge`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from speechft.core.artifact import FileInput, Neutral
from speechft.core.settings import Listed, Option, Positional, Settings, Shown
from speechft.data.identity import DataName
from speechft.encoders.identity import EncoderName
from speechft.merging.mergekit import from_mergekit

By = Literal["similarity", "probe", "interpolated"]
AUTO: Final = "auto"
BOUND: Final = 0.25
CHOOSING: Final = ("by", "tasks", "retain", "bound", "by_layer", "choose", "chosen")


class MergeSettings(Settings):
    """Settings of `speechft merge`; a configuration in mergekit's spelling will do, too.

    Args:
        base: ENCODER, θ0; its format, configuration and types are kept.
        tuned: one or more ENCODERs, θ'_i.
        out: the merged encoder's folder.
        method: name of the merge method.
        alpha: a number; `0.1..0.5` from the first to the last layer; `PATTERN=VALUE` for groups of
            tensors; `0:1:0.05` for a sweep; several of these in a list; none for the method's own;
            `auto` chooses one on `data`.
        by: how `auto` chooses: by `similarity`, the largest alpha whose hidden states stay near
            θ0's, without labels; by `probe`, the dev scores of probes on `tasks`; `interpolated`,
            these scores on hidden states that are predicted from those of both ends.
        tasks: of which dev scores choose.
        retain: with dev scores, the share of θ0's mean first metric on the tasks besides the one
            that TUNED is tuned on, errors as 100 − e, that must stay at the lower 95 % bound.
        bound: with `similarity`, how far hidden states may move from θ0's, in standard deviations
            of these: the root mean square over frames and hidden states.
        by_layer: with `similarity`, an alpha for every layer.
        choose: further settings of the choice, such as alphas, passes, utterances, probe.
        chosen: `alpha.json` of an earlier choice, which `auto` takes instead of choosing.
        allow_extrapolation: take an alpha outside of [-2, 2].
        parameters: further parameters of the method.
        sequential: merge the tuned encoders one after the other.
        weight_norm: `stored` interpolates g and v of weight-normalised kernels by themselves,
            `fused` the effective kernel.
        heads: `drop` all heads and pre-training projections, keep those of `base` or of the one
            `tuned`, as they are, or `refit` one on the merged encoder.
        data: DATA that alpha is chosen on, or the head is refitted on.
        task: that it is refitted for; that of TUNED's head if not given.
        refit: further settings of `speechft finetune` for it, such as steps.
        dtype: type of the result; BASE's if none.
        max_shard_size: split larger weights into files of at most this size ("5GB").
        statistics: safetensors files with the data that RegMean and Fisher need, one per TUNED.
        gram_data: DATA to gather Gram matrices on, for RegMean without `statistics`; one for all,
            or one per TUNED.
        gram_seconds: how much speech of each.
        threads: the result does not depend on it.
        seed: of random masks.
    """

    base: Annotated[EncoderName, Positional]
    tuned: Annotated[tuple[EncoderName, ...], Listed, Positional] = Field(min_length=1)
    out: Annotated[Path, Neutral, Shown]
    method: Annotated[str, Shown] = "linear"
    alpha: Annotated[float | str | tuple[float | str, ...] | None, Option(repeated=True)] = None
    by: Annotated[By, Shown] = "similarity"
    tasks: Annotated[tuple[str, ...], Listed, Shown] = ()
    retain: Annotated[float | None, Shown] = Field(default=None, gt=0, le=1)
    bound: float = Field(default=BOUND, gt=0)
    by_layer: bool = False
    choose: dict[str, Any] = Field(default_factory=dict)
    chosen: FileInput | None = None
    allow_extrapolation: Annotated[bool, Neutral] = False
    parameters: dict[str, Any] = Field(default_factory=dict)
    sequential: Annotated[bool, Shown] = False
    weight_norm: Annotated[Literal["stored", "fused"], Shown] = "stored"
    heads: Annotated[Literal["drop", "base", "tuned", "refit"], Shown] = "drop"
    data: Annotated[DataName | None, Shown] = None
    task: Annotated[str | None, Shown] = None
    refit: dict[str, Any] = Field(default_factory=dict)
    dtype: Annotated[str | None, Shown] = None
    max_shard_size: Annotated[str | None, Shown] = None
    statistics: Annotated[tuple[FileInput, ...], Shown] = ()
    gram_data: Annotated[tuple[DataName, ...], Shown] = ()
    gram_seconds: float = Field(default=600.0, gt=0)
    threads: Annotated[int | None, Neutral, Shown] = Field(default=None, ge=1)
    seed: Annotated[int, Shown] = 0

    @model_validator(mode="before")
    @classmethod
    def _from_mergekit(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "merge_method" not in values:
            return values
        shared = ("dtype", "parameters")
        own = {k: v for k, v in values.items() if k in cls.model_fields and k not in shared}
        recipe = {k: v for k, v in values.items() if k not in own}
        return from_mergekit(recipe) | own

    @model_validator(mode="after")
    def _heads_make_sense(self) -> MergeSettings:
        if self.heads == "tuned" and len(self.tuned) > 1:
            raise ValueError("heads: tuned keeps the head of one TUNED; merge one, or choose refit")
        if self.heads == "refit" and self.data is None:
            raise ValueError("heads: refit needs data to train the head on (--data)")
        given = [n for n in ("task", "refit") if getattr(self, n)]
        if self.data is not None and not self.auto:
            given.insert(0, "data")
        if self.heads != "refit" and given:
            raise ValueError(
                f"{given[0]} is read only with heads: refit"
                + (" or alpha: auto" if given[0] == "data" else "")
            )
        return self

    @model_validator(mode="after")
    def _choice_makes_sense(self) -> MergeSettings:
        given = [n for n in CHOOSING if getattr(self, n) != type(self).model_fields[n].default]
        given = [n for n in given if getattr(self, n) != {}]
        if not self.auto:
            if given:
                raise ValueError(f"{given[0]} is read only with alpha: auto")
            return self
        if len(self.alpha_texts()) > 1:
            raise ValueError("alpha: auto chooses all of alpha, and stands alone")
        if self.chosen is None and self.data is None:
            raise ValueError("alpha: auto needs data to choose on (--data)")
        if self.chosen is not None and given != ["chosen"]:
            raise ValueError(f"{given[0]} says how to choose, and chosen that it is done")
        return self

    @property
    def version(self) -> int:
        """Of what makes the result: of the method."""
        from speechft.merging.methods import METHODS

        return METHODS[self.method].revision

    @property
    def auto(self) -> bool:
        """Whether alpha is chosen on data."""
        return AUTO in self.alpha_texts()

    def alpha_texts(self) -> list[str]:
        """Give alpha as a list of texts, none if it was not given."""
        given = self.alpha if isinstance(self.alpha, tuple) else (self.alpha,)
        return [str(value) for value in given if value is not None]

    def options(self) -> dict[str, Any]:
        """Give the fields of the recipe besides alpha."""
        from speechft.merging.engine import Recipe

        names = [field.name for field in dataclasses.fields(Recipe) if field.name != "alpha"]
        return {name: getattr(self, name) for name in names}

"""Settings of `speechft pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, model_validator

from speechft.core.settings import Settings
from speechft.training.loop import Precision


class Guide(Settings):
    """A little labelled speech that shapes the units of one iteration.

    A copy of the encoder learns to name the phoneme of every frame; the units are clusters of the
    copy's hidden layer, and the copy is thrown away. Source: supervision-guided codebooks for
    masked prediction (Wang et al. 2022).

    Args:
        steps: updates of the copy.
        seconds: labelled speech, from the start of the split; its cuts need an alignment.
        learning_rate: peak rate.
    """

    steps: int = Field(gt=0)
    seconds: float = Field(gt=0)
    learning_rate: float = Field(default=5e-4, gt=0)


class Iteration(Settings):
    """One round of clustering and masked prediction.

    Args:
        steps: optimiser updates.
        clusters: number of units.
        layer: hidden layer that is clustered; none means MFCCs.
        learning_rate: peak rate.
        smooth: frames (an odd number) over which features are averaged before clustering, after
            each utterance was normalised to mean 0 and deviation 1; 0 leaves a layer as it is.
        guide: labelled speech that shapes the units; none for units without any label.
    """

    steps: int = Field(gt=0)
    clusters: int = Field(default=100, gt=1)
    layer: int | None = None
    learning_rate: float = Field(default=5e-4, gt=0)
    smooth: int = Field(default=0, ge=0)
    guide: Guide | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Iteration:
        if self.smooth and self.smooth % 2 == 0:
            raise ValueError("smooth must be 0 or an odd number of frames")
        if self.guide and self.layer is None:
            raise ValueError("a guide needs the hidden layer whose states are clustered (layer)")
        return self


class PretrainSettings(Settings):
    """Settings of `speechft pretrain`.

    Args:
        init: ENCODER to go on from, or a configuration to start anew: its keys and values, or a
            YAML or JSON file of them.
        data: DATA.
        split: which split; none means `pretrain` where there is one, else `train`.
        iterations: the rounds, in order.
        seconds: speech in one batch, in seconds.
        unmasked_weight: weight of the loss on unmasked frames.
        mask_share, mask_span: share of frames that start a masked span, frames in a span.
        mixing: share of the utterances that get a part of another utterance, or noise, on top
            (0.2 in WavLM).
        fit_seconds: speech that the k-means is fitted on.
        dev_seconds: speech held out for the dev loss, where there is no split for it.
        evaluate_every, save_every: updates between dev losses and between resumable states.
        seed: the run's seed.
        precision: `auto`, `no` (float32) or `bf16`.
        out: the run's folder.
    """

    added_later: ClassVar[frozenset[str]] = frozenset({"mixing"})
    init: str | dict[str, Any]
    data: str
    out: Path
    iterations: tuple[Iteration, ...] = Field(min_length=1)
    split: str | None = None
    seconds: float = Field(default=14.0, gt=0)
    unmasked_weight: float = Field(default=0.5, ge=0)
    mask_share: float = Field(default=0.8, gt=0, lt=1)
    mask_span: int = Field(default=10, gt=0)
    mixing: float = Field(default=0.0, ge=0, le=1)
    fit_seconds: float = Field(default=3600.0, gt=0)
    dev_seconds: float = Field(default=120.0, ge=0)
    evaluate_every: int = Field(default=1000, ge=0)
    save_every: int = Field(default=1000, gt=0)
    seed: int = 0
    precision: Precision = "auto"

"""What is known of a family of encoders: one record, and the registry of all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from speechft.core.lengths import SAMPLE_RATE
from speechft.core.registry import Registry
from speechft.encoders.base import SpeechEncoder
from speechft.encoders.convolutional import ConvolutionalEncoder
from speechft.encoders.fairseq_layout import FairseqLayout

Objective = Literal["masked-prediction", "contrastive", "reconstruction"]

# Preset of adapters → ends of the names of the layers that it stands for.
ADAPTER_PRESETS: Final[dict[str, tuple[str, ...]]] = {
    "all": ("*",),
    "attention": ("q_proj", "k_proj", "v_proj", "out_proj"),
    "query-value": ("q_proj", "v_proj"),
    "feed-forward": ("intermediate_dense", "output_dense"),
}


def waveform_preprocessor(config: Any) -> dict[str, Any]:
    """Give preprocessor settings for an encoder on the waveform that has none of its own.

    Waveforms are normalised only where every convolution has a layer norm.
    """
    return {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "sampling_rate": SAMPLE_RATE,
        "padding_side": "right",
        "padding_value": 0.0,
        "do_normalize": getattr(config, "feat_extract_norm", "layer") == "layer",
        "return_attention_mask": True,
    }


@dataclass(frozen=True)
class Family:
    """A family of encoders.

    Attributes:
        name: transformers' model type, as in `config.json`.
        encoder: the class around its transformers model: the front end, how a model is recognised
            by its modules (`fits`), and how it is described (`style`, `front_end_input`).
        objective: of its pre-training.
        carries: which head of pre-training its checkpoints have a place for.
        adapters: presets of adapters where they differ from `ADAPTER_PRESETS`.
        preprocessor: gives the preprocessor's settings for a configuration that comes without.
        normalizes: whether that preprocessor may normalise waveforms.
        fairseq: how files with fairseq's names hold it; none where they do not.
        head_names: fairseq's and transformers' names of parts of pre-training that transformers has
            a place for.
    """

    name: str
    encoder: type[SpeechEncoder]
    objective: Objective = "masked-prediction"
    carries: Literal["units", "quantiser"] | None = None
    adapters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    preprocessor: Callable[[Any], dict[str, Any]] = waveform_preprocessor
    normalizes: bool = True
    fairseq: FairseqLayout | None = None
    head_names: tuple[tuple[str, str], ...] = ()

    def default_preprocessor(self, config: Any, do_normalize: bool | None = None) -> dict[str, Any]:
        """Give the usual preprocessor settings, with what is known of `do_normalize` in place."""
        settings = self.preprocessor(config)
        if "do_normalize" in settings and (do_normalize is not None or not self.normalizes):
            settings["do_normalize"] = self.normalizes and bool(do_normalize)
        return settings


FAMILIES: Registry[Family] = Registry("encoder family")


def register(family: Family) -> Family:
    """Add a record to the registry under its name."""
    return FAMILIES.register(family.name)(family)


def record_of(model_type: str) -> Family:
    """Give a family's record; one of HuBERT's shape for a model type that has none."""
    known = FAMILIES.get(model_type) if model_type in FAMILIES else None
    return known or Family(model_type, ConvolutionalEncoder)

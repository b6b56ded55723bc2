"""What depends on the encoder that pre-training begins with: objective, layer, whether it fits."""

from __future__ import annotations

import math
from typing import Any

from speechft.core.errors import SettingsError
from speechft.core.lengths import HOP
from speechft.core.settings import parse_settings
from speechft.encoders import SpeechEncoder
from speechft.encoders.families import record_of
from speechft.training.pretrain.carried_head import carried_sizes
from speechft.training.pretrain.defaults import MASKED, continues
from speechft.training.pretrain.settings import Iteration, PretrainSettings

# HuBERT's later models and WavLM Base+ took their units from layer 9 of HuBERT Base's 12.
_DEPTH = 0.75


def resolve(settings: PretrainSettings, encoder: SpeechEncoder) -> PretrainSettings:
    """Give the settings with the family's own objective where none is named.

    Masked prediction that has `steps` alone becomes one iteration of them. A quantiser that the
    encoder carries keeps its sizes where none are said.

    Raises:
        SettingsError: something is set that this objective does not read.
    """
    if settings.iterations:
        return settings
    objective = settings.objective or record_of(encoder.family).objective
    values = settings.model_dump(exclude_unset=True)
    if objective != MASKED:
        values |= {"objective": objective, **_own_quantiser(settings, encoder)}
        return parse_settings(PretrainSettings, values, "objective")
    names = ("steps", "learning_rate")
    iteration = {name: values.pop(name) for name in names if name in values}
    return parse_settings(PretrainSettings, values | {"iterations": [iteration]}, "objective")


def _own_quantiser(settings: PretrainSettings, encoder: SpeechEncoder) -> dict[str, Any]:
    sizes = carried_sizes(encoder)
    return {"quantiser": sizes} if sizes and "quantiser" not in settings.model_fields_set else {}


def unit_layer(
    settings: PretrainSettings, iteration: Iteration, encoder: SpeechEncoder
) -> int | None:
    """Give the hidden layer to cluster, none for MFCCs.

    Where nothing is said a run from a configuration takes MFCCs, and one that goes on from an
    encoder the layer three quarters of the way up: 9 of 12, 18 of 24, 3 of 4.

    Raises:
        SettingsError: the encoder has no such layer.
    """
    layer = iteration.layer
    if layer == "mfcc" or (layer is None and not continues(settings.init)):
        return None
    if layer is None:
        return math.ceil(_DEPTH * encoder.num_layers)
    if not 0 <= layer <= encoder.num_layers:
        raise SettingsError(
            f"no layer {layer} to take units from",
            expected=f"0 to {encoder.num_layers}, or mfcc",
            found=layer,
        )
    return layer


def check_rates(encoder: SpeechEncoder, teacher: SpeechEncoder, layer: int | None) -> None:
    """Refuse units that come at another rate than the frames that are to predict them.

    Raises:
        SettingsError: they do.
    """
    hop = HOP if layer is None else teacher.hop
    if hop == encoder.hop:
        return
    own, other = (1000 * one / encoder.sample_rate for one in (encoder.hop, hop))
    raise SettingsError(
        "the units do not come at the encoder's frame rate",
        where="iterations",
        expected=f"one unit per {own:g} ms, as {encoder.family} has frames",
        found=f"one per {other:g} ms from "
        + ("MFCCs" if layer is None else f"a {teacher.family} encoder"),
        hint="cluster a layer of an encoder of the same frame rate (layer, teacher)",
    )

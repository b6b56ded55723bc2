"""What pre-training takes where nothing else is said: by objective, and by where it begins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

# Masked prediction takes the fields' defaults.
OF_OBJECTIVE: dict[str, dict[str, Any]] = {
    "contrastive": {"mask_share": 0.65, "unmasked_weight": 0.0},
    "reconstruction": {"mask_share": 0.65, "unmasked_weight": 0.0},
}
# A run that goes on from an encoder is stable fine-tuning without labels: Speech-FT's recipe.
# Its batches, and the weight of unmasked frames, are HuBERT's; so are the units of its second
# iteration, and the penalty on the CNN front end's output, where that is trained.
CONTINUED: dict[str, Any] = {
    "schedule": "stable",
    "freeze_front_end": True,
    "head_warmup": 0.1,
    "seconds": 87.5,
    "unmasked_weight": 0.0,
}
CONTINUED_RATE = 1e-4
CONTINUED_CLUSTERS = 500
FEATURE_PENALTY = 10.0
MASKED: Final = "masked-prediction"
_OF_ITERATION = ("layer", "clusters", "teacher", "steps", "learning_rate")
_CONFIGURATIONS = {".yaml", ".yml", ".json"}


def continues(init: object) -> bool:
    """Tell whether a run goes on from an ENCODER; else it begins anew, from a configuration."""
    return isinstance(init, str | Path) and Path(init).suffix not in _CONFIGURATIONS


def with_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """Add the defaults that depend on other settings to those of `speechft pretrain`."""
    values = _as_iteration(values)
    result = {**OF_OBJECTIVE.get(str(values.get("objective")), {}), **values}
    if not continues(values.get("init")):
        return result
    iterations = values.get("iterations")
    if isinstance(iterations, list | tuple):
        result["iterations"] = [_of_hubert(one) for one in iterations]
        if result.get("freeze_front_end") is False:
            result.setdefault("feature_penalty", FEATURE_PENALTY)
    elif values.get("steps") is not None:
        result.setdefault("learning_rate", CONTINUED_RATE)
    return CONTINUED | result


def _as_iteration(values: Mapping[str, Any]) -> dict[str, Any]:
    """Put what is said of the only iteration of masked prediction into it.

    Raises:
        ValueError: there are several iterations, and nobody knows which of them is meant.
    """
    rounds = values.get("iterations")
    named = values.get("objective", MASKED if rounds else None)
    said = {key: value for key, value in values.items() if value is not None}
    units: dict[str, Any] = {
        key: said[key] for key in ("layer", "clusters", "teacher") if key in said
    }
    length: dict[str, Any] = {key: said[key] for key in ("steps", "learning_rate") if key in said}
    if not units and (named != MASKED or not length):
        return dict(values)
    rounds = rounds or [{}]
    if not isinstance(rounds, list | tuple):
        return dict(values)
    if len(rounds) > 1:
        raise ValueError(
            f"there are {len(rounds)} iterations, and {', '.join({**length, **units})} are of one: "
            f"say --set iterations.{len(rounds) - 1}.steps=1000 for the last, counted from 0"
        )
    only = _plain(rounds[0])
    if not isinstance(only, Mapping):
        return dict(values)
    rest = {k: v for k, v in values.items() if k not in (*_OF_ITERATION, "iterations")}
    return {**rest, "iterations": [{**only, **length, **units}]}


def _of_hubert(iteration: Any) -> Any:
    plain = _plain(iteration)
    own = {"learning_rate": CONTINUED_RATE, "clusters": CONTINUED_CLUSTERS}
    return {**own, **plain} if isinstance(plain, Mapping) else plain


def _plain(iteration: Any) -> Any:
    return (
        iteration.model_dump(exclude_unset=True) if isinstance(iteration, BaseModel) else iteration
    )

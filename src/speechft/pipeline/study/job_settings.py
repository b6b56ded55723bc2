"""What a job's settings say: of which tasks, of which encoder, and whether it makes sense."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from speechft.core.errors import SettingsError
from speechft.core.files import hash_file, hash_json
from speechft.core.settings import Settings
from speechft.encoders.formats.locate import locate, packaged_weights
from speechft.merging.alpha import is_sweep, parse_alpha
from speechft.merging.methods import METHODS
from speechft.merging.settings import MergeSettings
from speechft.pipeline.recipe.keys import inputs_of
from speechft.probing.plans import check_plans
from speechft.probing.settings import EvaluateSettings
from speechft.tasks import TASKS
from speechft.training.finetune.settings import FinetuneSettings

_PER_TASK: Final = ("data", "steps", "batch_size", "learning_rates")
_OF_LANGUAGE_MODEL: Final = ("asr_lm", "asr_lexicon")


def identity_of(encoder: str) -> str:
    """Give what tells an encoder from others: its weights where they are here, else its name."""
    weights = packaged_weights(encoder)
    if weights is not None:
        return f"{encoder} {hash_file(weights)}"
    if Path(encoder).expanduser().exists():  # a run's folder holds its encoder one floor below
        found = inputs_of({"encoder": str(locate(encoder))})
        return hash_json(found) if found else encoder
    return encoder


def of_tasks(values: Mapping[str, Any], tasks: tuple[str, ...]) -> dict[str, Any]:
    """Leave out what an evaluation's settings say of other tasks than these."""
    without = () if any(TASKS[t].takes_language_model for t in tasks) else _OF_LANGUAGE_MODEL
    result = {key: value for key, value in values.items() if key not in without}
    for key in _PER_TASK:
        if isinstance(result.get(key), Mapping):
            result[key] = {k: v for k, v in result[key].items() if k in (*tasks, "default")}
    return result


def check(settings: Settings, where: str) -> None:
    """Look at what else is known before anything runs.

    Raises:
        SettingsError: an unknown task, a plan or a merge that makes no sense.
    """
    if isinstance(settings, EvaluateSettings):
        check_plans(settings)
    if isinstance(settings, FinetuneSettings):
        for task in settings.tasks:
            TASKS[task]  # an unknown one shows up here
    if isinstance(settings, MergeSettings):
        method, texts = METHODS[settings.method], settings.alpha_texts()
        method.check(settings.parameters, len(settings.tuned))
        if any(is_sweep(text) for text in texts):
            raise SettingsError(
                "a stage of a study merges with one alpha",
                where=where,
                found=", ".join(texts),
                hint="write a stage for each with `for`",
            )
        parse_alpha(texts, method.default_alpha)

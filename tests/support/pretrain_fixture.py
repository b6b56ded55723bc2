"""What tests of pre-training share: a small DeCoAR 2.0, and a run that is stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest

DECOAR = {
    "model_type": "decoar2",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}


class StopError(Exception):
    """Stands for whatever stops a run."""


@contextmanager
def stopped_at(module: ModuleType, wanted: int) -> Iterator[None]:
    """Stop what `module` trains before this update; fails where nothing was stopped."""
    real = module.train

    def train(objective: Any, *rest: Any) -> Any:
        original = objective.before_update

        def before_update(update: int) -> None:
            if update == wanted:
                raise StopError
            original(update)

        objective.before_update = before_update
        return real(objective, *rest)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(StopError):
        patch.setattr(module, "train", train)
        yield

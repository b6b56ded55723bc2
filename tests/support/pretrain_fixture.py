"""What tests of pre-training share: a small DeCoAR 2.0, and a run that is stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from speechft.training.loop import Loop, Progress

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
def stopped_at(wanted: int) -> Iterator[None]:
    """Stop what trains before this update; fails where nothing was stopped."""
    real = Loop.run

    def run(loop: Loop) -> Progress:
        original = loop.objective.before_update

        def before_update(update: int) -> None:
            if update == wanted:
                raise StopError
            original(update)

        loop.objective.before_update = before_update  # type: ignore[method-assign]
        return real(loop)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(StopError):
        patch.setattr(Loop, "run", run)
        yield

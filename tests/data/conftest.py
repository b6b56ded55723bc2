from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def tiny(synthetic_splits):
    """The tiny synthetic corpus, made once: split → cuts."""
    return synthetic_splits

"""What all tests of stages share."""

import pytest

from speechft.stages.pretraining import unit_cache


@pytest.fixture(autouse=True)
def units_folder(tmp_path_factory, monkeypatch):
    """An empty cache of units, so that no test reads what another has learned."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(unit_cache, "cache_folder", lambda: folder)
    return folder / unit_cache.FOLDER

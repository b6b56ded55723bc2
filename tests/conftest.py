"""Shared fixtures: encoders and speech small enough for unit tests."""

from __future__ import annotations

import functools
import os
import shutil
import signal

import pytest
import torch

TINY_CONFIG = {
    "model_type": "hubert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": [16, 16, 16, 16, 16, 16, 16],
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "num_feat_extract_layers": 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "feat_extract_norm": "group",
    "mask_time_prob": 0.05,
    "layerdrop": 0.0,
}


@pytest.fixture(scope="session")
def _shared(tmp_path_factory):
    """A folder that the processes of one test run share, and nobody else."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session", autouse=True)
def _own_cache(_shared):
    """A cache that the processes of one test run share, and nobody else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPEECHFT_CACHE", str(_shared / "speechft-cache"))
        yield


@pytest.fixture(scope="session")
def made_once(_shared):
    """Gives a folder that one of the processes of a test run fills, for all of them."""
    from filelock import FileLock

    def make(name, fill):
        folder, whole = _shared / name, _shared / f"{name}-whole"
        with FileLock(_shared / f"{name}.lock"):
            if not whole.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                fill(folder)
                whole.touch()
        return folder

    return make


@pytest.fixture(scope="session", autouse=True)
def _hears_ctrl_c():
    """Ctrl-C as it is in a terminal: what a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    """Two test processes share two cores, also where training's settings say two threads."""
    from speechft.core.devices import computing_threads
    from speechft.training import distributed

    torch.set_num_threads(1)
    monkeypatch.setattr(distributed, "computing_threads", lambda _: computing_threads(1))


@pytest.fixture(scope="session")
def _workers_end():
    """Worker processes that were kept for the next test end with this one."""
    from warm_workers import end_workers

    yield
    end_workers()


@pytest.fixture
def warm_workers(_workers_end):
    """Worker processes that other tests have started and left are used again."""
    from warm_workers import warm_workers

    with warm_workers():
        yield


@pytest.fixture
def tiny_config():
    return dict(TINY_CONFIG)


@pytest.fixture
def tiny_encoder():
    from speechft.encoders import build_encoder

    return build_encoder(dict(TINY_CONFIG), seed=0)


@pytest.fixture(scope="session")
def evaluation_home(tmp_path_factory):
    """Two encoders (one, two) and two data of one name (data, other), for small evaluations."""
    from evaluate_fixture import CONFIG, write_tones

    from speechft.encoders import build_encoder

    folder = tmp_path_factory.mktemp("evaluation")
    for seed, (encoder, data) in enumerate((("one", "data"), ("two", "other"))):
        build_encoder(dict(CONFIG), seed=seed).save(folder / encoder)
        write_tones(folder / data, seed=seed)
    return folder


@pytest.fixture(scope="session")
def synthetic_splits(tmp_path_factory):
    """The tiny synthetic corpus, made once: split → cuts."""
    from speechft.data.synthetic.corpus import synthetic_cuts

    return synthetic_cuts("tiny", tmp_path_factory.mktemp("synthetic"))


@pytest.fixture(scope="session")
def _laid_out(tmp_path_factory, synthetic_splits):
    """Give the tree of a known corpus and, relative to it, its ROOT; each is laid out once."""
    from corpus_trees import MAKERS, Speech

    @functools.cache
    def lay_out(name, **options):
        folder = tmp_path_factory.mktemp(name)
        root = MAKERS[name](folder, Speech(synthetic_splits), **options)
        return folder, root.relative_to(folder)

    return lay_out


@pytest.fixture
def corpus_tree(tmp_path, synthetic_splits, _laid_out):
    """Lays synthetic speech out in the tree of a known corpus: `corpus_tree("timit")` → ROOT."""
    from corpus_trees import MAKERS, Speech

    def make(name, **options):
        if name == "libri2mix":  # its tables say where the files are from the root of the disk on
            return MAKERS[name](tmp_path / name, Speech(synthetic_splits), **options)
        folder, root = _laid_out(name, **options)
        return shutil.copytree(folder, tmp_path / name, symlinks=True, dirs_exist_ok=True) / root

    return make


@pytest.fixture(autouse=True)
def units_folder(tmp_path_factory, monkeypatch):
    """An empty cache of units, so that no test reads what another has learned."""
    from speechft.training.pretrain import unit_cache

    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(unit_cache, "cache_folder", lambda: folder)
    return folder / unit_cache.FOLDER


@pytest.fixture
def tone(tmp_path):
    """Writes a tone and gives its path."""
    import numpy as np
    import soundfile

    def write(
        name: str, seconds: float = 1.0, rate: int = 16000, channels: int = 1, hz: float = 200
    ):
        time = np.arange(int(seconds * rate)) / rate
        wave = 0.3 * np.sin(2 * np.pi * hz * time)[:, None].repeat(channels, axis=1)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, wave, rate)
        return path

    return write

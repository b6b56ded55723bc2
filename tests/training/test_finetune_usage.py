"""What a run says of padding, of waiting, and of what the front end had not to do again."""

import json
import logging
import time

import numpy as np
import pytest
import torch
from family_configs import config_of
from finetune_fixture import moved, settings

from speechft.data.batching import DurationBatches, padding
from speechft.encoders import build_encoder
from speechft.training.batch_stream import BatchStream
from speechft.training.finetune.data import Chosen
from speechft.training.finetune.stage import finetune


@pytest.fixture
def base(tmp_path, tiny_config):
    return build_encoder(tiny_config, seed=0).save(tmp_path / "base")


def record(out):
    return json.loads((out / "speechft.json").read_text())


def test_padding_is_what_batches_hold_besides_speech():
    assert padding([[0, 1], [2]], [2.0, 4.0, 3.0], [2.0, 4.0, 3.0]) == pytest.approx(2 / 11)
    assert padding([[0, 1], [2]], [2.0, 4.0, 3.0], [30.0] * 3) == pytest.approx(81 / 90)
    assert padding([], [], []) == 0


@pytest.mark.parametrize("seconds", [16.0, 64.0])
@pytest.mark.parametrize("kind", ["commands", "read", "dialogue", "interviews"])
def test_padding_of_ordinary_corpora_is_below_5_percent(kind, seconds):
    """Lengths as short commands, read sentences, acted dialogue and cut-up interviews have them."""
    random = np.random.default_rng(0)
    durations = {
        "commands": random.normal(2.3, 0.7, 5000).clip(0.7, 8),
        "read": np.where(random.random(5000) < 0.7, 14.7, 8)
        + random.normal(0, 2, 5000).clip(-6, 9),
        "dialogue": np.exp(random.normal(np.log(3.9), 0.65, 5000)).clip(0.6, 34),
        "interviews": np.exp(random.normal(np.log(6.9), 0.45, 5000)).clip(4, 60),
    }[kind].tolist()
    order = DurationBatches(durations, seconds, 0)
    shares = [padding(order.epoch(number), durations, durations) for number in range(3)]
    assert max(shares) < 0.05
    assert order.epoch(0) != order.epoch(1)
    blocks = DurationBatches(durations, seconds, 0, shuffle=False)
    assert padding(blocks.epoch(0), durations, durations) < min(shares)


def test_the_record_says_padding_waiting_and_what_was_kept(base, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="speechft"):
        whole = record(finetune(settings(base, tmp_path / "all", task="pr,sid")))
    assert f"{100 * whole['padding']:.1f} % of the batches of a pass is padding" in caplog.text
    assert 0 < whole["padding"] < 0.5
    assert 0 <= whole["waiting"] <= 1
    assert 0.5 < whole["front_end_kept"] < 1  # but the first time
    none = record(finetune(settings(base, tmp_path / "none", task="pr,sid", cache_gb=0)))
    assert none["front_end_kept"] == 0
    moving = record(finetune(settings(base, tmp_path / "moving", freeze_front_end=False, steps=2)))
    assert "front_end_kept" not in moving


@pytest.mark.parametrize("context", ["30s", "utterance"])
def test_padding_of_whisper_says_where_it_is_from(context, tmp_path, caplog):
    build_encoder(config_of("whisper"), seed=0).save(tmp_path / "base")
    given = settings(tmp_path / "base", tmp_path / "run", steps=1, context=context)
    with caplog.at_level(logging.INFO, logger="speechft"):
        finetune(given)
    assert ("padded to 30 s (context=utterance does not)" in caplog.text) == (context == "30s")


def test_what_lies_on_the_disk_changes_no_result(base, tmp_path):
    memory = finetune(settings(base, tmp_path / "memory"))
    disk = finetune(settings(base, tmp_path / "disk", cache_gb=1e-4, cache_disk_gb=1))
    little = finetune(settings(base, tmp_path / "little", cache_gb=0, cache_disk_gb=3e-5))
    assert not moved(disk / "encoder", memory / "encoder")
    assert not moved(little / "encoder", memory / "encoder")
    kept = [record(out)["front_end_kept"] for out in (memory, disk, little)]
    assert kept[0] == kept[1] > kept[2] > 0
    assert record(memory)["depends"] == record(disk)["depends"]


def test_time_in_which_a_batch_was_not_there_is_counted(base, tmp_path, monkeypatch):
    class Slow:
        def load(self, indices):
            time.sleep(0.05)
            return indices

    stream = BatchStream(DurationBatches([1.0] * 8, 2, 0), Slow())
    row = iter(stream)
    for _ in range(4):
        next(row)
    assert 0.15 < stream.waited < 1
    before = stream.waited
    for _ in range(3):
        time.sleep(0.2)
        next(row)
    assert stream.waited - before < 0.05

    def slow(self, indices, place):
        time.sleep(0.2)
        return self.load(indices)

    monkeypatch.setattr(Chosen, "load_at", slow)
    assert record(finetune(settings(base, tmp_path / "run", steps=4)))["waiting"] > 0.3


def test_batches_are_loaded_by_a_thread_that_computes_alone():
    class Threads:
        def load(self, indices):
            return torch.get_num_threads()

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        _, threads = next(iter(BatchStream(DurationBatches([1.0] * 8, 2, 0), Threads())))
        assert (threads, torch.get_num_threads()) == (1, 2)
    finally:
        torch.set_num_threads(before)

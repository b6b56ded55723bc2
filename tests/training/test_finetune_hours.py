"""Fine-tuning on a part of the data: drawn by the seed, one draw inside the next, heads alike."""

import json

import pytest
from finetune_fixture import settings

from speechft.core.errors import DataError
from speechft.data.load import load_data
from speechft.encoders import build_encoder
from speechft.tasks import TASKS
from speechft.training.finetune.data import read_task
from speechft.training.finetune.stage import finetune

TINY = "synthetic:tiny"


def drawn(hours, seed=0, task="sid"):
    return read_task(TASKS[task], load_data(TINY), TINY, hours, seed)


def test_a_longer_draw_begins_with_a_shorter_one():
    less, more = drawn(0.002), drawn(0.004)
    ids = [[cut.id for cut in one.cuts] for one in (less, more)]
    assert 0 < len(ids[0]) < len(ids[1])
    assert ids[1][: len(ids[0])] == ids[0]


@pytest.mark.parametrize("hours", [0.001, 0.003])
def test_the_last_utterance_passes_the_amount(hours):
    seconds = [float(cut.duration) for cut in drawn(hours).cuts]
    assert sum(seconds[:-1]) < hours * 3600 <= sum(seconds)


def test_the_seed_draws_and_no_amount_means_all():
    everything = [cut.id for cut in drawn(None).cuts]
    assert [cut.id for cut in drawn(0.003, 0).cuts] != [cut.id for cut in drawn(0.003, 1).cuts]
    assert {cut.id for cut in drawn(0.003).cuts} < set(everything)


@pytest.mark.parametrize("task", ["sid", "asr"])
def test_classes_and_symbols_are_those_of_all_utterances(task):
    assert drawn(0.0005, task=task).task.to_dict() == drawn(None, task=task).task.to_dict()


def test_a_run_on_a_part_says_how_much(tmp_path, tiny_config):
    base = build_encoder(tiny_config, seed=0).save(tmp_path / "base")
    out = finetune(settings(base, tmp_path / "run", data=TINY, hours=0.002, steps=2))
    record = json.loads((out / "speechft.json").read_text())
    assert record["utterances"] == len(drawn(0.002).cuts)
    assert record["settings"]["hours"] == 0.002


def test_more_than_there_is(tmp_path, tiny_config):
    base = build_encoder(tiny_config, seed=0).save(tmp_path / "base")
    with pytest.raises(DataError, match="less speech") as caught:
        finetune(settings(base, tmp_path / "run", data=TINY, hours=3.0))
    assert "3 hours" in str(caught.value)
    assert "in 12 utterances" in str(caught.value)
    assert not (tmp_path / "run").exists()

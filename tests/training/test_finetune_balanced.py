"""Class-balanced draws: for every task of classes, at other speeds too, and beside other tasks."""

from collections import Counter
from dataclasses import replace

import pytest
from finetune_fixture import settings

from speechft.core.errors import SettingsError
from speechft.data.load import load_data
from speechft.encoders import build_encoder
from speechft.tasks import TASKS
from speechft.training.finetune.batch_order import task_order
from speechft.training.finetune.data import TaskData
from speechft.training.finetune.stage import finetune

COUNTS = [9, 2, 1]


def labelled(cut, label):
    """Give a cut of one of three classes, whatever task asks for it."""
    custom = {"emotion": label, "label": label, "mood": label}
    custom |= {name: label for name in ("intent", "action", "object", "location")}
    spoken = replace(cut.supervisions[0], speaker=label, text=label, custom=custom)
    return replace(cut, supervisions=[spoken])


@pytest.mark.parametrize("task", ["sid", "er", "ic", "ks", "classify:mood"])
@pytest.mark.parametrize("speed", [(), (0.9, 1.1)])
def test_every_class_is_as_frequent(tmp_path, tiny_config, task, speed):
    encoder = build_encoder(tiny_config, seed=0)
    cuts = list(load_data("synthetic:tiny")["train"])
    names = [name for name, n in zip(("yes", "no", "up"), COUNTS, strict=True) for _ in range(n)]
    cuts = [labelled(cut, name) for cut, name in zip(cuts, names, strict=True)]
    data = TaskData(TASKS[task].from_cuts(cuts), cuts, [])
    for balanced, low in ((True, 0.27), (False, 0.07)):
        chosen = settings("e", tmp_path / "o", task=task, balanced=balanced, speed=speed)
        order = task_order(chosen, encoder, data, 0)
        heard = [i for epoch in range(60) for batch in order.epoch(epoch) for i in batch]
        assert max(heard) // len(cuts) == max(0, len(speed) - 1)
        shares = Counter(names[i % len(cuts)] for i in heard)
        assert min(shares.values()) / len(heard) == pytest.approx(low + 0.03, abs=0.04)


def test_tasks_without_classes_hear_each_utterance_once(tmp_path, tiny_config):
    """Of one text per utterance each would be a class of its own, drawn with repetition."""
    encoder = build_encoder(tiny_config, seed=0)
    cuts = list(load_data("synthetic:tiny")["train"])
    chosen = settings("e", tmp_path / "o", task="pr,sid", balanced=True)
    order = task_order(chosen, encoder, TaskData(TASKS["pr"].from_cuts(cuts), cuts, []), 0)
    assert sorted(i for batch in order.epoch(0) for i in batch) == list(range(len(cuts)))
    with pytest.raises(SettingsError, match="no classes to balance"):
        finetune(settings("e", tmp_path / "o", task="pr", balanced=True))

"""What data and encoder say of a fine-tuning's length and head, unless they are given."""

from __future__ import annotations

import json
import signal

import pytest
from family_configs import config_of
from finetune_fixture import kill_at, settings

from speechft.core.errors import SettingsError
from speechft.core.logging import set_up_logging
from speechft.data.load import load_data
from speechft.encoders import build_encoder, load_encoder
from speechft.pipeline.job_kinds import STAGES
from speechft.tasks import TASKS
from speechft.training.finetune.data import read_task
from speechft.training.finetune.settings import FinetuneSettings
from speechft.training.finetune.stage import _resolved, finetune

GIVEN = {"encoder": "e", "task": "sid", "data": "t.csv", "out": "o"}


@pytest.mark.parametrize(
    ("width", "hours", "expected"),
    [
        (768, 0.01, (100, "superb")),
        (768, 1.0, (1690, "superb")),
        (768, 960.0, (10_000, "superb")),
        (192, 1.0, (1690, "mini")),
        (192, 50.0, (2_000, "mini")),
    ],
)
def test_small_data_and_tiny_encoders_take_fewer_updates_and_small_heads(width, hours, expected):
    found = FinetuneSettings(**GIVEN).resolved(width, [(1000, hours * 3600)])
    assert (found.steps, found.head_size) == expected


def test_the_help_says_these_limits():
    text = " ".join((FinetuneSettings.__doc__ or "").split())
    assert "at least 100 and at most 10,000 (2,000 for tiny encoders)" in text


def test_batches_count_as_they_are_made():
    def steps(**values: object) -> int:
        return FinetuneSettings(**GIVEN, **values).resolved(768, [(1000, 3600.0)]).steps

    assert steps(seconds=32) == pytest.approx(2 * steps(), rel=0.01)
    assert steps(accumulate=2) == pytest.approx(steps() / 2, rel=0.01)
    assert steps(batch_size=10) == 3000
    assert steps(seconds=None, batch_size=100) == 300  # thirty passes of ten batches
    half = {"rehearsal_share": 0.5, "rehearsal_data": "s.csv"}  # of the batches that are counted
    assert steps(batch_size=10, **half) == 6000
    own = [FinetuneSettings(**GIVEN, **half, **more).version for more in ({}, {"epochs": 30})]
    assert own == [5, 4]


@pytest.mark.parametrize(
    ("steps", "dev", "expected"),
    [
        (100, 18.0, 10),  # ten times along the run
        (100, 180.0, 30),  # 30 updates hear 1800 s, ten times what dev has
        (2_000, 60.0, 200),
        (50_000, 60.0, 500),
        (50_000, 36_000.0, 500),
    ],
)
def test_dev_is_scored_along_the_run_as_often_as_it_is_cheap(steps, dev, expected):
    given = FinetuneSettings(**GIVEN, steps=steps)
    assert given.resolved(192, [(100, 600.0)], dev=dev).evaluate_every == pytest.approx(
        expected, 0.1
    )


def test_a_length_that_the_data_chose_is_said_where_another_is_asked_for(
    tmp_path, tiny_config, monkeypatch
):
    """The folder holds 2 updates; the message said `expected: steps none`."""
    monkeypatch.setattr("speechft.training.finetune.settings._FEWEST", 2)
    monkeypatch.setattr("speechft.training.finetune.settings._PASSES", 0)
    base = build_encoder(tiny_config, seed=0).save(tmp_path / "base")
    finetune(settings(base, tmp_path / "run", steps=None))
    with pytest.raises(SettingsError) as error:
        finetune(settings(base, tmp_path / "run", steps=5))
    assert "none" not in f"{error.value.expected} {error.value.found}"
    assert "steps 2 (not given" in str(error.value.expected)
    assert "steps 5" in str(error.value.found)


def test_what_is_given_stays_and_a_preset_leaves_nothing_open():
    given = FinetuneSettings(**GIVEN, steps=7, head_size="linear", seconds=None, batch_size=4)
    found = given.resolved(192, [(10, 60.0)])
    assert found.model_dump() == given.model_dump() | {"evaluate_every": 1}
    rarely = FinetuneSettings(**GIVEN, steps=7, evaluate_every=0).resolved(192, [(10, 60.0)])
    assert (rarely.steps, rarely.evaluate_every) == (7, 0)
    paper = FinetuneSettings(**GIVEN | {"task": "asr"}, preset="paper")
    found = paper.resolved(192, [(10, 60.0)])
    assert (found.head_size, found.spec_augment) == ("superb", True)
    assert found.steps == paper.steps


def test_a_head_of_superbs_size_is_augmented_however_it_was_chosen():
    asr = FinetuneSettings(**GIVEN | {"task": "asr"})
    assert asr.resolved(768, [(10, 60.0)]).spec_augment
    assert not asr.resolved(192, [(10, 60.0)]).spec_augment


def test_they_are_said_before_training_and_kept(tmp_path, tiny_config, monkeypatch, capsys):
    monkeypatch.setattr("speechft.training.finetune.settings._FEWEST", 2)
    monkeypatch.setattr("speechft.training.finetune.settings._PASSES", 0)
    set_up_logging(0)
    base = build_encoder(tiny_config, seed=0).save(tmp_path / "base")
    given = settings(base, tmp_path / "run", steps=None, head_size=None)
    out = finetune(given)
    assert "finetune: 2 updates on 0.01 h of speech, head size mini" in capsys.readouterr().err
    kept = json.loads((out / "speechft.json").read_text())["settings"]
    assert (kept["steps"], kept["head_size"]) == (2, "mini")
    assert STAGES["finetune"].artifact(given, None).done


def test_a_result_of_other_defaults_is_not_taken_for_this_one():
    open_, said = FinetuneSettings(**GIVEN), FinetuneSettings(**GIVEN, steps=3, head_size="mini")
    assert (open_.version, said.version) == (4, 2)


def test_the_length_is_thirty_passes_of_the_batches_that_are_made(tmp_path, monkeypatch):
    """Whisper's batches count 30 s for each utterance, and the passes did not."""
    monkeypatch.setattr("speechft.training.finetune.settings._FEWEST", 1)
    base = build_encoder(config_of("whisper"), seed=0).save(tmp_path / "base")
    given = settings(base, tmp_path / "run", steps=None, seconds=6.5, evaluate_every=None)
    encoder = load_encoder(base)
    spec = given.data_of("sid")
    tasks = {"sid": read_task(TASKS["sid"], load_data(spec), spec)}
    found = _resolved(given, encoder, tasks, {})
    passes = _resolved(given.model_copy(update={"epochs": 30.0}), encoder, tasks, {})
    assert found.steps == pytest.approx(passes.steps, rel=0.25)
    assert found.evaluate_every == pytest.approx(passes.evaluate_every, rel=0.25)


def test_a_run_stays_as_long_as_it_was_begun(tmp_path, tiny_config, monkeypatch):
    """Another version may count otherwise, and its schedule would be another one."""
    base = build_encoder(tiny_config, seed=0).save(tmp_path / "base")
    monkeypatch.setattr("speechft.training.finetune.settings._PASSES", 0)
    monkeypatch.setattr("speechft.training.finetune.settings._FEWEST", 6)
    given = settings(base, tmp_path / "run", steps=None, evaluate_every=None, save_every=1)
    assert kill_at(given, 3) == -signal.SIGKILL
    monkeypatch.setattr("speechft.training.finetune.settings._FEWEST", 9)
    record = json.loads((finetune(given) / "speechft.json").read_text())
    assert (record["updates"], record["settings"]["steps"]) == (6, 6)

"""`finetune --continue RUN --steps M`: a new run with RUN as parent."""

import copy
import json
import shutil
import signal

import pytest
import torch
from evaluate_fixture import CONFIG, write_tones
from finetune_fixture import kill_at, moved, settings
from pydantic import ValidationError

from speechft.cli.options import read_settings
from speechft.core.errors import CheckpointError, SettingsError
from speechft.encoders import build_encoder, load_encoder
from speechft.training.finetune.feature_replay import FeatureReplay
from speechft.training.finetune.settings import FinetuneSettings
from speechft.training.finetune.stage import finetune
from speechft.training.loop import Loop
from speechft.training.resume_state import load_state


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("continued")
    build_encoder({**CONFIG, "num_hidden_layers": 2}, seed=0).save(home / "base")
    for method in ("stable", "lora"):
        finetune(settings(home / "base", home / method, method=method, steps=8, keep_at=(0.5,)))
    return home


def going_on(home, out, name="stable", steps=6, **more):
    return FinetuneSettings(continued=str(home / name), steps=steps, out=out, **more)


@pytest.fixture
def begun(monkeypatch):
    """What a loop begins with."""
    found = {}
    run = Loop.run

    def noted(loop):
        found["module"] = {n: t.clone() for n, t in loop.objective.module.state_dict().items()}
        found["optimizer"] = copy.deepcopy(loop.optimizer.state_dict())
        found["position"], found["update"] = loop.stream.position, loop.progress.update
        return run(loop)

    monkeypatch.setattr(Loop, "run", noted)
    return found


@pytest.mark.parametrize("method", ["stable", "lora"])
def test_it_begins_with_weights_moments_and_place_of_its_parent(home, tmp_path, begun, method):
    parent = load_state(home / method / "checkpoints")
    out = finetune(going_on(home, tmp_path / "on", method, head_learning_rate=1e-2))
    assert begun["update"] == 0
    for name, value in parent["module"].items():
        assert torch.equal(begun["module"][name], value), name
    before, now = parent["optimizer"]["state"], begun["optimizer"]["state"]
    assert before.keys() == now.keys()
    assert all(torch.equal(now[i]["exp_avg"], before[i]["exp_avg"]) for i in before)
    assert [g["factor"] for g in begun["optimizer"]["param_groups"]] == [1.0, 10.0]  # its own
    assert vars(begun["position"]) == parent["position"]
    assert moved(out / "encoder", home / method / "encoder")
    rates = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [r["lr"] for r in rates if r["update"] == 1] == [1e-3]  # 10 % of 6 updates are none


def test_it_takes_what_is_not_said_from_its_parent(home, tmp_path):
    said = json.loads((home / "stable" / "speechft.json").read_text())["settings"]
    own = FinetuneSettings.model_validate({**said, "out": "x"})
    found = going_on(home, tmp_path / "on", seconds=6)
    differing = {n for n in FinetuneSettings.model_fields if getattr(own, n) != getattr(found, n)}
    assert differing == {"out", "steps", "continued", "seconds", "keep_at", "head_warmup"}
    assert found.head_warmup == 0.0
    line = ["--continue", str(home / "stable"), "--steps", "6", "--out", str(tmp_path / "on")]
    assert read_settings(FinetuneSettings, line, "finetune")[0].continued == str(home / "stable")


def test_how_often_dev_is_scored_follows_from_the_new_length_unless_it_was_said(home, tmp_path):
    assert going_on(home, tmp_path / "on").evaluate_every == 5  # as its parent was told
    place = tmp_path / "parent"
    place.mkdir()
    record = json.loads((home / "stable" / "speechft.json").read_text())
    del record["depends"]["evaluate_every"]  # it had taken a tenth of its own updates
    (place / "speechft.json").write_text(json.dumps(record))
    found = FinetuneSettings(continued=str(place), steps=3000, out=tmp_path / "on")
    assert found.evaluate_every is None
    assert found.resolved(32, [(10, 60.0)]).evaluate_every == 300


def test_its_record_names_its_parents(home, tmp_path):
    out = finetune(going_on(home, tmp_path / "on"))
    record = json.loads((out / "speechft.json").read_text())
    assert record["parents"] == {
        "encoder": load_encoder(home / "base").fingerprint(),
        "run": load_encoder(home / "stable" / "encoder").fingerprint(),
    }
    other = shutil.copytree(home / "stable", tmp_path / "elsewhere")
    again = going_on(tmp_path, tmp_path / "on", "elsewhere")  # by content, not by place
    (out / "metrics.jsonl").touch()
    before = (out / "speechft.json").stat().st_mtime_ns
    finetune(again)
    assert (out / "speechft.json").stat().st_mtime_ns == before
    assert other.exists()


def test_a_killed_one_goes_on_from_its_own_state(home, tmp_path):
    whole = finetune(going_on(home, tmp_path / "whole", save_every=2))
    stopped = going_on(home, tmp_path / "stopped", save_every=2)
    assert kill_at(stopped, 5) == -signal.SIGKILL
    finetune(stopped)
    assert not moved(stopped.out / "encoder", whole / "encoder")


def test_a_state_of_other_speakers_is_refused(home, tmp_path):
    table = str(write_tones(tmp_path / "data"))
    with pytest.raises(CheckpointError, match="does not fit"):  # other speakers
        finetune(going_on(home, tmp_path / "on", data=table))


def test_a_state_of_other_weights_is_refused(home, tmp_path):
    """In the place of the run's own; what those weights have heard would be forgotten."""
    shutil.copytree(home / "stable", tmp_path / "run")
    other = finetune(settings(home / "base", tmp_path / "other", steps=8, seed=1))
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    shutil.copytree(other / "checkpoints", tmp_path / "run" / "checkpoints")
    with pytest.raises(CheckpointError, match="last state is not that of its encoder"):
        finetune(going_on(tmp_path, tmp_path / "on", "run"))


def test_there_must_be_something_to_go_on_from(home, tmp_path):
    with pytest.raises(SettingsError, match="no fine-tuning to go on from"):
        going_on(home, tmp_path / "on", "base")
    bare = shutil.copytree(home / "stable", tmp_path / "bare")
    shutil.rmtree(bare / "checkpoints")
    with pytest.raises(CheckpointError, match=r"(?s)no state to go on from.*bare/encoder"):
        finetune(going_on(tmp_path, tmp_path / "on", "bare"))


@pytest.mark.parametrize(
    "other",
    [
        {"adapter_scale": 320.0},
        {"adapter_rank": 4},
        {"adapter_targets": ("q_proj",)},
        {"method": "dora"},
        {"method": "stable"},
        {"encoder": "tiny-hubert"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_its_first_encoder_and_adapters_are_those_of_its_parent(home, tmp_path, other):
    """By another scale the same factors were another encoder, from the first update on."""
    with pytest.raises(SettingsError, match=rf"(?s)do not fit.*{next(iter(other))} as there"):
        finetune(going_on(home, tmp_path / "on", "lora", **other))
    assert not (tmp_path / "on").exists()


def test_adapters_are_not_put_on_weights_that_had_none(home, tmp_path):
    with pytest.raises(SettingsError, match=r"(?s)do not fit.*method as there"):
        finetune(going_on(home, tmp_path / "on", "stable", method="lora"))


def test_other_batches_in_an_update_than_its_parent_had_are_said(home, tmp_path, caplog):
    """As where eight processes trained the parent, and one goes on."""
    parent = tmp_path / "parent"
    shutil.copytree(home / "stable", parent)
    finetune(going_on(home, tmp_path / "same", steps=2))
    assert "batches of an update" not in caplog.text
    record = json.loads((parent / "speechft.json").read_text())
    record["depends"]["processes"] = 8
    (parent / "speechft.json").write_text(json.dumps(record))
    finetune(going_on(tmp_path, tmp_path / "on", "parent", steps=2))
    assert f"batches of an update: 1; in {parent}: 8" in caplog.text


def test_a_head_of_as_many_other_classes_is_refused(home, tmp_path):
    """The head of two speakers stood for two others, without a word."""
    table = write_tones(tmp_path / "data")
    finetune(settings(home / "base", tmp_path / "run", data=str(table), steps=2))
    table.write_text(table.read_text().replace('"low"', '"zoe"'))  # behind "high", not before it
    with pytest.raises(CheckpointError, match=r"(?s)other classes.*speaker low.*speaker zoe"):
        finetune(going_on(tmp_path, tmp_path / "on", "run", steps=2))


def test_what_is_taken_away_from_its_parents_settings_stays_away(home, tmp_path):
    """Beside `batch_size` a setting of none was that of the parent, once data was read."""
    finetune(settings(home / "base", tmp_path / "run", steps=2, batch_size=4, ema=0.9))
    found = going_on(tmp_path, tmp_path / "on", "run", ema=None).resolved(32, [(10, 60.0)])
    assert (found.ema, found.batch_size) == (None, 4)


def test_settings_of_the_parent_that_nobody_reads_any_more_are_left_there(home, tmp_path):
    """They were to be taken away, though nobody had given them."""
    own = {"method": "l2sp", "l2sp_strength": 0.1, "mask_share": 0.1, "mask_span": 5}
    finetune(settings(home / "base", tmp_path / "run", steps=2, guard="warn", **own))
    found = going_on(tmp_path, tmp_path / "on", "run", method="stable", mask_share=0.0)
    assert (found.l2sp_strength, found.mask_span, found.guard) == (0.01, 10, "warn")
    with pytest.raises(ValidationError, match="l2sp_strength is read only"):
        going_on(tmp_path, tmp_path / "on", "run", method="stable", l2sp_strength=0.2)


def test_a_preset_says_more_than_the_parent(home, tmp_path):
    """It gave batches and updates; what the parent had by default stayed."""
    found = going_on(home, tmp_path / "on", preset="paper", learning_rate=1e-2)
    fresh = settings(home / "base", tmp_path / "on", preset="paper", head_size=None)
    for name in ("batch_size", "precision", "activation_dropout", "head_size"):
        assert getattr(found, name) == getattr(fresh, name), name
    assert (found.learning_rate, found.steps, found.method) == (1e-2, 6, "stable")


REHEARSED = {"rehearsal_share": 0.5, "rehearsal_data": "synthetic:tiny", "rehearsal_seconds": 20.0}


def test_the_units_that_are_rehearsed_stay_those_of_its_parent(home, tmp_path, monkeypatch):
    """The predictor that is taken over stands for them, and unit 7 of another seed is another."""
    units = {"rehearsal_clusters": 8, "rehearsal_warmup": 2}
    finetune(settings(home / "base", tmp_path / "run", steps=4, **REHEARSED, **units))
    for other in ({"seed": 1}, {"rehearsal_layer": 0}, {"rehearsal_seconds": 15.0}):
        with pytest.raises(SettingsError, match=next(iter(other))):
            finetune(going_on(tmp_path, tmp_path / "on", "run", **other))
    learned = []
    monkeypatch.setattr("speechft.training.finetune.rehearsal._learn", learned.append)
    out = finetune(going_on(tmp_path, tmp_path / "on", "run"))
    assert not learned  # a GPU would find others
    names = ("rehearsal-units.npz", "rehearsal-units.npz.sha256")
    assert all((out / n).read_bytes() == (tmp_path / "run" / n).read_bytes() for n in names)


def test_replay_pulls_towards_the_states_of_the_first_encoder_with_its_own_front_end(
    home, tmp_path, monkeypatch
):
    """A front end that had moved, and stays now, gave the features of both."""
    moving = {"method": "replay", "freeze_front_end": False, **REHEARSED}
    run = finetune(settings(home / "base", tmp_path / "run", steps=8, **moving))
    assert [n for n in moved(run / "encoder", home / "base") if "feature_extractor" in n]
    heard = []
    replay = FeatureReplay.loss

    def noted(part, host, indices, items):
        heard.extend(item.dim() for item in items)
        return replay(part, host, indices, items)

    monkeypatch.setattr(FeatureReplay, "loss", noted)
    finetune(going_on(tmp_path, tmp_path / "on", "run", freeze_front_end=True))
    assert set(heard) == {1}  # waveforms, of which each makes its own features

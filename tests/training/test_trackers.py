"""Where figures are shown: `log`. Services are stood in for; what they are called with counts."""

import importlib.machinery
import json
import sys
import types

import pytest
from accelerate import Accelerator
from finetune_fixture import moved, settings

from speechft.core.errors import SettingsError, SpeechFTError
from speechft.encoders import build_encoder
from speechft.training.finetune.stage import finetune
from speechft.training.trackers import Tracker


@pytest.fixture
def base(tmp_path, tiny_config):
    return build_encoder(tiny_config, seed=0).save(tmp_path / "base")


class Service:
    """Stands for wandb or trackio: notes how it is called."""

    def __init__(self, name, monkeypatch):
        self.begun, self.figures, self.ended = [], [], 0
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        module.init = self.init
        monkeypatch.setitem(sys.modules, name, module)

    def init(self, **values):
        self.begun.append(values)
        return self

    def log(self, values, step=None, **more):
        self.figures.append((step, values))

    def finish(self):
        self.ended += 1


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_service_is_given_what_the_metrics_say(base, tmp_path, monkeypatch, name):
    service = Service(name, monkeypatch)
    out = finetune(settings(base, tmp_path / "run", log=name, steps=6, evaluate_every=3))
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [(line.pop("update"), line) for line in lines] == service.figures
    assert service.begun[0]["project"] == "speechft"
    assert service.begun[0]["name"].startswith("run")
    assert service.ended == 1
    assert not (out / "tensorboard").exists()


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_run_that_goes_on_is_the_same_one_there(tmp_path, monkeypatch, name):
    service = Service(name, monkeypatch)
    for folder in ("one", "one", "two"):
        Tracker(name, tmp_path / folder)
    key = "id" if name == "wandb" else "name"
    first, again, other = (values[key] for values in service.begun)
    assert first == again != other
    assert all(values["resume"] == "allow" for values in service.begun)


def test_trackio_knows_the_update_whatever_accelerate_is_there(tmp_path, monkeypatch):
    def log_without_step(self, values, step=None, **more):  # accelerate 1.9 to 1.13
        self.run.log(values, **more)

    monkeypatch.setattr("accelerate.tracking.TrackioTracker.log", log_without_step)
    service = Service("trackio", monkeypatch)
    Accelerator(cpu=True)
    tracker = Tracker("trackio", tmp_path)
    tracker.log({"loss": 1.0}, 25)
    tracker.close()
    assert service.figures == [(25, {"loss": 1.0})]
    assert service.ended == 1


def test_the_place_changes_no_result(base, tmp_path):
    shown = finetune(settings(base, tmp_path / "shown", steps=4))
    silent = finetune(settings(base, tmp_path / "silent", steps=4, log="none"))
    assert (shown / "tensorboard").exists()
    assert not (silent / "tensorboard").exists()
    assert (silent / "metrics.jsonl").exists()
    assert not moved(shown / "encoder", silent / "encoder")
    records = [json.loads((out / "speechft.json").read_text()) for out in (shown, silent)]
    assert records[0]["depends"] == records[1]["depends"]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_service_that_is_not_installed_is_one_message(base, tmp_path, monkeypatch, name):
    monkeypatch.setattr("speechft.training.trackers.find_spec", lambda _: None)
    said = rf"{name} is not installed(.|\n)*pip install '{name}>="
    with pytest.raises(SettingsError, match=said):
        finetune(settings(base, tmp_path / "run", log=name))


def test_a_service_that_does_not_start_is_one_message(tmp_path, monkeypatch):
    service = Service("wandb", monkeypatch)
    service.init = None
    sys.modules["wandb"].init = lambda **_: 1 / 0
    with pytest.raises(SpeechFTError, match="wandb does not start") as caught:
        Tracker("wandb", tmp_path)
    assert "WANDB_MODE=offline" in str(caught.value)

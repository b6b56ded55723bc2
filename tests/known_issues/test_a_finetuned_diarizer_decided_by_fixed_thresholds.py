"""A fine-tuned head for speaker diarization decides as dev chose for that very head.

`evaluate` takes the best of ten pairs of threshold and median filter on dev; a head that `finetune`
kept had none, and `predict` took a fixed one without a word.
"""

from __future__ import annotations

import logging
import signal
from pathlib import Path

import pytest
import torch
from finetune_fixture import kill_at, settings

from speechft.data.load import load_data
from speechft.encoders import build_encoder, load_encoder
from speechft.hidden.decode_ahead import Waveforms
from speechft.metrics.diarization import diarization_error_rate
from speechft.prediction.predict import predict
from speechft.prediction.settings import PredictSettings
from speechft.tasks import TASKS
from speechft.tasks.kept_head import find_heads, read_head
from speechft.tasks.sd import POINTS, USUAL
from speechft.tasks.speaker_turns import decide
from speechft.training.finetune.stage import finetune

KEPT = {"ema": 0.9, "keep_at": (0.4,), "steps": 12, "evaluate_every": 5, "save_every": 4}


@pytest.fixture
def home(tmp_path, tiny_config, corpus_tree):
    build_encoder(tiny_config, seed=0).save(tmp_path / "base")
    return tmp_path, f"libri2mix:{corpus_tree('libri2mix')}"


def tuned(home, name, **more):
    folder, data = home
    return settings(folder / "base", folder / name, task="sd", data=data, **KEPT, **more)


def errors_on_dev(encoder: Path, data: str) -> dict[tuple[float, int], float]:
    """Give DER of an encoder's head on dev at each pair."""
    cuts, head = list(load_data(data)["dev"]), read_head(find_heads(encoder)[0])
    task = TASKS["sd"](2)
    wanted = [task.reference(cut)["turns"] for cut in cuts]
    with torch.no_grad():
        output = load_encoder(encoder)(Waveforms(cuts).load(range(len(cuts))))
        found = task.decode(head(output), output.lengths)
    return {
        point: diarization_error_rate(wanted, [decide(row, *point) for row in found])
        for point in POINTS
    }


def points(run: Path) -> dict[str, list[float]]:
    heads = sorted(run.glob("**/head.safetensors"))
    return {head.parent.name: read_head(head).record.task["point"] for head in heads}


def test_every_head_that_is_kept_has_the_point_that_is_best_on_dev_for_it(home):
    run = finetune(tuned(home, "run"))
    found = points(run)
    names = {"run", "encoder", "encoder-best", "encoder-at-40", "encoder-ema"}
    assert found.keys() == names
    errors = {}
    for name in names - {"run"}:
        errors[name] = errors_on_dev(run / name, home[1])
        least = min(errors[name].values())
        assert errors[name][tuple(found[name])] == pytest.approx(least, abs=0.1)
    assert errors["encoder"][USUAL] > min(errors["encoder"].values()) + 1
    assert found["run"] == found["encoder"] != found["encoder-at-40"]  # each has its own


@pytest.mark.parametrize(("update", "moment"), [(7, "_update"), (5, "_evaluate"), (12, "_save")])
def test_a_run_that_was_killed_ends_with_the_same_heads(home, update, moment):
    whole, stopped = finetune(tuned(home, "whole")), tuned(home, "stopped")
    assert kill_at(stopped, update, moment) == -signal.SIGKILL
    finetune(stopped)
    heads = [path.relative_to(whole) for path in whole.glob("**/head.safetensors")]
    assert len(heads) == 5
    for path in [*heads, "task.json"]:
        assert (stopped.out / path).read_bytes() == (whole / path).read_bytes()


@pytest.mark.parametrize("dev", [True, False])
def test_predict_decides_so_and_says_by_what(home, caplog, dev):
    folder, data = home
    if not dev:
        cuts = load_data(data)
        (folder / "cuts").mkdir()
        cuts["train"].to_file(folder / "cuts" / "train.jsonl.gz")
        data = str(folder / "cuts")
    run = finetune(tuned((folder, data), "run"))
    (head,) = find_heads(run / "encoder")
    threshold, median = read_head(head).record.task["point"] if dev else USUAL
    audio = sorted(folder.glob("**/mix_both/*.wav"))[:1]
    with caplog.at_level(logging.INFO):
        (record,) = predict(
            PredictSettings(encoder=str(run / "encoder"), audio=tuple(map(str, audio)))
        )
    why = "chosen on dev" if dev else "the usual ones, as none were chosen on dev"
    said = f"a threshold of {threshold:g} and a median filter over {median} frames ({why})"
    assert said in caplog.text
    assert (record["threshold"], record["median"]) == (threshold, median)

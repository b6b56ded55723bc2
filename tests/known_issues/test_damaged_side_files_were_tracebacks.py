"""Logs, results and settings that were damaged, nested deep or named pipes ended in tracebacks."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from report_fixture import write_run

from speechft.core.errors import CheckpointError, DataError
from speechft.core.files import read_json, read_jsonl
from speechft.encoders import build_encoder
from speechft.merging.output import plain_card
from speechft.merging.sweep import read_sweep
from speechft.pipeline.recipe.cost_estimate import _shape_of, parameters_of
from speechft.probing.evaluate import _read, _subjects
from speechft.reporting.contrasts import answers_of
from speechft.reporting.push import push
from speechft.reporting.read_results import read_evidence
from speechft.reporting.settings import PushSettings
from speechft.training.logged_metrics import cut_metrics

DEEP = "[" * 20_000 + "]" * 20_000


def test_a_log_of_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = {"update": 3, "loss": float("nan")}
    lines = [
        json.dumps(good),
        "[]",
        "3",
        "null",
        DEEP,
        "{}",
        '{"update": []}',
        '{"update": 9}',
        "{",
    ]
    log = tmp_path / "metrics.jsonl"
    log.write_bytes("\n".join([*lines, '{"update": 9}']).encode() + b"\n\xff")
    cut_metrics(log, 5)
    assert log.read_text() == json.dumps(good) + "\n"
    assert "7 lines are no records" in caplog.text


def test_json_that_is_nested_deep(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text(DEEP)
    for read in (read_json, read_jsonl):
        with pytest.raises(ValueError, match="too many levels"):
            read(tmp_path / "sweep.json")
    with pytest.raises(CheckpointError, match=r"sweep\.json"):
        read_sweep(tmp_path)


@pytest.mark.parametrize("text", ["null", '[{"a": 1}]', '{"encoder": [], "seed": [], "task": 3}'])
def test_results_that_an_evaluation_finds(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.jsonl").write_text(text)
    assert _subjects(_read(tmp_path)) <= {("[]", "3", 0)}


def test_results_that_a_report_and_a_card_find(tmp_path: Path, tiny_config: dict[str, Any]) -> None:
    results = next(write_run(tmp_path / "run", seeds=(0,)).rglob("results.jsonl"))
    encoder = build_encoder(tiny_config, seed=0).save(tmp_path / "encoder")
    for text in ("null", "[]", "3", DEEP, "{}"):
        results.write_text(text)
        with pytest.raises(DataError, match="cannot be read"):
            push(PushSettings(folder=encoder, repo="me/x", scores=(results.parent,)))
        with pytest.raises(DataError, match=r"results\.jsonl"):
            read_evidence([results.parent])
    results.unlink()
    os.mkfifo(results)
    with pytest.raises(DataError, match="no results"):
        read_evidence([results.parent])


def test_weights_whose_size_is_estimated(tmp_path: Path, tiny_config: dict[str, Any]) -> None:
    folder = build_encoder(tiny_config, seed=0).save(tmp_path / "encoder")
    whole, weights = parameters_of(str(folder)), folder / "model.safetensors"
    assert whole == sum(p.numel() for p in build_encoder(tiny_config, seed=0).parameters())
    for content in (b"", b"\xff" * 40, weights.read_bytes()[:-1]):
        weights.write_bytes(content)
        assert parameters_of(str(folder)) is None


def test_predictions_that_a_report_shows(tmp_path: Path) -> None:
    for text in ("null", "[]", '"x"'):
        (tmp_path / "predictions.jsonl").write_text(text)
        assert answers_of(tmp_path / "predictions.jsonl") == ([], [], [])


def test_a_configuration_that_a_dry_run_reads(tmp_path: Path) -> None:
    plain = {"num_hidden_layers": 2, "hidden_size": 8}
    for strides in ([0] * 7, 5, "5", [[]]):
        config = {**plain, "conv_stride": strides}
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert _shape_of(str(tmp_path)) is None
    (tmp_path / "config.json").write_text(json.dumps(plain))
    assert _shape_of(str(tmp_path)) is not None


def test_a_record_of_which_a_card_tells() -> None:
    for settings in (3, [], "x", None):
        assert "# x" in plain_card("x", {"settings": settings, "stage": 3}, "HubertModel")

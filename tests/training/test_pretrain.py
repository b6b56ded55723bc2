"""Pre-training as a stage: iterations, resuming, continued pre-training, clear refusals."""

import json
import logging

import pytest
import torch
from evaluate_fixture import write_tones
from pretrain_fixture import StopError, stopped_at
from safetensors.torch import load_file

from speechft.core.errors import DataError, SettingsError
from speechft.encoders import load_encoder
from speechft.training.loop import Loop
from speechft.training.pretrain.settings import PretrainSettings
from speechft.training.pretrain.stage import _splits, pretrain

ITERATIONS = [{"steps": 6, "clusters": 8}, {"steps": 6, "clusters": 12, "layer": 1}]


def settings(init, out, **more):
    values = {
        "data": "synthetic:tiny",
        "iterations": ITERATIONS,
        "seconds": 10,
        "evaluate_every": 3,
        "save_every": 2,
        "fit_seconds": 20,
        **more,
    }
    return PretrainSettings(init=init, out=out, **values)


def weights(folder):
    return load_file(folder / "encoder" / "model.safetensors")


def test_two_iterations(tiny_config, tmp_path):
    out = pretrain(settings(tiny_config, tmp_path / "run"))
    assert load_encoder(out / "encoder").num_layers == 2
    record = json.loads((out / "speechft.json").read_text())
    assert record["utterances"] == 12
    assert record["encoder"] == load_encoder(out / "encoder").fingerprint()
    for number in (1, 2):
        lines = (out / f"iteration-{number}" / "metrics.jsonl").read_text().splitlines()
        assert any("dev_masked_loss" in json.loads(line) for line in lines)
    first, last = weights(out / "iteration-1"), weights(out)
    assert any(not torch.equal(first[n], last[n]) for n in first)


@pytest.mark.parametrize("calls", [1, 2])
def test_stopped_in_either_iteration_and_run_again(tiny_config, tmp_path, monkeypatch, calls):
    whole = pretrain(settings(tiny_config, tmp_path / "whole"))
    stopped, real, left = settings(tiny_config, tmp_path / "stopped"), Loop.run, [calls]

    def train_then_stop(loop):
        left[0] -= 1
        if left[0]:
            return real(loop)
        seen = []

        def before_update(update, original=loop.objective.before_update):
            seen.append(update)
            if update == 5:
                raise StopError
            original(update)

        loop.objective.before_update = before_update
        return real(loop)

    monkeypatch.setattr(Loop, "run", train_then_stop)
    with pytest.raises(StopError):
        pretrain(stopped)
    monkeypatch.setattr(Loop, "run", real)
    again, expected = weights(pretrain(stopped)), weights(whole)
    assert all(torch.equal(again[n], expected[n]) for n in expected)


def test_continued_from_an_encoder(tiny_encoder, tmp_path):
    base = tiny_encoder.save(tmp_path / "base")
    continued = settings(
        str(base),
        tmp_path / "run",
        split="es_train",
        iterations=[{"steps": 3, "clusters": 6, "layer": 2}],
    )
    out = pretrain(continued)
    before, after = load_file(base / "model.safetensors"), weights(out)
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[n], after[n]) for n in before)
    parents = json.loads((out / "speechft.json").read_text())["parents"]
    assert parents == {"init": tiny_encoder.fingerprint()}


def test_a_split_that_is_not_there(tiny_config, tmp_path):
    with pytest.raises(DataError, match="no split 'pretrian'") as caught:
        pretrain(settings(tiny_config, tmp_path / "run", split="pretrian"))
    assert "pretrain" in str(caught.value)


@pytest.mark.parametrize(("seconds", "held_out"), [(0, 0), (120, 1)])
def test_what_is_held_out_where_there_is_no_dev_split(tmp_path, caplog, seconds, held_out):
    """Of no seconds at all a twentieth of the utterances was held out."""
    table = write_tones(tmp_path / "data")
    rows = [json.loads(line) | {"split": "pretrain"} for line in table.read_text().splitlines()]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = settings({}, tmp_path / "run", data=str(table), dev_seconds=seconds)
    with caplog.at_level(logging.INFO, logger="speechft"):
        cuts, dev = _splits(given)
    assert (len(cuts), len(dev)) == (len(rows) - held_out, held_out)
    assert ("the first 1 utterances are held out" in caplog.text) == bool(held_out)


def test_a_layer_that_is_not_there(tiny_config, tmp_path):
    wrong = [{"steps": 2, "clusters": 4, "layer": 9}]
    with pytest.raises(SettingsError, match="no layer 9"):
        pretrain(settings(tiny_config, tmp_path / "run", iterations=wrong))


GUIDE = {"steps": 4, "seconds": 15}


def test_guided_units(tiny_config, tmp_path):
    """A guided round differs from an unguided one, resumes, and leaves the encoder's copy out."""
    rounds = [
        ITERATIONS[0],
        {"steps": 4, "clusters": 10, "layer": 2, "smooth": 3, "guide": GUIDE},
    ]
    out = pretrain(settings(tiny_config, tmp_path / "guided", iterations=rounds))
    assert (out / "iteration-2" / "guide" / "metrics.jsonl").is_file()
    plain = [rounds[0], {k: v for k, v in rounds[1].items() if k != "guide"}]
    other = pretrain(settings(tiny_config, tmp_path / "plain", iterations=plain))
    first, second = weights(out / "iteration-1"), weights(other / "iteration-1")
    assert all(torch.equal(first[n], second[n]) for n in first)
    assert any(not torch.equal(weights(out)[n], weights(other)[n]) for n in first)


def test_a_later_round_does_not_redo_the_earlier_ones(tiny_config, tmp_path, monkeypatch):
    out = pretrain(settings(tiny_config, tmp_path / "run", iterations=ITERATIONS[:1]))
    before = weights(out / "iteration-1")
    calls = []
    real = Loop.run
    monkeypatch.setattr(Loop, "run", lambda loop: calls.append(loop.folder) or real(loop))
    longer = pretrain(settings(tiny_config, out, iterations=ITERATIONS))
    assert [folder.name for folder in calls] == ["iteration-2"]
    whole = pretrain(settings(tiny_config, tmp_path / "whole", iterations=ITERATIONS))
    assert all(torch.equal(before[n], weights(whole / "iteration-1")[n]) for n in before)
    assert all(torch.equal(weights(longer)[n], weights(whole)[n]) for n in before)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"smooth": 2}, "odd"), ({"guide": GUIDE}, "layer"), ({"guide": {"steps": 3}}, "seconds")],
)
def test_iterations_that_make_no_sense(tiny_config, tmp_path, change, said):
    with pytest.raises(ValueError, match=said):
        settings(tiny_config, tmp_path, iterations=[{"steps": 4, **change}])


def test_a_round_that_began_otherwise_is_not_gone_on_with(tiny_config, tmp_path):
    out = pretrain(settings(tiny_config, tmp_path / "run"))
    other = [ITERATIONS[0], {**ITERATIONS[1], "steps": 7}]
    with pytest.raises(SettingsError, match=r"another length[\s\S]*--init"):
        pretrain(settings(tiny_config, out, iterations=other))
    record = (out / "speechft.json").read_bytes()  # what the run has made still counts as done
    assert pretrain(settings(tiny_config, tmp_path / "run")) == out
    assert (out / "speechft.json").read_bytes() == record


def test_mixing_resumes_bit_for_bit_and_changes_the_result(tiny_config, tmp_path):
    rounds = [{"steps": 6, "clusters": 8}]
    plain = pretrain(settings(tiny_config, tmp_path / "plain", iterations=rounds))
    whole = pretrain(settings(tiny_config, tmp_path / "whole", iterations=rounds, mixing=0.5))
    stopped = settings(tiny_config, tmp_path / "stopped", iterations=rounds, mixing=0.5)
    with stopped_at(5):
        pretrain(stopped)
    again = weights(pretrain(stopped))
    assert all(torch.equal(again[n], t) for n, t in weights(whole).items())
    assert any(not torch.equal(again[n], t) for n, t in weights(plain).items())


def test_done_means_done_with_these_utterances_and_settings(tiny_config, tmp_path):
    from speechft.core.files import write_jsonl
    from speechft.data.load import load_data

    cuts = [c.to_dict() for c in load_data("synthetic:tiny")["pretrain"]]
    table = tmp_path / "train.jsonl"
    write_jsonl(table, cuts)
    rounds = [{"steps": 2, "clusters": 4}]
    given = settings(tiny_config, tmp_path / "run", data=str(table), iterations=rounds)
    out = pretrain(given)
    before = (out / "encoder" / "model.safetensors").stat().st_mtime_ns
    pretrain(given)
    assert (out / "encoder" / "model.safetensors").stat().st_mtime_ns == before
    write_jsonl(table, cuts[:-1])
    with pytest.raises(SettingsError, match=r"train\.jsonl with other content"):
        pretrain(given)
    write_jsonl(table, cuts)
    mixed = settings(tiny_config, out, data=str(table), iterations=rounds, mixing=0.5)
    with pytest.raises(SettingsError, match="mixing"):
        pretrain(mixed)

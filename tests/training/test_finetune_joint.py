"""Several tasks together: heads, turns, the shared cache, the best encoder, kill and resume."""

import json
import signal

import pytest
import torch
from evaluate_fixture import write_tones
from finetune_fixture import kill_at, moved, settings, tensors
from kills import faults
from safetensors.torch import load_file

from speechft.cli.app import main
from speechft.core.errors import SettingsError
from speechft.core.heard import read_heard
from speechft.data.load import load_data
from speechft.encoders import build_encoder
from speechft.hidden.front_end_cache import FrontEndCache
from speechft.tasks import TASKS, task_from_dict
from speechft.training.finetune.kept_encoders import mean_figure
from speechft.training.finetune.stage import finetune


@pytest.fixture
def encoder_folder(tmp_path, tiny_config):
    return build_encoder(tiny_config, seed=0).save(tmp_path / "base")


def records(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_every_task_has_its_head_its_figures_and_its_turns(encoder_folder, tmp_path):
    out = finetune(settings(encoder_folder, tmp_path / "run", task="pr,sid", steps=10))
    assert any("encoder.layers" in name for name in moved(out / "encoder", encoder_folder))
    assert not (out / "task.json").exists()
    assert not (out / "head.safetensors").exists()
    for name in ("pr", "sid"):
        task = task_from_dict(json.loads((out / f"task-{name}.json").read_text()))
        head = load_file(out / f"head-{name}.safetensors")
        assert head["output.weight"].shape[0] == task.output_size
    lines = [r for r in records(out) if "loss" in r]
    turns = [name for r in lines for name in ("pr", "sid") if f"{name}_loss" in r]
    assert turns == ["pr", "sid"] * 5
    dev = [r for r in records(out) if "dev_pr_per" in r]
    assert [r["update"] for r in dev] == [5, 10]
    assert all("dev_sid_acc" in r for r in dev)
    about = json.loads((out / "speechft.json").read_text())
    assert about["utterances"] == 12 + 12
    assert about["settings"]["task"] == "pr,sid"


def test_two_tasks_on_two_data(encoder_folder, tmp_path):
    """Each task hears its own; what both have heard is written down beside the encoder."""
    one, two = (write_tones(tmp_path / name, seed) for seed, name in enumerate(("one", "two")))
    arguments = [f"pr={one}", f"sid={two}"]
    same = {"task": "pr,sid", "steps": 2, "seconds": 4}
    out = finetune(settings(encoder_folder, tmp_path / "run", data=arguments, **same))
    read = read_heard(out / "encoder").stretches
    single = [
        finetune(settings(encoder_folder, tmp_path / t, task=t, data=str(d), steps=1, seconds=4))
        for t, d in (("pr", one), ("sid", two))
    ]
    first, second = (read_heard(folder / "encoder").stretches for folder in single)
    assert read == first | second
    assert not first & second
    by_name = settings(encoder_folder, tmp_path, data={"pr": str(one), "default": str(two)}, **same)
    assert [by_name.data_of(task) for task in by_name.tasks] == [str(one), str(two)]
    with pytest.raises(ValueError, match="the data of all other tasks is given twice"):
        settings(encoder_folder, tmp_path, data=[str(one), str(two)], **same)
    with pytest.raises(ValueError, match="data names none for the task 'sid'"):
        settings(encoder_folder, tmp_path, data=[f"pr={one}"], **same)


def test_a_repeated_data_option_adds(encoder_folder, tmp_path, capsys):
    data = [f"--data={task}={write_tones(tmp_path / task)}" for task in ("pr", "sid")]
    start = ["finetune", "--encoder", str(encoder_folder), "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as end:
        main([*start, "--task", "pr,sid", "--steps", "1", *data, "--set", "head_size=mini"])
    assert end.value.code == 0
    said = json.loads((tmp_path / "run" / "speechft.json").read_text())["settings"]["data"]
    assert sorted(said) == ["pr", "sid"]
    with pytest.raises(SystemExit) as end:
        main([*start, "--task", "sid", "--data", "a.csv", "--data", "b.csv"])
    assert end.value.code == 2
    assert "given twice" in capsys.readouterr().err


def test_with_two_batches_an_update_sees_both_tasks(encoder_folder, tmp_path):
    out = finetune(settings(encoder_folder, tmp_path / "run", task="pr,sid", steps=3, accumulate=2))
    for record in [r for r in records(out) if "loss" in r]:
        assert record["loss"] == pytest.approx((record["pr_loss"] + record["sid_loss"]) / 2)


def test_both_heads_learn_while_the_encoder_stands_still(encoder_folder, tmp_path):
    same = {"task": "pr,sid", "steps": 10, "head_warmup": 0.9, "save_every": 8}
    out = finetune(settings(encoder_folder, tmp_path / "a", keep_at=(0.9,), **same))
    start = finetune(settings(encoder_folder, tmp_path / "b", learning_rate=1e-30, **same))
    assert not moved(out / "encoder-at-90", encoder_folder)
    assert moved(out / "encoder", encoder_folder)  # update 10 is the first to move it
    for name in ("pr", "sid"):
        before = load_file(start / f"head-{name}.safetensors")
        after = load_file(out / f"head-{name}.safetensors")
        assert all(not torch.equal(before[n], after[n]) for n in before)


def test_the_best_encoder_has_the_best_mean_of_the_tasks(encoder_folder, tmp_path):
    shares = {5: "encoder-at-25", 10: "encoder-at-50", 15: "encoder-at-75", 20: "encoder"}
    more = {"task": "pr,sid", "keep_at": (0.25, 0.5, 0.75), "learning_rate": 3e-3}
    out = finetune(settings(encoder_folder, tmp_path / "run", **more))
    tasks = {
        name: task_from_dict(json.loads((out / f"task-{name}.json").read_text()))
        for name in ("pr", "sid")
    }
    figures = {
        r["update"]: {k.removeprefix("dev_"): v for k, v in r.items()}
        for r in records(out)
        if "dev_pr_per" in r
    }
    means = {update: mean_figure(tasks, f) for update, f in figures.items()}
    assert list(means) == list(shares)
    assert len(set(means.values())) > 1
    best = max(means, key=lambda update: (means[update], -update))
    same = {
        update for update, name in shares.items() if not moved(out / "encoder-best", out / name)
    }
    assert same == {best}


def test_the_mean_counts_errors_backwards():
    tasks = {name: TASKS[name].__new__(TASKS[name]) for name in ("pr", "sid")}
    assert mean_figure(tasks, {"pr_per": 30.0, "sid_acc": 50.0}) == 60.0
    assert mean_figure(tasks, {"pr_per": 130.0, "sid_acc": 50.0}) == 25.0


def test_a_task_without_a_dev_split_leaves_the_choice_to_the_others(encoder_folder, tmp_path):
    whole, part = (write_tones(tmp_path / name) for name in ("whole", "part"))
    rows = [json.loads(line) for line in part.read_text().splitlines()]
    part.write_text("".join(json.dumps(r) + "\n" for r in rows if r["split"] != "dev"))
    more = {"task": "pr,sid", "data": [f"pr={whole}", f"sid={part}"], "seconds": 4, "steps": 2}
    out = finetune(settings(encoder_folder, tmp_path / "run", **more))
    assert [r["update"] for r in records(out) if "dev_pr_per" in r] == [2]
    assert not any("dev_sid_acc" in r for r in records(out))
    assert (out / "encoder-best").is_dir()


def test_tasks_on_the_same_utterances_share_the_cache(encoder_folder, tmp_path, monkeypatch):
    computed = []
    compute = FrontEndCache._compute
    monkeypatch.setattr(
        FrontEndCache, "_compute", lambda self, i: (computed.extend(i), compute(self, i))[1]
    )
    finetune(settings(encoder_folder, tmp_path / "run", task="pr,er", steps=20))
    data = load_data("synthetic:tiny")
    assert len(computed) == len(set(computed)) == len(data["train"]) + len(data["dev"])


def test_a_head_does_not_depend_on_the_other_task(encoder_folder, tmp_path):
    """At no rate to speak of the heads stay as they were built."""
    heads = []
    for tasks in ("pr,sid", "sid,er"):
        chosen = settings(
            encoder_folder, tmp_path / tasks, task=tasks, steps=1, learning_rate=1e-30
        )
        out = finetune(chosen)
        heads.append(load_file(out / "head-sid.safetensors"))
    assert all(torch.equal(heads[0][name], heads[1][name]) for name in heads[0])


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [pytest.param(1, marks=faults), 2])
def test_killed_and_run_again_is_the_same_bit_for_bit(encoder_folder, tmp_path, accumulate):
    more = {"task": "pr,sid", "steps": 30, "accumulate": accumulate, "keep_at": (0.5,)}
    whole = finetune(settings(encoder_folder, tmp_path / "whole", **more))
    killed = settings(encoder_folder, tmp_path / "killed", **more)
    for update, moment in ((12, "_update"), (20, "_evaluate")):
        assert kill_at(killed, update, moment) == -signal.SIGKILL
    assert not (killed.out / "speechft.json").exists()
    finetune(killed)
    names = [f"{e}/model.safetensors" for e in ("encoder", "encoder-best", "encoder-at-50")]
    for name in (*names, "head-pr.safetensors", "head-sid.safetensors"):
        assert (whole / name).read_bytes() == (killed.out / name).read_bytes()
    times = {"seconds"}
    first, second = (
        [{k: v for k, v in r.items() if k not in times} for r in records(out)]
        for out in (whole, killed.out)
    )
    assert first == second


def test_the_order_of_tasks_and_their_names_matter(encoder_folder, tmp_path):
    with pytest.raises(ValueError, match="each once"):
        settings(encoder_folder, tmp_path, task="pr,pr")
    with pytest.raises(ValueError, match="must name tasks"):
        settings(encoder_folder, tmp_path, task=" , ")
    with pytest.raises(SettingsError, match="unknown task 'sdi'"):
        finetune(settings(encoder_folder, tmp_path / "x", task="pr,sdi"))
    chosen = settings(encoder_folder, tmp_path / "run", task="pr, sid", steps=2)
    assert chosen.tasks == ("pr", "sid")
    assert tensors(finetune(chosen) / "encoder")

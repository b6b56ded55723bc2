from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch
import yaml
from kills import backend, faults, is_killed, order_kills, results_of
from light_commands import ended
from recipe_fixture import recipe, settings, states, write_table
from tiny_configs import TWO_LAYERS as TINY

from speechft.core.errors import DataError, SettingsError
from speechft.core.files import read_jsonl
from speechft.core.launch_settings import LaunchSettings
from speechft.core.locks import work_alone
from speechft.core.settings import parse_settings
from speechft.encoders import build_encoder
from speechft.pipeline.recipe.cost_estimate import parameters_of, size_of
from speechft.pipeline.recipe.recipe_jobs import Plan
from speechft.pipeline.recipe.stage import RunSettings, find_recipe, load_recipe, plan_run, run


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder") / "tiny"
    build_encoder(TINY, seed=0).save(folder)
    return folder


@pytest.fixture(scope="module")
def finished(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return run(settings(encoder), tmp_path_factory.mktemp("finished") / "out")


def test_the_chain_ends_in_a_report(finished: Path) -> None:
    assert (finished / "report.html").is_file()
    assert (finished / "report.md").is_file()
    assert (finished / "seed-0" / "merge-sid" / "model.safetensors").is_file()
    records = read_jsonl(finished / "seed-0" / "evaluate" / "results.jsonl")
    names = ["pretrained", "finetuned-sid", "merged-sid", "sid@0.5"]
    assert [r["encoder"] for r in records] == names


def test_recipe_of_a_run_can_be_run_again(finished: Path) -> None:
    plan = plan_run(load_recipe(finished / "recipe.yaml"), finished)
    assert states(plan) == ["done"] * 4
    assert len({step.key for step in plan.steps}) == 4


def test_what_is_done_is_looked_through_without_torch(finished: Path, tmp_path: Path) -> None:
    """Most of the time of a dry run was importing what computes, where nothing is to compute."""
    asked = ["run", str(finished / "recipe.yaml"), "--dry-run", "--out"]
    done = ended(*asked, str(finished))
    assert "on disk; nothing is left to do" in done.shown
    assert done.imported <= {"numpy"}
    anew = ended(*asked, str(tmp_path / "new"))
    assert "hours of a GPU" in anew.shown  # its data is opened, to count them


def test_second_run_does_nothing(finished: Path, encoder: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*.safetensors")}
    page = (finished / "report.html").stat().st_mtime_ns
    run(settings(encoder), finished)
    assert before == {p: p.stat().st_mtime_ns for p in finished.rglob("*.safetensors")}
    assert page == (finished / "report.html").stat().st_mtime_ns


def test_a_moved_run_is_still_done(finished: Path, encoder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    subprocess.run(["cp", "-r", str(finished), str(moved)], check=True)
    plan = plan_run(settings(encoder), moved)
    assert states(plan) == ["done"] * 4


def test_a_missing_product_is_made_again(finished: Path, encoder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(finished), str(copy)], check=True)
    (copy / "report.html").unlink()
    plan = plan_run(settings(encoder), copy)
    assert states(plan) == ["done", "done", "done", "resume"]
    (copy / "seed-0" / "finetune-sid" / "encoder" / "model.safetensors").unlink()
    assert states(plan_run(settings(encoder), copy))[:2] == ["resume", "redo"]


def test_changed_settings_of_finished_work_are_refused(finished: Path, encoder: Path) -> None:
    changed = recipe(encoder)
    changed["finetune"] = {**changed["finetune"], "steps": 7}  # type: ignore[dict-item]
    with pytest.raises(SettingsError, match=r"steps: 6 → 7(.|\n)*--redo"):
        run(parse_settings(RunSettings, changed, "test"), finished)


def test_redo_replaces_it_and_what_hangs_on_it(encoder: Path, tmp_path: Path) -> None:
    small = {"evaluate": {"tasks": ["sid"], "steps": 1, "workers": 1}}
    small["merge"] = {"take": "last"}  # the best one is the same after fewer updates
    out = run(settings(encoder, **small), tmp_path / "out")
    before = results_of(out)
    changed = recipe(encoder, **small)
    changed["finetune"] = {**changed["finetune"], "steps": 3}  # type: ignore[dict-item]
    run(parse_settings(RunSettings, changed, "test"), out, redo=True)
    after = results_of(out)
    assert before.keys() == after.keys()
    for name in ("finetune-sid/encoder", "merge-sid"):
        weights = f"seed-0/{name}/model.safetensors"
        assert before[weights] != after[weights]
    fresh = run(parse_settings(RunSettings, changed, "test"), tmp_path / "fresh")
    assert results_of(fresh) == after  # nothing of the old run is left in it


def test_more_alphas_need_no_redo(encoder: Path, finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(finished), str(copy)], check=True)
    more = recipe(encoder)
    more["evaluate"] = {**more["evaluate"], "sweep": [0.5, 0.75]}  # type: ignore[dict-item]
    cells = {p: p.stat().st_mtime_ns for p in (copy / "seed-0/evaluate/cells").glob("sid-*")}
    run(parse_settings(RunSettings, more, "test"), copy)
    now = {p: p.stat().st_mtime_ns for p in (copy / "seed-0/evaluate/cells").glob("sid-*")}
    assert len(now) == len(cells) + 1
    assert all(now[p] == stamp for p, stamp in cells.items())


def test_where_and_how_fast_do_not_count_as_settings(encoder: Path, tmp_path: Path) -> None:
    one = plan_run(settings(encoder), tmp_path / "a")
    other = settings(encoder, evaluate={**recipe(encoder)["evaluate"], "workers": 2})  # type: ignore[dict-item]
    two = plan_run(other, tmp_path / "b")
    assert [s.key for s in one.steps] == [s.key for s in two.steps]


def test_a_changed_input_file_is_noticed(tmp_path: Path) -> None:
    table = write_table(tmp_path / "data.csv", "a")
    before = plan_run(settings("x", data=str(table)), tmp_path / "out")
    write_table(table, "b")
    after = plan_run(settings("x", data=str(table)), tmp_path / "out")
    assert before.steps[0].key != after.steps[0].key


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"evaluate": {"tasks": ["sid"], "steps": {"sdi": 3}}}, "did you mean 'sid'"),
        ({"evaluate": {"tasks": ["sid"], "learning_rates": {"sid": [-1.0]}}}, "above 0"),
        ({"merge": {"alpha": "nan"}}, "not a finite number"),
        ({"merge": {"alpha": float("nan")}}, "finite number"),
        ({"merge": {"alpha": "0:1:0.1"}}, r"evaluate\.sweep"),
        ({"evaluate": {"tasks": ["sid"], "sweep_tasks": ["pr"]}}, "sweep_tasks names pr"),
        ({"merge": {"parameters": {"densty": 0.5}}}, "densty"),
    ],
)
def test_mistakes_of_late_stages_are_found_in_the_plan(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        plan_run(settings("x", **changes), tmp_path / "out")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("nowhere.csv", "no such data"),
        ("table.csv", "needs an emotion"),
        ("notest.csv", "lacks the split"),
    ],
)
def test_data_of_late_stages_is_looked_at_before_work_begins(
    encoder: Path, tmp_path: Path, data: str, words: str
) -> None:
    soundfile.write(tmp_path / "a.wav", torch.randn(16000).numpy() / 10, 16000)
    rows = ["audio,label,split", "a.wav,x,train", "a.wav,x,dev"]
    (tmp_path / "notest.csv").write_text("\n".join(rows))
    (tmp_path / "table.csv").write_text("\n".join([*rows, "a.wav,x,test"]).replace("label", "text"))
    evaluate = {"tasks": ["er"], "data": str(tmp_path / data), "workers": 1}
    with pytest.raises((DataError, SettingsError), match=words):
        run(settings(encoder, evaluate=evaluate), tmp_path / "out")
    assert not (tmp_path / "out" / "seed-0").exists()


def test_seeds_and_fine_tunings_multiply(tmp_path: Path) -> None:
    lora = {"task": "sid", "method": "lora", "name": "sid-lora"}
    several = [{"task": "sid"}, {"task": "pr"}, lora]
    plan = plan_run(settings("x", seeds=[1, 2], finetune=several), tmp_path)
    names = [step.name for step in plan.steps]
    assert len(names) == 2 * (3 + 3 + 1) + 1
    assert "seed-2/merge-sid-lora" in names
    assert names[-1] == "report"
    roles = plan.roles
    assert roles["merged-sid-lora"]["method"] == "lora"
    assert roles["merged-pr"]["tuned_on"] == "pr"


def test_parents_come_first_and_count(tmp_path: Path) -> None:
    plan = plan_run(settings("x"), tmp_path)
    place = {step.folder: i for i, step in enumerate(plan.steps)}
    for step in plan.steps:
        assert all(place[parent] < place[step.folder] for parent in step.parents)
    other = plan_run(settings("y"), tmp_path)
    pairs = zip(plan.steps, other.steps, strict=True)
    assert all(a.key != b.key for a, b in pairs)  # the encoder is an ancestor of everything


def test_pretraining_comes_first(tmp_path: Path) -> None:
    first = {"init": "config.yaml", "iterations": [{"steps": 5}]}
    plan = plan_run(settings("x", encoder=None, pretrain=first), tmp_path)
    assert plan.steps[0].name == "pretrain"
    assert plan.steps[1].settings.encoder == str(tmp_path / "pretrain" / "encoder")  # type: ignore[attr-defined]


def test_two_processes_cannot_share_a_folder(encoder: Path, tmp_path: Path) -> None:
    with work_alone(tmp_path), pytest.raises(SettingsError, match="another speechft is at work"):
        run(settings(encoder), tmp_path)


def test_sizes_before_a_run(encoder: Path, tmp_path: Path) -> None:
    plan: Plan = plan_run(settings(encoder), tmp_path)
    parameters = parameters_of(str(encoder))
    model = build_encoder(TINY, seed=0).model
    assert parameters == sum(p.numel() for p in model.state_dict().values())
    tune, _, probe, _ = (size_of(step, parameters) for step in plan.steps)
    assert tune.text == "6 updates, stable, SID"
    assert tune.bytes == 5 * 4 * parameters
    assert probe.text.startswith("4 encoders, 4 probes")


def test_packaged_recipes_are_sound(tmp_path: Path) -> None:
    plan = plan_run(load_recipe("demo"), tmp_path)
    assert [step.verb for step in plan.steps] == ["finetune", "merge", "evaluate", "report"]
    assert find_recipe("demo").name == "demo.yaml"


# Of every stage: as it begins, in its middle, and with its record still to be written.
MOMENTS = {
    "finetune": ("finetune-sid/begun.json", "update-2.pt", "encoder-best", "finetune-sid/speechft"),
    "merge": ("merge-sid/model.safetensors", "merge-sid/speechft.json"),
    "evaluate": ("evaluate/begun.json", "cells/sid", "results.jsonl", "evaluate/speechft.json"),
    "report": ("out/begun.json", "report.html", "out/speechft.json"),
}
# Where another process does the work, or the command itself the last step.
ELSEWHERE = ("update-2.pt", "merge-sid/model.safetensors", "cells/sid", "out/speechft.json")


def test_killed_in_any_stage_the_run_ends_with_the_same_bytes(
    finished: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = [moment for own in MOMENTS.values() for moment in own]
    orders = order_kills(tmp_path / "orders", moments, monkeypatch)
    out = tmp_path / "out"
    for left in range(len(moments), 0, -1):
        assert len(list(orders.iterdir())) == left
        assert is_killed(lambda: run(settings(encoder), out))
        assert (out / "report.html").is_file() == (left == 1)
    assert not list(orders.iterdir())
    run(settings(encoder), out)
    assert results_of(out) == results_of(finished)


@faults
@pytest.mark.parametrize("launcher", ["local", "slurm", "dask"])
def test_killed_in_any_stage_elsewhere_the_run_ends_with_the_same_bytes(
    finished: Path,
    encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    launcher: str,
) -> None:
    """Whoever is at work then: a worker, whose work is tried again, or the command itself."""
    file, out = tmp_path / "recipe.yaml", tmp_path / "out"
    file.write_text(yaml.safe_dump(recipe(encoder)))
    orders = order_kills(tmp_path / "orders", ELSEWHERE, monkeypatch)
    command = [sys.executable, "-m", "speechft", "run", str(file), "--out", str(out)]
    with backend(launcher, tmp_path, monkeypatch) as launch:
        command += ["--launcher", launcher, "--workers", "2", "--set", "evaluate.workers=2"]
        if launcher == "dask":
            command += ["--set", f"dask.address={launch.dask.address}"]
        while left := len(list(orders.iterdir())):
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            # Work whose second process is killed, too, ends the command with a message.
            assert ended.returncode in (0, 1, -signal.SIGKILL), ended.stderr
            assert "Traceback" not in ended.stderr
            assert len(list(orders.iterdir())) < left, ended.stderr
        subprocess.run(command, capture_output=True, check=True)
    found, whole = results_of(out), results_of(finished)
    del found["run.json"], whole["run.json"]  # the recipe says who did the work
    assert found == whole


@pytest.mark.usefixtures("warm_workers")
@pytest.mark.slow
def test_in_two_processes_of_its_own_a_run_has_the_same_bytes(
    finished: Path, encoder: Path, tmp_path: Path
) -> None:
    """Seeds beside each other; the first is that of the run that one process did."""
    two = settings(encoder, seeds=[0, 1])
    out = run(two, tmp_path / "out", launch=LaunchSettings(workers=2))
    whole = results_of(finished)
    own = {name: value for name, value in results_of(out).items() if name.startswith("seed-0")}
    assert own == {name: whole[name] for name in own}
    assert len(own) == len([name for name in whole if name.startswith("seed-0")])
    assert (out / "seed-1" / "finetune-sid.log").is_file()


def test_an_encoder_inside_a_run_s_folder_is_noticed_when_it_changes(tmp_path: Path) -> None:
    inside = tmp_path / "before" / "encoder"
    inside.mkdir(parents=True)
    (inside / "config.json").write_text("{}")
    (tmp_path / "before" / "head.safetensors").write_text("the same")
    keys = set()
    for text in ("one", "two"):
        (inside / "model.safetensors").write_text(text)
        plan = plan_run(settings(tmp_path / "before"), tmp_path / "out")
        keys.add(plan.steps[0].key)
    assert len(keys) == 2


def test_states_that_do_not_fit_are_refused_before_fine_tuning(
    encoder: Path, tmp_path: Path
) -> None:
    few = {"tasks": ["sid", "pr"], "steps": 3, "store_gb": 1e-6}
    with pytest.raises(SettingsError, match="the hidden states do not fit"):
        run(settings(encoder, evaluate=few), tmp_path)
    assert not (tmp_path / "seed-0").exists()


def test_files_of_others_in_the_folder_are_not_written_over(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("speechft.pipeline.recipe.stage._describe", lambda *_: 1 / 0)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ZeroDivisionError):
        run(settings(encoder), tmp_path)
    assert "other files, which stay as they are: notes.txt" in caplog.text
    (tmp_path / "recipe.yaml").write_text("mine")
    with pytest.raises(SettingsError, match=r"something else in the output's place[\s\S]*recipe"):
        run(settings(encoder), tmp_path)

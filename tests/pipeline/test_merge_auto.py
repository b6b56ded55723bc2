"""`merge --alpha auto`, and a recipe's job that chooses alpha before its merge."""

from __future__ import annotations

import json
import shutil

import pytest
from evaluate_fixture import CONFIG, write_tones
from recipe_fixture import settings as recipe
from recipe_fixture import states
from safetensors.torch import load_file

from speechft.cli.app import main
from speechft.core.errors import CheckpointError, SettingsError
from speechft.core.settings import parse_settings
from speechft.encoders import build_encoder
from speechft.merging.settings import MergeSettings
from speechft.merging.stage import merge as plain_merge
from speechft.pipeline.merge import merge
from speechft.pipeline.recipe.stage import plan_run, run

CONFIGURED = {**CONFIG, "num_hidden_layers": 2}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("auto")
    for name, seed in (("base", 0), ("tuned", 1)):
        build_encoder(dict(CONFIGURED), seed=seed).save(folder / name)
    write_tones(folder / "data")
    return folder


def settings(home, out, **more):
    ends = {"base": home / "base", "tuned": home / "tuned", "out": out, "alpha": "auto"}
    values = {**ends, "data": str(home / "data" / "table.jsonl"), **more}
    return parse_settings(MergeSettings, values, where="test")


def record(folder):
    return json.loads((folder / "speechft.json").read_text())


def test_the_merge_says_which_alpha_and_why(home, tmp_path, caplog):
    made = settings(home, tmp_path / "out", bound=0.3)
    out = merge(made)
    assert not (tmp_path / "out.alpha").exists()
    chosen = json.loads((out / "alpha.json").read_text())
    alpha = chosen["alpha"]
    assert 0 < float(alpha) < 1
    assert (record(out)["alpha"], record(out)["chosen"]) == (alpha, chosen)
    card = (out / "README.md").read_text()
    assert "## Why this alpha" in card
    assert "| alpha | drift expected" in card
    assert f"alpha = {alpha}" in card
    plain = plain_merge(settings(home, tmp_path / "plain", alpha=float(alpha), data=None))
    assert (plain / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()
    before = (out / "model.safetensors").stat().st_mtime_ns
    with caplog.at_level("INFO"):
        merge(made)
    assert "already done" in caplog.text
    assert (out / "model.safetensors").stat().st_mtime_ns == before


def test_the_working_directory_may_be_the_output(home, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    merge(settings(home, ".", bound=0.3))
    assert record(tmp_path / "out")["stage"] == "merge"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_choice_that_was_made_is_gone_on_with(home, tmp_path, monkeypatch):
    made = settings(home, tmp_path / "out", bound=0.3)
    with monkeypatch.context() as patch:
        patch.setattr("speechft.merging.stage.describe", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            merge(made)
    file = tmp_path / "out.alpha" / "alpha.json"
    assert file.is_file()
    with monkeypatch.context() as patch:
        patch.setattr("speechft.analysis.alpha.states.Way.at", lambda *_: 1 / 0)
        merge(made)
    assert not file.exists()


def test_an_earlier_choice_serves_other_merges(home, tmp_path):
    first = merge(settings(home, tmp_path / "first", bound=0.3))
    file = first / "alpha.json"
    again = merge(settings(home, tmp_path / "again", data=None, chosen=file, dtype="float16"))
    assert record(again)["chosen"] == record(first)["chosen"]
    with pytest.raises(CheckpointError, match="no choice of an alpha"):
        merge(settings(home, tmp_path / "third", data=None, chosen=first / "config.json"))


def test_layers_have_alphas_of_their_own(home, tmp_path):
    out = merge(settings(home, tmp_path / "out", bound=0.3, by_layer=True))
    first, last = record(out)["alpha"].split("..")
    base, tuned, mixed = (
        load_file(folder / "model.safetensors") for folder in (home / "base", home / "tuned", out)
    )
    for number, alpha in ((0, first), (1, last)):
        name = next(n for n in base if f"layers.{number}.attention.k_proj.weight" in n)
        wanted = base[name] + float(alpha) * (tuned[name] - base[name])
        assert mixed[name].allclose(wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"data": None}, "needs data"),
        ({"alpha": 0.5}, "data is read only with"),
        ({"alpha": 0.5, "data": None, "by": "probe"}, "by is read only with alpha: auto"),
        ({"alpha": 0.5, "data": None, "retain": 0.9}, "retain is read only with alpha: auto"),
        ({"alpha": ("auto", "encoder.*=0")}, "stands alone"),
        ({"chosen": "pyproject.toml", "by": "probe"}, "chosen that it is done"),
    ],
)
def test_mistakes(home, tmp_path, more, said):
    with pytest.raises(SettingsError, match=said):
        settings(home, tmp_path, **more)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"by": "probe"}, "needs tasks"),
        ({"choose": {"base": "x"}}, "choose does not say base"),
        ({"choose": {"passez": 1}}, "passez"),
        ({"method": "soup"}, "needs a method with an alpha"),
    ],
)
def test_mistakes_before_any_work(home, tmp_path, more, said):
    with pytest.raises(SettingsError, match=said):
        merge(settings(home, tmp_path / "out", **more))
    assert not list(tmp_path.iterdir())


def test_the_command(home, tmp_path, capsys):
    words = ["merge", str(home / "base"), str(home / "tuned"), "--alpha", "auto"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--out", str(tmp_path / "out")])
    assert ended.value.code == 2
    assert "needs data" in capsys.readouterr().err
    data = str(home / "data" / "table.jsonl")
    more = ["--by", "probe", "--tasks", "sid,er", "--data", data, "--retain", "0.99"]
    quick = ["choose.alphas=[0.5]", "choose.probe.steps=4", "choose.source=sid"]
    sets = [word for one in quick for word in ("--set", one)]
    with pytest.raises(SystemExit) as ended:
        main([*words, *more, *sets, "--out", str(tmp_path / "out")])
    assert ended.value.code == 0
    assert record(tmp_path / "out")["chosen"]["by"] == "probe"


def test_a_recipe_chooses_before_it_merges(home, tmp_path):
    more = {"merge": {"alpha": "auto", "bound": 0.1, "choose": {"utterances": 2}}}
    more |= {"data": str(home / "data" / "table.jsonl")}
    more |= {"evaluate": {"tasks": ["sid"], "steps": 3, "workers": 1}}
    made = recipe(home / "base", **more)
    plan = plan_run(made, tmp_path / "run")
    names = [step.name for step in plan.steps]
    assert names[:3] == ["seed-0/finetune-sid", "seed-0/alpha-sid", "seed-0/merge-sid"]
    assert states(plan) == ["to do"] * 5
    out = run(made, tmp_path / "run")
    merged = out / "seed-0" / "merge-sid"
    chosen = json.loads((out / "seed-0" / "alpha-sid" / "alpha.json").read_text())
    assert record(merged)["chosen"] == chosen
    assert record(merged)["alpha"] == chosen["alpha"]
    assert states(plan_run(made, out)) == ["done"] * 5
    assert "Why this alpha" in (out / "report.md").read_text()
    assert chosen["why"] in (out / "report.html").read_text().replace("&#39;", "'")
    shutil.rmtree(out / "seed-0" / "alpha-sid")
    assert states(plan_run(made, out))[:2] == ["done", "to do"]
    other = recipe(home / "base", **more | {"merge": {"alpha": "auto", "bound": 0.2}})
    assert states(plan_run(other, out))[0] == "done"


def test_a_recipe_that_names_tasks_knows_the_source(home, tmp_path):
    merging = {"alpha": "auto", "by": "probe", "tasks": ["sid", "er"], "retain": 0.99}
    plan = plan_run(recipe(home / "base", merge=merging), tmp_path)
    choice = next(step for step in plan.steps if step.verb == "alpha").settings
    assert (choice.source, choice.tasks, choice.retain) == (("sid",), ("sid", "er"), 0.99)
    merged = next(step for step in plan.steps if step.verb == "merge").settings
    assert (merged.by, merged.tasks, merged.retain) == ("similarity", (), None)
    with pytest.raises(SettingsError, match="needs tasks"):
        plan_run(recipe(home / "base", merge={"alpha": "auto", "by": "probe"}), tmp_path)

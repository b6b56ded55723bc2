"""Several merges, encoders that start from others, pre-training that goes on, an analysis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from speechft.core.errors import DataError, SettingsError
from speechft.core.settings import parse_settings
from speechft.pipeline.recipe.check_inputs import needed, refuse_missing
from speechft.pipeline.recipe.recipe_jobs import Plan
from speechft.pipeline.recipe.settings import RunSettings, load_recipe, read_recipe
from speechft.pipeline.recipe.stage import plan_run

SMALL = {"name": "small", "encoder": "tiny-hubert", "data": "synthetic:tiny"}


def settings(**values: Any) -> RunSettings:
    return parse_settings(RunSettings, {**SMALL, "evaluate": {"tasks": ["sid"]}, **values}, "test")


def plan(out: Path, **values: Any) -> Plan:
    return plan_run(settings(**values), out)


def step(found: Plan, name: str) -> Any:
    return next(one.settings for one in found.steps if one.name == f"seed-0/{name}")


def evaluated(found: Plan) -> list[str]:
    return [one.name for one in step(found, "evaluate").encoders]


def test_several_tuned_encoders_are_merged_into_one(tmp_path: Path) -> None:
    found = plan(
        tmp_path,
        finetune=[{"task": "pr"}, {"task": "sid"}],
        merge=[{"of": "pr"}, {"of": ["pr", "sid"], "name": "both", "method": "ties", "alpha": 0.3}],
    )
    merged = step(found, "merge-both")
    assert merged.base == "tiny-hubert"
    tuned = [f"{tmp_path}/seed-0/finetune-{one}/encoder-best" for one in ("pr", "sid")]
    assert list(merged.tuned) == tuned
    assert evaluated(found)[3:] == ["finetuned-sid", "merged-both"]
    role = found.roles["merged-both"]
    assert (role["tuned_on"], role["merge_method"], role["alpha"]) == ("pr,sid", "ties", 0.3)


def test_a_fine_tuning_starts_from_what_was_merged(tmp_path: Path) -> None:
    second = {"task": "sid", "of": "merged-pr", "name": "second"}
    found = plan(tmp_path, finetune=[{"task": "pr"}, second])
    start = f"{tmp_path}/seed-0/merge-pr"
    assert step(found, "finetune-second").encoder == start
    assert step(found, "merge-second").base == start
    with pytest.raises(SettingsError, match="no section before makes 'merged-second'"):
        plan(tmp_path, finetune=[{"task": "pr", "of": "merged-second"}, second])
    with pytest.raises(SettingsError, match="only what starts from one encoder is merged"):
        plan(tmp_path, finetune=[{"task": "pr"}, second], merge=[{}, {"of": ["pr", "second"]}])


def test_early_encoders_are_evaluated_beside_the_last(tmp_path: Path) -> None:
    found = plan(tmp_path, finetune={"task": "sid", "keep_at": [0.2]})
    assert evaluated(found) == ["pretrained", "finetuned-sid", "finetuned-sid-at-20", "merged-sid"]
    early = step(found, "evaluate").encoders[2].path
    assert early == f"{tmp_path}/seed-0/finetune-sid/encoder-at-20"


def test_early_encoders_need_a_run_that_does_not_end_early(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="may end before it keeps an encoder"):
        plan(tmp_path, finetune={"task": "sid", "keep_at": [0.8], "patience": 2})


def test_pre_training_beside_an_encoder_goes_on_from_it_and_is_merged(tmp_path: Path) -> None:
    found = plan(tmp_path, pretrain={"iterations": [{"steps": 2}]}, merge={"alpha": 0.25})
    assert found.steps[0].settings.init == "tiny-hubert"  # type: ignore[attr-defined]
    assert evaluated(found) == ["pretrained", "finetuned-pretraining", "merged-pretraining"]
    assert list(step(found, "merge-pretraining").tuned) == [f"{tmp_path}/pretrain/encoder"]


def test_an_analysis_looks_at_all_encoders_beside_theta0(tmp_path: Path) -> None:
    analyze = {"utterances": 2}
    found = plan(tmp_path, finetune={"task": "sid"}, analyze=analyze)
    chosen = step(found, "analyze")
    assert [one.name for one in chosen.encoders] == ["finetuned-sid", "merged-sid"]
    assert (chosen.base, chosen.data) == ("tiny-hubert", "synthetic:tiny")


def test_without_training_theta0_is_evaluated_alone(tmp_path: Path) -> None:
    assert [one.verb for one in plan(tmp_path).steps] == ["evaluate", "report"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"finetune": []}, "finetune is empty"),
        ({"finetune": {"task": "pr"}, "merge": {"of": "prr"}}, "did you mean 'pr'"),
        ({"finetune": {"task": "pr"}, "data": None}, "data is missing"),
        ({"finetune": {"task": "pr"}, "merge": [{}, {"take": "last"}]}, "take is the same"),
        ({"pretrain": {"init": "tiny-wavlm", "iterations": [{"steps": 1}]}}, "take its init away"),
        ({"data_root": "/c", "places": {"a": "{root}/A"}}, "nothing to put in the place of {root}"),
    ],
)
def test_what_makes_no_sense_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        settings(**values)


def test_a_recipe_extends_another(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("encoder: a\nmerge: {alpha: 0.25, method: ties}\n")
    own = tmp_path / "own.yaml"
    own.write_text("extends: base\nname: own\nmerge: {alpha: 0.5}\n")
    merge = {"alpha": 0.5, "method": "ties"}
    assert read_recipe(own) == {"encoder": "a", "name": "own", "merge": merge}
    own.write_text("extends: paper/sid\nname: own\nplaces: {voxceleb1: /vox}\n")
    assert load_recipe(own).finetune[0].data == "voxceleb1:/vox"


def test_a_recipe_extends_nothing_of_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").write_text("encoder: a\n")
    own = tmp_path / "inner" / "own.yaml"
    own.parent.mkdir()
    for name in ("../secret", str(tmp_path / "secret"), "nothing"):
        own.write_text(f"extends: {name}\nname: own\n")
        with pytest.raises(SettingsError, match="no such recipe to extend"):
            read_recipe(own)
    own.write_text("extends: own\nname: own\n")
    with pytest.raises(SettingsError, match="extends itself"):
        read_recipe(own)


def test_all_missing_data_is_named_with_where_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "TIMIT").mkdir()  # an empty folder holds no corpus
    recipe = settings(
        finetune={"task": "pc", "data": f"timit:{tmp_path}/TIMIT"},
        evaluate={"tasks": ["sid"], "data": f"voxceleb1:{tmp_path}/Vox"},
    )
    assert [one.data for one in needed(recipe) if one.missing] == [
        f"timit:{tmp_path}/TIMIT",
        f"voxceleb1:{tmp_path}/Vox",
    ]
    with pytest.raises(DataError, match=r"LDC93S1[\s\S]*vox1\.html"):
        refuse_missing(recipe)


def test_merges_of_one_fine_tuning_need_names(tmp_path: Path) -> None:
    """The message was of an encoder that `evaluate` is given twice."""
    merge = [{"alpha": 0.25}, {"alpha": 0.5}]
    with pytest.raises(SettingsError, match=r"(?s)two merges are named 'sid'.*give .* a name"):
        plan(tmp_path, finetune={"task": "sid"}, merge=merge)

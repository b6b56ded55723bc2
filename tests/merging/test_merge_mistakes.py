"""What a person may get wrong with `merge`: each mistake has a message, none a traceback."""

from __future__ import annotations

import errno
import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from speechft.core.errors import CheckpointError, SettingsError
from speechft.core.settings import parse_settings
from speechft.core.yaml12 import read_yaml
from speechft.merging.settings import MergeSettings
from speechft.merging.stage import merge
from speechft.merging.sweep import OpenSweep


def recipe_values(path: Path) -> dict[str, object]:
    settings = parse_settings(MergeSettings, {**read_yaml(path), "out": "x"}, path)
    return settings.model_dump(exclude_unset=True, exclude={"out"})


NAME = "encoder.layers.0.x.weight"


def folder(path: Path, seed: int, family: str = "hubert") -> Path:
    path.mkdir()
    value = np.random.default_rng(seed).standard_normal((4, 6)).astype(np.float32)
    save_file({NAME: value}, path / "model.safetensors", metadata={"format": "pt"})
    (path / "config.json").write_text(json.dumps({"model_type": family}))
    (path / "preprocessor_config.json").write_text('{"do_normalize": false}')
    return path


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return folder(tmp_path / "base", 1), folder(tmp_path / "tuned", 2)


def run(pair: tuple[Path, Path], out: Path | str | None = None, **values: object) -> Path:
    target = Path(out or pair[0].parent / "out")
    return merge(MergeSettings(base=pair[0], tuned=pair[1:], out=target, **values))


@pytest.mark.parametrize("alpha", [0.25, "0:1:0.5"])
def test_a_place_where_nothing_can_be_written_is_said(pair: tuple[Path, Path], alpha: object):
    (pair[0].parent / "file").write_text("")
    for out in (pair[0].parent / "file" / "deep" / "out", Path("/proc/none/out")):
        with pytest.raises(SettingsError, match="cannot write there"):
            run(pair, out, alpha=alpha)


def test_a_merge_that_is_replaced_is_said(
    pair: tuple[Path, Path], caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    for alpha, said in (
        (0.25, None),
        (0.25, None),
        (0.5, "linear, alpha 0.25, of"),
        ("0:1:0.5", "linear, alpha 0.5, of"),
        ("0:1:0.5", None),
        (0.5, "linear, alpha a sweep of 3, of"),
    ):
        caplog.clear()
        run(pair, alpha=alpha)
        lines = [text for text in caplog.messages if "replacing the merge" in text]
        assert len(lines) == (said is not None)
        assert all(said in line for line in lines)


def test_a_file_larger_than_the_place_allows_is_said(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise OSError(errno.EFBIG, "File too large")

    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(SettingsError, match="File too large"):
        run(pair)
    assert sorted(p.name for p in pair[0].parent.iterdir()) == ["base", "tuned"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_said(pair: tuple[Path, Path]):
    closed = pair[0].parent / "closed"
    closed.mkdir(mode=0o555)
    with pytest.raises(SettingsError, match="cannot write there"):
        run(pair, closed / "out")


def test_a_sweep_goes_home_too(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch):
    home = pair[0].parent / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(pair[0].parent)
    assert run(pair, "~/sweep", alpha="0:1:0.5") == home / "sweep"
    assert (home / "sweep" / "sweep.json").is_file()
    assert not Path("~").exists()


def test_a_sweep_remembers_its_statistics(pair: tuple[Path, Path]):
    files = []
    for seed in (3, 4):
        files.append(pair[0].parent / f"fisher{seed}.safetensors")
        value = np.random.default_rng(seed).random((4, 6)).astype(np.float32)
        save_file({NAME: value}, files[-1])
    values = {"method": "fisher", "statistics": files}
    parents = (*pair, folder(pair[0].parent / "second", 5))
    swept = run(parents, pair[0].parent / "sweep", alpha="0:1:0.5", **values)
    single = load_file(run(parents, alpha=0.5, **values) / "model.safetensors")
    sweep = OpenSweep(swept)
    try:
        state = dict(sweep.state(0.5))
    finally:
        sweep.close()
    assert state[NAME].numpy().tobytes() == single[NAME].tobytes()
    files[0].write_bytes(files[1].read_bytes())
    with pytest.raises(CheckpointError, match="has changed"):
        OpenSweep(swept)


def test_statistics_are_given_or_gathered(pair: tuple[Path, Path]):
    with pytest.raises(SettingsError, match="not both"):
        run(pair, method="regmean", statistics=("x",), gram_data=("synthetic",))


def test_broken_json_beside_the_weights_is_named(pair: tuple[Path, Path]):
    (pair[0] / "preprocessor_config.json").write_text("{")
    with pytest.raises(CheckpointError, match="as JSON"):
        run(pair)


@pytest.mark.parametrize("content", ['{"weight_map": []}', "{}", '{"weight_map": {}}'])
def test_an_index_without_a_map_is_named(pair: tuple[Path, Path], content: str):
    (pair[1] / "model.safetensors").unlink()
    (pair[1] / "model.safetensors.index.json").write_text(content)
    with pytest.raises(CheckpointError, match="has no weight_map"):
        run(pair)


def test_encoders_of_two_families_are_said(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from speechft.merging import tensor_matching

    said: list[str] = []
    monkeypatch.setattr(
        tensor_matching.log, "warning", lambda text, *values: said.append(text % values)
    )
    run(pair)
    assert said == []
    run((pair[0], folder(tmp_path / "other", 3, "wav2vec2")))
    assert "BASE is a hubert" in said[0]


def test_the_card_has_the_numbers_that_were_not_given(pair: tuple[Path, Path]):
    card = (run(pair, method="ties", parameters={"normalize": False}) / "README.md").read_text()
    assert "with alpha = 1, density = 0.2, normalize = False" in card


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("merge_method: ties\nparameters: 3\nmodels: foo", "parameters and values, found 3"),
        ("merge_method: linear\nmodels: 3", "models: cannot read 3"),
        ("merge_method: linear\nmodels: [{model: a, parameters: 3}]", "found 3"),
        (
            "merge_method: karcher\nmodels: [{model: a}, {model: b}]\nparameters: {max_iter: x}",
            "max_iter: one number",
        ),
        ("merge_method: linear\nmodels: [{model: a, parameters: {weight: .nan}}]", "found nan"),
        ("merge_method: model_stock\nbase_model: [1]\nmodels: [{model: a}]", "base_model: cannot"),
        (
            "merge_method: ties\nbase_model: a\nmodels: [{model: b, parameters: {weight: 1}}]\n"
            "parameters: {normalize: 'no'}",
            "normalize: true or false",
        ),
        (
            "merge_method: slerp\nbase_model: a\nmodels: [{model: b}]\n"
            "parameters: {t: [{filter: x, weight: 1}]}",
            "t: cannot read",
        ),
    ],
)
def test_recipes_of_the_wrong_form_are_refused(tmp_path: Path, text: str, message: str):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=message):
        recipe_values(path)


def test_filters_after_one_that_fits_everything_do_not_count(tmp_path: Path):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "merge_method: slerp\nbase_model: a\nmodels: [{model: b}]\n"
        "parameters: {t: [{filter: k_proj, value: 0.1}, {value: 0.5}, {filter: q_proj, value: 1}]}"
    )
    assert recipe_values(path)["alpha"] == ("0.5", "*k_proj*=0.1")


def test_encoders_that_are_given_other_waveforms_are_said_to_be_in_sweeps_too(tmp_path, caplog):
    from speechft.encoders import build_encoder
    from speechft.merging.sweep import load_merged

    config = {"model_type": "hubert", "hidden_size": 16, "num_hidden_layers": 1}
    config |= {"num_attention_heads": 2, "intermediate_size": 16, "conv_dim": (8,) * 7}
    config |= {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    base, tuned, same = (
        build_encoder({**config, "do_normalize": normalised}, seed=0).save(tmp_path / name)
        for name, normalised in (("base", False), ("tuned", True), ("same", False))
    )
    said = "BASE and TUNED normalise waveforms differently; BASE's setting is kept"
    for one, times in ((same, 0), (tuned, 1)):
        for how in ("0.5", "0:1:0.5", None):
            caplog.clear()
            if how is None:
                load_merged(base, one, 0.5)
            else:
                out = tmp_path / f"{one.name} {how.replace(':', ' ')}"
                merge(MergeSettings(base=base, tuned=(one,), out=out, alpha=how))
            assert caplog.text.count(said) == times, how

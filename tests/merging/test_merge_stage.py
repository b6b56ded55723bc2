"""`merge` as a stage: settings, folders, sweeps, recipes, cards."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from speechft.cli.app import main
from speechft.core.errors import CheckpointError, SettingsError
from speechft.core.files import hash_file, read_json
from speechft.merging.methods import METHODS
from speechft.merging.settings import MergeSettings
from speechft.merging.stage import merge, parse_size
from speechft.merging.sweep import OpenSweep

LAYERS = 4
SYMMETRIC = [
    name
    for name, method in METHODS.items()
    if method.symmetric and method.most is None and not method.statistics
]


def arrays(seed: int, wide: int = 6) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return generator.standard_normal(shape, dtype=np.float32)

    state = {
        "feature_extractor.conv_layers.0.conv.weight": draw(4, 1, 3),
        "encoder.pos_conv_embed.conv.weight_g": np.abs(draw(1, 1, 5)),
        "encoder.pos_conv_embed.conv.weight_v": draw(wide, 2, 5),
        "encoder.layer_norm.weight": draw(wide),
    }
    for layer in range(LAYERS):
        state[f"encoder.layers.{layer}.attention.q_proj.weight"] = draw(wide, wide)
        state[f"encoder.layers.{layer}.attention.q_proj.bias"] = draw(wide)
    return state


def folder(path: Path, seed: int, **config: object) -> Path:
    path.mkdir(parents=True)
    save_file(arrays(seed), path / "model.safetensors", metadata={"format": "pt"})
    values = {"architectures": ["HubertModel"], "model_type": "hubert", **config}
    (path / "config.json").write_text(json.dumps(values))
    (path / "preprocessor_config.json").write_text('{"do_normalize": false}')
    return path


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return folder(tmp_path / "base", 1), folder(tmp_path / "tuned", 2)


def load(path: Path) -> dict[str, np.ndarray]:
    return load_file(path / "model.safetensors")


def run(pair: tuple[Path, Path], out: str = "out", **values: object) -> Path:
    target = pair[0].parent / out
    return merge(MergeSettings(base=pair[0], tuned=pair[1:], out=target, **values))


# -- alpha -----------------------------------------------------------------------------------


def test_groups_and_ramps_of_alpha(pair: tuple[Path, Path]):
    out = load(
        run(pair, alpha=("0.1..0.4", "encoder.layers.{2-3}.*.bias=0.9", "feature_extractor.*=0"))
    )
    base, tuned = load(pair[0]), load(pair[1])

    def alpha_of(name: str) -> float:
        moved, whole = out[name] - base[name], tuned[name] - base[name]
        return float((moved * whole).sum() / (whole * whole).sum())

    for layer, expected in enumerate((0.1, 0.2, 0.3, 0.4)):
        name = f"encoder.layers.{layer}.attention.q_proj."
        assert alpha_of(name + "weight") == pytest.approx(expected, abs=1e-5)
        assert alpha_of(name + "bias") == pytest.approx(0.9 if layer > 1 else expected, abs=1e-5)
    assert alpha_of("encoder.layer_norm.weight") == pytest.approx(0.1, abs=1e-5)
    front = "feature_extractor.conv_layers.0.conv.weight"
    np.testing.assert_array_equal(out[front], base[front])


def test_the_last_norm_of_pre_norm_encoders_is_deepest(tmp_path: Path):
    pair = tuple(folder(tmp_path / n, i, do_stable_layer_norm=True) for i, n in enumerate("ab"))
    out, base, tuned = load(run(pair, alpha="0..1")), load(pair[0]), load(pair[1])
    np.testing.assert_array_equal(
        out["encoder.layer_norm.weight"], tuned["encoder.layer_norm.weight"]
    )
    name = "encoder.layers.0.attention.q_proj.weight"
    np.testing.assert_array_equal(out[name], base[name])


@pytest.mark.parametrize(
    ("alpha", "message"),
    [
        ("a quarter", "cannot read alpha"),
        ("nan", "not a finite number"),
        ("encoder.layer.*=0.5", "matches no tensor"),
        ("encoder.{1-=0.5", "braces do not pair up"),
        ("0:1:-0.1", "does not lead"),
        (("0:1:0.1", "0.3"), "a sweep is the only alpha"),
    ],
)
def test_bad_alphas_are_refused(pair: tuple[Path, Path], alpha: object, message: str):
    with pytest.raises(SettingsError, match=message):
        run(pair, alpha=alpha)
    assert not (pair[0].parent / "out").exists()


def test_a_method_without_alpha_refuses_one(pair: tuple[Path, Path]):
    with pytest.raises(SettingsError, match="soup has no alpha"):
        run(pair, method="soup", alpha=0.5)


# -- rounds, weight norm, types, shards, threads -----------------------------------------------


def test_sequential_rounds_build_on_each_other(tmp_path: Path):
    folders = [folder(tmp_path / str(i), i) for i in range(3)]
    out = merge(
        MergeSettings(
            base=folders[0], tuned=folders[1:], alpha=0.25, sequential=True, out=tmp_path / "o"
        )
    )
    first = merge(
        MergeSettings(base=folders[0], tuned=folders[1:2], alpha=0.25, out=tmp_path / "first")
    )
    second = merge(MergeSettings(base=first, tuned=folders[2:], alpha=0.25, out=tmp_path / "s"))
    averaged = merge(
        MergeSettings(base=folders[0], tuned=folders[1:], alpha=0.25, out=tmp_path / "mean")
    )
    states = [load(f) for f in (out, second, averaged)]
    for name, value in states[0].items():
        np.testing.assert_array_equal(value, states[1][name])
        assert not np.allclose(value, states[2][name])


def test_fused_weight_norm_interpolates_the_kernel(pair: tuple[Path, Path]):
    def kernel(state: dict[str, np.ndarray]) -> np.ndarray:
        g, v = (state[f"encoder.pos_conv_embed.conv.weight_{part}"] for part in "gv")
        return g * v / np.sqrt((v**2).sum(axis=(0, 1), keepdims=True))

    base, tuned = (kernel(load(path)) for path in pair)
    expected = base + 0.25 * (tuned - base)
    fused = load(run(pair, "fused", alpha=0.25, weight_norm="fused"))
    stored = load(run(pair, "stored", alpha=0.25))
    np.testing.assert_allclose(kernel(fused), expected, atol=1e-6)
    assert np.abs(kernel(stored) - expected).max() > 1e-3
    name = "encoder.layers.0.attention.q_proj.weight"
    np.testing.assert_array_equal(fused[name], stored[name])
    for alpha, path in ((0.0, pair[0]), (1.0, pair[1])):
        exact = load(run(pair, f"exact{alpha}", alpha=alpha, weight_norm="fused"))
        assert all(np.array_equal(exact[n], v) for n, v in load(path).items())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_result_can_have_another_type(pair: tuple[Path, Path], dtype: str):
    from safetensors.torch import load_file as load_torch

    out = run(pair, alpha=0.25, dtype=dtype)
    wide = load(run(pair, "wide", alpha=0.25))
    for name, tensor in load_torch(out / "model.safetensors").items():
        assert str(tensor.dtype) == f"torch.{dtype}"
        import torch

        assert torch.equal(tensor, torch.from_numpy(wide[name]).to(tensor.dtype))
    assert json.loads((out / "config.json").read_text())["dtype"] == dtype


def test_what_does_not_fit_the_type_is_refused(tmp_path: Path):
    pair = folder(tmp_path / "a", 1), folder(tmp_path / "b", 2)
    state = load(pair[1])
    state["encoder.layer_norm.weight"][0] = 1e6
    save_file(state, pair[1] / "model.safetensors")
    with pytest.raises(CheckpointError, match="do not fit F16"):
        run(pair, alpha=0.5, dtype="float16")
    state["encoder.layer_norm.weight"][0] = np.nan
    save_file(state, pair[1] / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"(?s)NaN or infinite.*encoder\.layer_norm\.weight"):
        run(pair, alpha=0.5)
    assert not (tmp_path / "out").exists()


def test_shards_in_and_out(pair: tuple[Path, Path]):
    whole = run(pair, "whole", alpha=0.25)
    sharded = run(pair, "sharded", alpha=0.25, max_shard_size="400")
    index = json.loads((sharded / "model.safetensors.index.json").read_text())
    files = sorted(set(index["weight_map"].values()))
    assert len(files) == 3
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    state = {n: load_file(sharded / f)[n] for n, f in index["weight_map"].items()}
    assert all(np.array_equal(state[n], v) for n, v in load(whole).items())
    assert set(state) == set(load(whole))
    again = merge(
        MergeSettings(base=sharded, tuned=(pair[1],), alpha=0.0, out=pair[0].parent / "again")
    )
    assert all(np.array_equal(load(again)[n], v) for n, v in state.items())
    (sharded / files[1]).unlink()
    with pytest.raises(CheckpointError, match=f"(?s)shards.*without {files[1]}"):
        merge(MergeSettings(base=sharded, tuned=(pair[1],), out=pair[0].parent / "no"))


@pytest.mark.parametrize("method", ["linear", "ties", "dare_linear", "iso_c", "tsv_m", "karcher"])
def test_threads_do_not_matter(tmp_path: Path, method: str):
    folders = [folder(tmp_path / str(i), i) for i in range(4)]
    hashes = set()
    for threads, order in ((1, folders[1:]), (3, folders[1:]), (2, folders[1:])):
        out = merge(
            MergeSettings(
                base=folders[0], tuned=order, method=method, out=tmp_path / f"o{threads}",
                threads=threads,
            )
        )  # fmt: skip
        hashes.add(hash_file(out / "model.safetensors"))
    assert len(hashes) == 1


@pytest.mark.parametrize("method", SYMMETRIC)
def test_order_of_tuned_does_not_matter_to_the_bit(tmp_path: Path, method: str):
    folders = [folder(tmp_path / str(i), i) for i in range(4)]
    hashes = set()
    for place, order in enumerate((folders[1:], folders[:0:-1])):
        out = merge(
            MergeSettings(base=folders[0], tuned=order, method=method, out=tmp_path / f"o{place}")
        )
        hashes.add(hash_file(out / "model.safetensors"))
    assert len(hashes) == 1


def test_a_card_that_was_edited_is_not_replaced_without_a_word(
    pair: tuple[Path, Path], caplog: pytest.LogCaptureFixture
):
    out = run(pair, alpha=0.5)
    (out / "README.md").write_text("mine")
    run(pair, alpha=0.5)
    assert "merge: missing, or changed since they were written" in caplog.text
    assert "README.md" in caplog.text


def test_sizes():
    assert parse_size("5GB") == 5_000_000_000
    assert parse_size("1.5 mb") == 1_500_000
    assert parse_size("700") == 700
    with pytest.raises(SettingsError):
        parse_size("large")


# -- folders -----------------------------------------------------------------------------------


def test_the_second_run_does_nothing_and_a_changed_parent_is_noticed(pair: tuple[Path, Path]):
    out = run(pair, alpha=0.25)
    stamp = (out / "model.safetensors").stat().st_mtime_ns
    assert run(pair, alpha=0.25) == out
    assert (out / "model.safetensors").stat().st_mtime_ns == stamp
    save_file(arrays(9), pair[1] / "model.safetensors")
    run(pair, alpha=0.25)
    changed = load(out)["encoder.layer_norm.weight"]
    expected = arrays(1)["encoder.layer_norm.weight"]
    np.testing.assert_array_equal(
        changed, expected + np.float32(0.25) * (arrays(9)["encoder.layer_norm.weight"] - expected)
    )


def test_provenance_and_card(pair: tuple[Path, Path]):
    out = run(pair, alpha=0.25)
    record = json.loads((out / "speechft.json").read_text())
    assert list(record["parents"].values()) == [hash_file(p / "model.safetensors") for p in pair]
    assert record["stage"] == "merge"
    text = (out / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    meta = yaml.safe_load(front)
    assert meta["base_model"] == ["base"]
    assert {"merge", "speechft"} <= set(meta["tags"])
    assert "alpha = 0.25" in body
    assert "θ0 + alpha · mean_i(θ'_i − θ0)" in body
    assert "AutoModel.from_pretrained" in body
    assert hash_file(pair[1] / "model.safetensors") in body
    assert str(pair[0].parent) not in text


def test_the_card_names_the_hub_id_that_the_configuration_knows(tmp_path: Path):
    pair = (
        folder(tmp_path / "base", 1, _name_or_path="facebook/hubert-base-ls960"),
        folder(tmp_path / "tuned", 2, _name_or_path="/home/me/runs/sid"),
    )
    text = (run(pair, alpha=0.25) / "README.md").read_text()
    assert yaml.safe_load(text.split("---\n")[1])["base_model"] == ["facebook/hubert-base-ls960"]
    assert "merged with tuned" in text
    assert "/home/me" not in text


def test_a_half_precision_base_is_kept_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    said: list[str] = []
    monkeypatch.setattr(
        "speechft.merging.stage.log.info", lambda text, *values: said.append(text % values)
    )
    pair = folder(tmp_path / "base", 1), folder(tmp_path / "tuned", 2)
    half = {name: value.astype(np.float16) for name, value in load(pair[0]).items()}
    save_file(half, pair[0] / "model.safetensors")
    out = load(run(pair, alpha=0.25))
    assert "tensors of float16" in said[0]
    assert "load it with dtype=torch.float32" in said[1]
    assert "--dtype float32 keeps all of TUNED" in said[1]
    tuned = load(pair[1])
    for name, value in out.items():
        wide = half[name].astype(np.float32)
        expected = wide + np.float32(0.25) * (tuned[name] - wide)
        assert value.dtype == np.float16
        np.testing.assert_array_equal(value, expected.astype(np.float16))


def test_a_finetuning_run_can_be_named_by_its_folder(pair: tuple[Path, Path]):
    run_folder = pair[0].parent / "runs" / "sid"
    run_folder.mkdir(parents=True)
    pair[1].rename(run_folder / "encoder")
    out = merge(MergeSettings(base=pair[0], tuned=(run_folder,), out=pair[0].parent / "out"))
    assert "merged with sid" in (out / "README.md").read_text()


def test_single_files_merge(pair: tuple[Path, Path]):
    files = tuple(p / "model.safetensors" for p in pair)
    out = merge(MergeSettings(base=files[0], tuned=files[1:], alpha=0.25, out=pair[0].parent / "o"))
    assert hash_file(out / "model.safetensors") == hash_file(
        run(pair, alpha=0.25) / "model.safetensors"
    )


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "header"])
def test_broken_files_are_named(pair: tuple[Path, Path], damage: str):
    path = pair[1] / "model.safetensors"
    data = path.read_bytes()
    damaged = {"cut": data[:-5], "empty": b"", "text": b"hello " * 9, "header": b"\xff" * 40}
    path.write_bytes(damaged[damage])
    with pytest.raises(CheckpointError, match="whole safetensors file") as caught:
        run(pair, alpha=0.25)
    assert str(path) in str(caught.value)


def test_merging_does_not_import_torch(pair: tuple[Path, Path]):
    """With the usual method and two others, all in one process of its own."""
    code = (
        "import sys\nfrom speechft.cli.app import main\n"
        "for method in ('linear', 'ties', 'iso_c'):\n"
        "    try:\n        main([*sys.argv[1:], '--method', method, '--out', method])\n"
        "    except SystemExit as stop:\n"
        "        bad = {'torch', 'transformers', 'lhotse'} & set(sys.modules)\n"
        "        if stop.code or bad:\n"
        "            sys.exit(f'{method}: code {stop.code}, imported {bad}')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "merge", str(pair[0]), str(pair[1])],
        cwd=pair[0].parent,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    for method in ("linear", "ties", "iso_c"):
        assert (pair[0].parent / method / "model.safetensors").is_file()


# -- sweeps ------------------------------------------------------------------------------------


def test_a_sweep_holds_no_weights_and_gives_what_merge_writes(pair: tuple[Path, Path]):
    fixed = "encoder.layers.0.*=0.5"
    out = run(pair, "sweep", alpha=("0:1:0.25", fixed))
    assert sum(f.stat().st_size for f in out.iterdir()) < 10_000
    sweep = OpenSweep(out)
    assert sweep.alphas == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert sweep.names()[1] == "alpha-0.25"
    for alpha in sweep.alphas:
        written = load(run(pair, f"at{alpha}", alpha=(alpha, fixed)))
        state = {name: tensor.numpy() for name, tensor in sweep.state(alpha)}
        assert set(state) == set(written)
        assert all(np.array_equal(state[n], v) for n, v in written.items())
    sweep.close()


def test_a_sweep_notices_a_changed_parent(pair: tuple[Path, Path]):
    out = run(pair, "sweep", alpha="0:1:0.5")
    save_file(arrays(9), pair[1] / "model.safetensors")
    with pytest.raises(CheckpointError, match="has changed"):
        OpenSweep(out)
    with pytest.raises(CheckpointError, match="no sweep"):
        OpenSweep(pair[0])


def test_sweep_points_do_not_drift(pair: tuple[Path, Path]):
    from speechft.merging.alpha import parse_sweep

    assert parse_sweep("0:1:0.05") == [i / 20 for i in range(21)]
    assert parse_sweep("1:0:-0.5") == [1.0, 0.5, 0.0]
    assert parse_sweep("0.25:0.25:1") == [0.25]
    with pytest.raises(SettingsError, match="cannot read alpha"):
        parse_sweep("0:1e400:1e399")


# -- recipes -----------------------------------------------------------------------------------


def test_own_recipe(pair: tuple[Path, Path], tmp_path: Path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("method: ties\nparameters: {density: 0.5}\nalpha: 0.4\n")
    with pytest.raises(SystemExit):
        main(["merge", *map(str, pair), "--config", str(recipe), "--out", str(tmp_path / "m")])
    made = read_json(tmp_path / "m" / "speechft.json")["settings"]
    assert (made["method"], made["parameters"], made["alpha"]) == ("ties", {"density": 0.5}, 0.4)


def test_methods_with_statistics(pair: tuple[Path, Path], tmp_path: Path):
    name = "encoder.layers.0.attention.q_proj.weight"
    gram = np.random.default_rng(0).standard_normal((6, 6))
    save_file({name: gram @ gram.T}, tmp_path / "gram.safetensors")
    with pytest.raises(SettingsError, match="gram statistics"):
        run(pair, method="regmean")
    out = load(run(pair, method="regmean", statistics=(tmp_path / "gram.safetensors",)))
    for key, value in load(pair[1]).items():
        np.testing.assert_allclose(out[key], value, atol=1e-4)

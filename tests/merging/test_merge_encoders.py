"""Merges that need the encoders themselves: sweeps in memory, statistics of data, scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tiny_configs import SHORT_FRONT_END as TINY
from transformers import HubertConfig, HubertModel

from speechft.core.errors import DataError, SettingsError
from speechft.encoders import load_encoder
from speechft.merging.data_statistics import gather_gram
from speechft.merging.output import with_scores
from speechft.merging.settings import MergeSettings
from speechft.merging.stage import merge
from speechft.merging.sweep import OpenSweep, load_merged, load_point
from speechft.reporting.push import _scores


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    torch.manual_seed(0)
    result = []
    for name in ("base", "one", "two"):
        HubertModel(HubertConfig(**TINY)).save_pretrained(tmp_path / name)
        (tmp_path / name / "preprocessor_config.json").write_text('{"do_normalize": false}')
        result.append(tmp_path / name)
    return result


def waveforms(count: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2000 + 300 * i, generator=generator) for i in range(count)]


def test_encoders_of_a_sweep_are_those_that_merge_writes(folders: list[Path], tmp_path: Path):
    base, one, _ = folders
    out = merge(MergeSettings(base=base, tuned=(one,), alpha="0:1:0.5", out=tmp_path / "sweep"))
    sweep = OpenSweep(out)
    prints = {}
    for name, alpha, encoder in sweep.encoders():
        assert name == f"alpha-{alpha:g}"
        prints[alpha] = encoder.fingerprint()
    sweep.close()
    assert list(prints) == [0.0, 0.5, 1.0]
    assert prints[0.0] == load_encoder(base).fingerprint()
    assert prints[1.0] == load_encoder(one).fingerprint()
    half = merge(MergeSettings(base=base, tuned=(one,), alpha=0.5, out=tmp_path / "half"))
    assert prints[0.5] == load_encoder(half).fingerprint()
    assert load_point(out, 0.5).fingerprint() == prints[0.5]


@pytest.mark.parametrize("alpha", [0.0, 1 / 3, 1.0])
def test_an_encoder_between_others_is_what_merge_writes(
    folders: list[Path], tmp_path: Path, alpha: float
):
    base, *tuned = folders
    for several in (tuned[:1], tuned):
        out = tmp_path / f"out{len(several)}"
        merge(MergeSettings(base=base, tuned=several, alpha=alpha, out=out))
        loaded = load_merged(base, several, alpha)
        assert loaded.fingerprint() == load_encoder(out).fingerprint()
    assert load_merged(base, tuned[0], alpha).fingerprint() != loaded.fingerprint() or alpha == 0


def test_an_encoder_in_memory_is_not_rounded_to_the_type_of_base(
    folders: list[Path], tmp_path: Path
):
    base, tuned, *_ = folders
    half = merge(
        MergeSettings(base=base, tuned=(base,), alpha=0, dtype="float16", out=tmp_path / "h")
    )
    values = {"base": half, "tuned": (tuned,), "alpha": 0.5}
    exact = merge(MergeSettings(**values, dtype="float32", out=tmp_path / "exact"))
    rounded = merge(MergeSettings(**values, out=tmp_path / "rounded"))
    found = load_merged(half, tuned, 0.5).fingerprint()
    assert found == load_encoder(exact).fingerprint() != load_encoder(rounded).fingerprint()


def test_near_points_of_a_sweep_have_names_of_their_own(folders: list[Path], tmp_path: Path):
    values = {"base": folders[0], "tuned": folders[1:2], "out": tmp_path / "sweep"}
    sweep = OpenSweep(merge(MergeSettings(alpha="0.25:0.2500002:0.0000001", **values)))
    sweep.close()
    assert sweep.names() == ["alpha-0.25", "alpha-0.2500001", "alpha-0.2500002"]
    card = (tmp_path / "sweep" / "README.md").read_text()
    assert "alpha = 0.25, 0.2500001, 0.2500002" in card


def test_gram_matrices_are_those_of_the_layers_inputs(folders: list[Path]):
    encoder = load_encoder(folders[1])
    speech = waveforms()
    grams, frames = gather_gram(encoder, speech)
    with torch.no_grad():
        states = [encoder([w]).hidden_states[0][0].double() for w in speech]
    rows = torch.cat(states)
    assert frames == len(rows)
    expected = (rows.T @ rows / len(rows)).float().numpy()
    found = grams["encoder.layers.0.attention.q_proj.weight"]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert len(grams) == 6 * TINY["num_hidden_layers"] + 1
    assert not encoder.model.encoder.layers[0].attention.q_proj._forward_pre_hooks


def test_regmean_on_data_stays_closer_to_the_tuned_outputs(folders: list[Path], tmp_path: Path):
    rows = ["audio,text,split"]
    for index, wave in enumerate(waveforms(4)):
        path = tmp_path / f"{index}.wav"
        soundfile.write(path, 0.1 * wave.repeat(4).numpy(), 16000)
        rows.append(f"{path},a b,{'train' if index < 3 else 'dev'}")
    table = tmp_path / "table.csv"
    table.write_text("\n".join(rows) + "\n")
    base, *tuned = folders
    common = {"base": base, "tuned": tuned}
    out = merge(
        MergeSettings(**common, method="regmean", gram_data=(str(table),), out=tmp_path / "regmean",
                      parameters={"off_diagonal": 1.0})
    )  # fmt: skip
    mean = merge(MergeSettings(**common, method="soup", out=tmp_path / "soup"))

    def distance(folder: Path) -> float:
        """How far the first query projection is from each parent's, on that parent's inputs."""
        total = 0.0
        layer = load_encoder(folder).model.encoder.layers[0].attention.q_proj
        for parent in tuned:
            encoder = load_encoder(parent)
            own = encoder.model.encoder.layers[0].attention.q_proj
            for index in range(3):
                wave = torch.from_numpy(soundfile.read(tmp_path / f"{index}.wav")[0]).float()
                with torch.no_grad():
                    state = encoder([wave]).hidden_states[0]
                    change = state @ (layer.weight - own.weight).T
                total += float(change.square().sum())
        return total

    assert distance(out) < 0.99 * distance(mean)
    with pytest.raises(SettingsError, match="gram_data is for regmean"):
        merge(MergeSettings(**common, method="linear", gram_data=("x",), out=tmp_path / "no"))


def test_scores_of_this_encoder_go_into_the_card(folders: list[Path], tmp_path: Path):
    own = load_encoder(folders[0]).fingerprint()
    records = [
        {"encoder_hash": own, "task": "pr", "metric": "per", "value": 5.0, "seed": 0},
        {"encoder_hash": own, "task": "pr", "metric": "per", "value": 6.0, "seed": 1},
        {"encoder_hash": "other", "task": "sid", "metric": "acc", "value": 1.0, "seed": 0},
    ]
    results = tmp_path / "results.jsonl"
    results.write_text("".join(json.dumps(r) + "\n" for r in records))
    scores = _scores(folders[0], (tmp_path,))
    assert scores == {"pr": {"per": 5.5}}
    card = with_scores("---\na: b\n---\n\n# Title\n", scores)
    assert card.endswith("## Scores\n\n| task | metric | value |\n| --- | --- | --- |\n"
                         "| pr | per | 5.50 |\n")  # fmt: skip
    assert with_scores(card, {"pr": {"per": 4.0}}).count("## Scores") == 1
    with pytest.raises(DataError, match="not about this encoder"):
        _scores(folders[1], (results,))

"""The job that chooses alpha: three ways, its file, done once, and mistakes."""

from __future__ import annotations

import json

import pytest
import torch
from evaluate_fixture import CONFIG, write_tones

from speechft.analysis.alpha import stage
from speechft.analysis.alpha.by_similarity import drift, numbers_of, overall
from speechft.analysis.alpha.settings import AlphaSettings
from speechft.analysis.alpha.states import open_way
from speechft.core.errors import DataError, SettingsError
from speechft.core.settings import parse_settings
from speechft.data.load import load_data
from speechft.encoders import build_encoder, load_encoder

QUICK = {"steps": 20, "learning_rates": [0.01], "checks": 2, "batch_size": 4}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alpha")
    config = {**CONFIG, "num_hidden_layers": 2}
    base = build_encoder(config, seed=0)
    base.save(folder / "base")
    with torch.no_grad():
        for name, parameter in base.model.named_parameters():
            if "encoder.layers" in name:
                noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
                parameter += 0.3 * noise
    base.save(folder / "tuned")
    write_tones(folder / "data")
    return folder


def settings(home, out, **more):
    values = {
        "base": home / "base",
        "tuned": [home / "tuned"],
        "data": str(home / "data" / "table.jsonl"),
        "out": out,
        "device": "cpu",
        **more,
    }
    return parse_settings(AlphaSettings, values, where="test")


def chosen(made):
    return json.loads((stage.choose_alpha(made) / "alpha.json").read_text())


def drift_at(made, text):
    cuts = list(load_data(made.data)["dev"])
    with open_way(made, "cpu") as way:
        return overall(drift(way.sample(0.0, cuts), way.sample(text, cuts)))


def test_the_largest_alpha_within_the_bound(home, tmp_path):
    made = settings(home, tmp_path / "out", bound=0.2, passes=6)
    found = chosen(made)
    assert drift_at(made, found["alpha"]) <= 0.2
    assert drift_at(made, str(float(found["alpha"]) * 1.07)) > 0.2
    measured = {row[0]: row[2] for row in found["rows"]}
    assert measured[found["alpha"]] == pytest.approx(drift_at(made, found["alpha"]), abs=1e-4)
    assert found["passes"] == 2 + sum(value is not None for value in measured.values())
    assert "without labels" in found["why"]
    wide = chosen(settings(home, tmp_path / "wide", bound=50.0))
    assert (wide["alpha"], wide["passes"]) == ("1", 2)


def test_two_passes_are_enough_where_they_are_believed(home, tmp_path):
    made = settings(home, tmp_path / "out", bound=0.2, passes=0)
    found = chosen(made)
    full = next(row[1] for row in found["rows"] if row[0] == "1")
    assert float(found["alpha"]) == pytest.approx(0.2 / full, abs=1.1e-3)
    assert found["passes"] == 2


def test_every_layer_by_itself(home, tmp_path):
    made = settings(home, tmp_path / "out", bound=0.2, by_layer=True, passes=6)
    found = chosen(made)
    first, second = numbers_of(found["alpha"])
    assert first > second > 0
    assert drift_at(made, found["alpha"]) <= 0.2


def test_states_are_those_of_the_encoders(home, tmp_path):
    made = settings(home, tmp_path / "out", frames=1000)
    cut = list(load_data(made.data)["dev"])[:1]
    with open_way(made, "cpu") as way:
        for alpha, name in ((0.0, "base"), (1.0, "tuned")):
            found = way.sample(alpha, cut)
            with torch.no_grad():
                from speechft.data.audio import load_waveform

                wanted = load_encoder(home / name).eval()([load_waveform(cut[0])]).hidden_states
            assert torch.allclose(found, torch.stack([one[0] for one in wanted]), atol=1e-5)


@pytest.mark.parametrize("by", ["probe", "interpolated"])
def test_dev_scores_choose(home, tmp_path, by):
    more = {"by": by, "tasks": ["sid", "er"], "source": "sid", "alphas": [0.5], "probe": QUICK}
    found = chosen(settings(home, tmp_path / by, **more))
    rows = {row[0]: row for row in found["rows"]}
    assert list(rows) == ["0", "0.5", "1"]
    best = max(rows, key=lambda alpha: (rows[alpha][3], -float(alpha)))
    assert found["alpha"] == best
    assert rows["0"][4:] == [0, 100, 100]
    kept = chosen(settings(home, tmp_path / f"{by}-kept", **more, retain=1.0))
    held = [a for a in rows if a == "0" or kept["rows"][list(rows).index(a)][6] >= 100]
    assert kept["alpha"] in held
    assert found["passes"] <= (3 if by == "probe" else 4)


def test_probes_that_have_hardly_learned_are_named(home, tmp_path):
    more = {"by": "probe", "tasks": ["asr", "sid"], "alphas": [0.5]}
    found = chosen(settings(home, tmp_path / "out", **more, probe={**QUICK, "steps": 1}))
    assert "At α = 0, 0.5, 1 the probe for ASR answers with less than half" in found["why"]
    assert "--set choose.probe.normalize=true" in found["why"]
    assert "probe for SID" not in found["why"]


@pytest.mark.parametrize("by", ["probe", "interpolated"])
def test_probes_read_normalized_states_where_that_is_asked_for(home, tmp_path, monkeypatch, by):
    from speechft.heads.linear import Probe

    seen, begin = [], Probe.__init__

    def noted(self, *args, **options):
        seen.append(options["normalize"])
        begin(self, *args, **options)

    monkeypatch.setattr(Probe, "__init__", noted)
    more = {"by": by, "tasks": ["asr"], "alphas": [0.5], "passes": 0}
    chosen(settings(home, tmp_path / "out", **more, probe={**QUICK, "steps": 1, "normalize": True}))
    assert seen
    assert all(seen)


def test_ends_are_probed_as_they_are_and_predictions_meet_them(home, tmp_path):
    more = {"by": "interpolated", "tasks": ["sid"], "probe": QUICK, "alphas": [0.5]}
    found = chosen(settings(home, tmp_path / "out", **more))
    for name, errors in found["error by layer (sd)"].items():
        assert errors["sid"][0] == pytest.approx(0, abs=1e-4)  # below all that was changed
        assert 0 < errors["sid"][-1] < 1, name


def test_it_is_done_once_and_again_for_other_data(home, tmp_path):
    made = settings(home, tmp_path / "out", passes=0)
    file = stage.choose_alpha(made) / "alpha.json"
    before, text = file.stat().st_mtime_ns, file.read_text()
    stage.choose_alpha(made)
    assert file.stat().st_mtime_ns == before
    stage.choose_alpha(settings(home, tmp_path / "out", passes=0, utterances=2))
    assert file.read_text() != text


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"by": "probe"}, "needs tasks"),
        ({"by": "probe", "tasks": ["sid"], "by_layer": True}, "by_layer is for"),
        ({"by": "probe", "tasks": ["qbe"]}, "trains no head"),
        ({"by": "interpolated", "tasks": ["nix"]}, "nix"),
        ({"by": "probe", "tasks": ["sid"], "probe": {"seeds": 1}}, "probe does not say seeds"),
        ({"by": "probe", "tasks": ["sid"], "probe": {"stepz": 1}}, "stepz"),
        ({"retain": 0.9}, "retain is read by probes"),
        ({"merge": {"method": "soup"}}, "needs a method with an alpha"),
        ({"alphas": [0.5, 1.0]}, "above 0 and below 1"),
    ],
)
def test_mistakes(home, tmp_path, more, said):
    with pytest.raises(SettingsError, match=said):
        settings(home, tmp_path, **more)


def test_mistakes_that_data_show(home, tmp_path):
    with pytest.raises(DataError, match="no split 'nix'"):
        stage.choose_alpha(settings(home, tmp_path / "a", split="nix"))
    more = {"by": "probe", "tasks": ["sid"], "source": "sid", "retain": 0.9}
    with pytest.raises(SettingsError, match="other tasks"):
        stage.choose_alpha(settings(home, tmp_path / "b", **more))

"""`speechft analyze`: weights by part, hidden states by layer, connectivity; and clear refusals."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from family_configs import config_of

from speechft.analysis import hidden_similarity, stage
from speechft.analysis.settings import RECORDS, AnalyzeSettings
from speechft.analysis.stage import VECTORS, analyze
from speechft.analysis.table import FIGURE, rows, summary
from speechft.analysis.weights import distances
from speechft.core.errors import DataError, IncompatibleModelsError, SettingsError
from speechft.data.audio import load_waveform
from speechft.data.load import load_data
from speechft.encoders import build_encoder, load_encoder


def settings(base, encoders, out, **more):
    values = {"data": "synthetic:tiny", "device": "cpu", "utterances": 4, **more}
    return AnalyzeSettings(base=str(base), encoders=encoders, out=out, **values)


def records(folder):
    return [json.loads(line) for line in (folder / RECORDS).read_text().splitlines()]


def changed(config, folder, change):
    encoder = build_encoder(config, seed=0)
    with torch.no_grad():
        for name, parameter in encoder.model.named_parameters():
            change(name, parameter)
    return encoder.save(folder)


@pytest.fixture
def base(tmp_path, tiny_config):
    return build_encoder(tiny_config, seed=0).save(tmp_path / "base")


def last_layer(name, parameter):
    if "encoder.layers.1." in name:
        parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))


def test_the_base_beside_itself(base, tmp_path):
    out = analyze(settings(base, [("same", str(base))], tmp_path / "out"))
    for one in records(out):
        wanted = 0 if one["measure"] == "distance" else 100
        assert one["value"] == pytest.approx(wanted, abs=1e-3)


def test_a_layer_that_changes_changes_what_lies_above_it(base, tmp_path, tiny_config):
    other = changed(tiny_config, tmp_path / "other", last_layer)
    found = records(analyze(settings(base, [("o", str(other))], tmp_path / "out")))
    parts = {r["part"]: r["value"] for r in found if r["measure"] == "distance"}
    assert parts["layer 2"] > 10
    assert parts["layer 1"] == parts["CNN front end"] == parts["rest"] == 0
    assert 0 < parts["all"] < parts["layer 2"]
    for measure in ("cka", "cosine"):
        values = [r["value"] for r in found if r["measure"] == measure]
        assert values[:2] == pytest.approx([100, 100], abs=1e-3)
        assert values[2] < 99
    between = [r for r in found if r["measure"] == "connectivity"]
    assert {r["alpha"] for r in between} == {0.25, 0.5}
    assert len(between) == 2 * 3


def test_connectivity_is_that_of_the_interpolated_encoder(base, tmp_path, tiny_config):
    other = changed(tiny_config, tmp_path / "other", last_layer)
    more = {"alphas": (0.5,), "utterances": 99}
    out = analyze(settings(base, [("o", str(other))], tmp_path / "out", **more))
    found = [r["value"] for r in records(out) if r["measure"] == "connectivity"]
    encoders = [load_encoder(folder).eval() for folder in (base, other)]
    middle = load_encoder(base).eval()
    start, end = (encoder.model.state_dict() for encoder in encoders)
    middle.model.load_state_dict({n: torch.lerp(start[n], end[n], 0.5) for n in start})
    cuts = list(load_data("synthetic:tiny")["test"])
    total, frames = 0.0, 0
    with torch.no_grad():
        for cut in cuts:
            wave = [load_waveform(cut)]
            a, b, m = (e(wave).hidden_states[-1][0] for e in (*encoders, middle))
            cosines = torch.nn.functional.cosine_similarity((a + b) / 2, m, dim=1)
            total, frames = total + float(cosines.sum()), frames + len(cosines)
    assert found[-1] == pytest.approx(100 * total / frames, abs=1e-2)
    assert found[0] == pytest.approx(100, abs=1e-3)


def test_batches_and_repetition_change_nothing(base, tmp_path, tiny_config):
    other = changed(tiny_config, tmp_path / "other", last_layer)
    one = records(analyze(settings(base, [("o", str(other))], tmp_path / "a", batch_seconds=2)))
    two = records(analyze(settings(base, [("o", str(other))], tmp_path / "b", batch_seconds=60)))
    for a, b in zip(one, two, strict=True):
        by_batch = a["measure"] == "unbiased_cka"  # a mean over batches
        assert a["value"] == pytest.approx(b["value"], abs=3 if by_batch else 1e-3)
    before = (tmp_path / "a" / RECORDS).stat().st_mtime_ns
    with pytest.raises(SettingsError, match="other settings"):
        analyze(settings(base, [("o", str(base))], tmp_path / "a", batch_seconds=2))
    analyze(settings(base, [("o", str(other))], tmp_path / "a", batch_seconds=2))
    assert (tmp_path / "a" / RECORDS).stat().st_mtime_ns == before


def test_the_page_the_figure_and_the_table(base, tmp_path, tiny_config):
    other = changed(tiny_config, tmp_path / "other", last_layer)
    encoders = [("same", str(base)), ("a|b", str(other))]
    out = analyze(settings(base, encoders, tmp_path / "out"))
    heads, cells = rows(records(out))
    assert heads[:4] == ["encoder", "distance", "CKA", "CKA last"]
    assert [row[0] for row in cells] == ["same", "a|b"]
    assert all(len(row) == len(heads) for row in cells)
    assert "a\\|b" in (out / "analysis.md").read_text("utf-8")
    assert (out / FIGURE).stat().st_size > 5000
    assert summary([r for r in records(out) if r["encoder"] == "same"])["distance"] == 0
    beside = [json.loads(line) for line in (out / VECTORS).read_text().splitlines()]
    assert beside[0] == {
        "measure": "vector cosine", "encoder": "same", "with": "a|b", "value": None
    }  # fmt: skip
    assert {r["measure"] for r in beside[1:]} == {"sign conflict", "deviation"}


def test_all_encoders_share_one_pass(base, tmp_path, tiny_config, monkeypatch):
    others = [
        changed(tiny_config, tmp_path / name, lambda n, p, by=by: p.mul_(by))
        for name, by in (("a", 1.1), ("b", 0.9))
    ]
    encoders = [(folder.name, str(folder)) for folder in others]
    heard = []
    load = hidden_similarity.load_waveform
    monkeypatch.setattr(
        hidden_similarity, "load_waveform", lambda cut: heard.append(cut.id) or load(cut)
    )
    together = records(analyze(settings(base, encoders, tmp_path / "together")))
    assert len(heard) == 4
    apart = records(analyze(settings(base, encoders, tmp_path / "apart", at_once=1)))
    assert len(heard) == 12
    assert together == apart


def test_an_encoder_of_another_shape(base, tmp_path, tiny_config):
    wider = {**tiny_config, "intermediate_size": 2 * tiny_config["intermediate_size"]}
    other = build_encoder(wider, seed=0).save(tmp_path / "wide")
    with pytest.raises(IncompatibleModelsError, match="different tensors"):
        analyze(settings(base, [("w", str(other))], tmp_path / "out"))
    analyze(settings(base, [("b", str(base))], tmp_path / "out"))  # the mistake leaves no mark


def test_a_split_that_is_not_there(base, tmp_path):
    with pytest.raises(DataError, match="no split 'nope'"):
        analyze(settings(base, [("s", str(base))], tmp_path / "out", split="nope"))


def test_two_encoders_of_one_name(base, tmp_path):
    with pytest.raises(SettingsError, match="same name"):
        analyze(settings(base, [str(base), str(base)], tmp_path / "out"))


@pytest.mark.parametrize("alphas", [(0.0,), (1.0,), (0.5, 0.5), (-1.0,)])
def test_alphas_that_make_no_sense(base, tmp_path, alphas):
    with pytest.raises(ValueError, match="alphas"):
        settings(base, [str(base)], tmp_path / "out", alphas=alphas)


def test_a_stopped_analysis_goes_on_with_the_encoder_it_was_at(base, tmp_path, monkeypatch):
    encoders = [(name, str(base)) for name in "abc"]
    seen = []
    compare = stage.compare_states

    def stops(*args):
        seen.append(len(seen))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return compare(*args)

    monkeypatch.setattr(stage, "compare_states", stops)
    with pytest.raises(KeyboardInterrupt):
        analyze(settings(base, encoders, tmp_path / "out", at_once=1))
    out = analyze(settings(base, encoders, tmp_path / "out", at_once=1))
    assert len(seen) == 4  # a, b, the stop at c, and c again
    assert [row[0] for row in rows(records(out))[1]] == ["a", "b", "c"]


def test_results_that_are_gone_are_measured_again(base, tmp_path):
    out = analyze(settings(base, [("o", str(base))], tmp_path / "out"))
    before = records(out)
    (out / RECORDS).write_text("")
    analyze(settings(base, [("o", str(base))], tmp_path / "out"))
    assert records(out) == before


def test_the_record_has_the_settings(base, tmp_path):
    """The page on analyses says so, and the record had none."""
    out = analyze(settings(base, [("o", str(base))], tmp_path / "out"))
    said = json.loads((out / "speechft.json").read_text())["settings"]
    assert said["encoders"] == [{"name": "o", "path": str(base)}]
    assert said["base"] == str(base)


def test_the_place_of_something_else_is_refused(base, tmp_path):
    before = (base / "config.json").read_bytes()
    (base / "speechft.json").write_text('{"stage": "merge"}')
    with pytest.raises(SettingsError, match="'merge' has made"):
        analyze(settings(base, [("o", str(base))], base))
    assert (base / "config.json").read_bytes() == before
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="is a file"):
        analyze(settings(base, [("o", str(base))], tmp_path / "file"))


def test_a_folder_of_foreign_files_is_refused(base, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / ".begun.json.x1.tmp").touch()  # of a first call that was killed
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(SettingsError, match=r"something else[\s\S]*found: +thesis\.tex\n"):
        analyze(settings(base, [("o", str(base))], out))
    assert len(list(out.iterdir())) == 2
    (out / "thesis.tex").unlink()
    analyze(settings(base, [("o", str(base))], out))
    (out / "notes.txt").write_text("beside results")
    analyze(settings(base, [("o", str(base))], out))


def test_a_device_that_is_not_there(base, tmp_path):
    with pytest.raises(SettingsError, match="device"):
        analyze(settings(base, [("o", str(base))], tmp_path / "out", device="xyz"))


def test_models_that_differ_outside_their_tensors_are_said(base, tmp_path, caplog):
    other = tmp_path / "other"
    shutil.copytree(base, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "hidden_act": "relu"}))
    analyze(settings(base, [("o", str(other))], tmp_path / "out"))
    assert "differs in hidden_act" in caplog.text


@pytest.mark.parametrize("name", ["a$y^^y$", "_under", "x" * 90])
def test_any_name_can_be_drawn(base, tmp_path, name):
    out = analyze(settings(base, [(name, str(base))], tmp_path / "out", utterances=1))
    assert (out / FIGURE).is_file()


@pytest.mark.parametrize("family", ["data2vec-audio", "whisper"])
def test_parts_are_those_of_the_encoder(family):
    start, end = (build_encoder(config_of(family), seed=0) for _ in range(2))
    with torch.no_grad():
        for key, parameter in end.model.named_parameters():
            if "pos_conv" in key or key.startswith("decoder."):
                parameter += 1
    found = distances(start, end)
    layers = {part for part in found if part.startswith("layer")}
    assert layers == {f"layer {n + 1}" for n in range(start.num_layers)}
    assert all(found[part] == 0 for part in layers)
    assert (found["all"] > 0) is (family == "data2vec-audio")

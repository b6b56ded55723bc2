"""Pre-training that goes on from an encoder: defaults, units, heads, what stays frozen, merging."""

import json
import logging
from dataclasses import asdict, fields

import numpy as np
import pytest
import torch
from pretrain_fixture import DECOAR, stopped_at
from safetensors.torch import load_file

from speechft.core.errors import SettingsError
from speechft.core.settings import parse_settings
from speechft.data.load import load_data
from speechft.encoders import build_encoder, load_encoder
from speechft.encoders.base import pad_waveforms
from speechft.encoders.convert import convert
from speechft.encoders.settings import ConvertSettings
from speechft.merging.settings import MergeSettings
from speechft.merging.stage import merge
from speechft.training.finetune.settings import FinetuneSettings
from speechft.training.loop import Loop, LoopSettings
from speechft.training.pretrain import iteration
from speechft.training.pretrain.continued_encoder import check_rates, resolve, unit_layer
from speechft.training.pretrain.masked_prediction import MaskedPrediction, UnitPredictor
from speechft.training.pretrain.settings import Iteration, PretrainSettings
from speechft.training.pretrain.speech import loop_settings
from speechft.training.pretrain.stage import pretrain
from speechft.training.pretrain.unit_cache import units_key
from speechft.training.pretrain.units import load_units


@pytest.fixture
def base(tiny_encoder, tmp_path):
    return tiny_encoder.save(tmp_path / "base")


@pytest.fixture
def settings(base, tmp_path):
    def make(name="run", **more):
        values = {
            "init": str(base),
            "out": tmp_path / name,
            "data": "synthetic:tiny@es",
            "iterations": [{"steps": 6, "clusters": 6, "learning_rate": 1e-3}],
            "seconds": 10,
            "evaluate_every": 3,
            "save_every": 2,
            "fit_seconds": 20,
            "head_warmup": 0.0,
            **more,
        }
        if values["iterations"] is None:
            del values["iterations"]
        return parse_settings(PretrainSettings, values, "test")

    return make


def weights(folder):
    return load_file(folder / "model.safetensors")


def moved(before, after):
    return {name for name in before if not torch.equal(before[name], after[name].cpu())}


def test_going_on_is_stable_fine_tuning_without_labels(tiny_config, tmp_path):
    common = {"data": "x", "out": tmp_path, "iterations": [{"steps": 5}]}
    on = PretrainSettings(init="some/encoder", **common)
    anew = PretrainSettings(init=tiny_config, **common)
    file = PretrainSettings(init="some/config.yaml", **common)
    stable = ("stable", True, 0.1, 1e-4)
    plain = ("warmup-decay", False, 0.0, 5e-4)
    for one, expected in ((on, stable), (anew, plain), (file, plain)):
        found = (one.schedule, one.freeze_front_end, one.head_warmup)
        assert (*found, one.iterations[0].learning_rate) == expected
    assert PretrainSettings(**on.model_dump()) == on
    said = {"schedule": "constant", "freeze_front_end": False, "head_warmup": 0.0}
    other = {**common, **said, "iterations": [{"steps": 5, "learning_rate": 2e-3}]}
    free = PretrainSettings(init="some/encoder", **other)
    assert (free.schedule, free.freeze_front_end, free.head_warmup) == ("constant", False, 0.0)
    assert free.iterations[0].learning_rate == 2e-3
    assert PretrainSettings(init="e", data="x", out=tmp_path, steps=3).learning_rate == 1e-4
    own = FinetuneSettings(encoder="e", task="pr", data="x", out=tmp_path)
    mine, other = (loop_settings(one, 5, 1e-4, "run") for one in (on, anew))
    assert (mine.clip, mine.weight_decay, mine.betas) == (own.clip, 0.0, (0.9, 0.999))
    assert own.clip == 1.0
    assert (other.clip, other.weight_decay, other.betas) == (10.0, 0.01, (0.9, 0.98))


def test_the_loop_is_told_all_that_it_shares_with_the_settings(tmp_path):
    own = {"accumulate": 3, "evaluate_every": 7, "save_every": 9, "precision": "bf16"}
    own |= {"log": "none", "optimiser": "adam-8bit"}
    shared = {f.name for f in fields(LoopSettings)} & PretrainSettings.model_fields.keys()
    assert shared == own.keys() | {"steps", "learning_rate", "seed"}
    given = PretrainSettings(init="e", data="x", out=tmp_path, steps=5, **own)
    assert asdict(loop_settings(given, 5, 1e-4, "run")).items() >= own.items()


@pytest.mark.parametrize(
    ("family", "objective"),
    [("hubert", None), ("wavlm", None), ("wav2vec2", "contrastive"), ("decoar2", "reconstruction")],
)
def test_steps_alone_mean_the_familys_own_objective(tiny_config, tmp_path, family, objective):
    config = DECOAR if family == "decoar2" else {**tiny_config, "model_type": family}
    encoder = build_encoder(config, seed=0)
    given = PretrainSettings(init="e", data="x", out=tmp_path, steps=7)
    found = resolve(given, encoder)
    assert found.objective == objective
    assert (found.schedule, found.freeze_front_end) == ("stable", True)
    if objective is None:
        assert [(i.steps, i.learning_rate) for i in found.iterations] == [(7, 1e-4)]
        assert found.steps is None
    else:
        assert (found.steps, found.mask_share) == (7, 0.65)


def test_a_quantiser_that_is_carried_keeps_its_sizes(tiny_config, tmp_path):
    config = {**tiny_config, "model_type": "wav2vec2"}
    books = {"groups": 2, "entries": 6, "width": 8}
    common = {"data": "synthetic:tiny@es", "seconds": 10, "objective": "contrastive"}
    first = {**common, "init": config, "steps": 2, "quantiser": books, "out": tmp_path / "first"}
    begun = load_encoder(pretrain(PretrainSettings(**first)))
    on = PretrainSettings(init="e", data="x", out=tmp_path, steps=2, objective="contrastive")
    assert resolve(on, begun).quantiser.model_dump(exclude={"spread"}).items() >= books.items()
    assert resolve(on, build_encoder(config, seed=0)).quantiser.entries == 320


@pytest.mark.parametrize(("layers", "expected"), [(12, 9), (24, 18), (4, 3), (2, 2), (1, 1)])
def test_the_layer_that_is_clustered(tiny_config, tmp_path, layers, expected):
    class Fake:
        num_layers = layers

    def layer(init, **more):
        given = {"init": init, "data": "x", "out": tmp_path, "iterations": [{"steps": 1}]}
        iteration = Iteration(steps=1, **more)
        return unit_layer(PretrainSettings(**given), iteration, Fake())

    assert layer("some/encoder") == expected
    assert layer("some/encoder", layer=0) == 0
    assert layer("some/encoder", layer="mfcc") is None
    assert layer(tiny_config) is None
    assert layer(tiny_config, layer=1) == 1
    with pytest.raises(SettingsError, match=f"0 to {layers}, or mfcc"):
        layer("some/encoder", layer=layers + 1)


def test_the_front_end_stays_and_the_rest_moves(settings, base):
    frozen = moved(weights(base), weights(pretrain(settings()) / "encoder"))
    assert frozen
    assert not any(name.startswith("feature_extractor") for name in frozen)
    free = settings("free", freeze_front_end=False)
    assert any(
        name.startswith("feature_extractor")
        for name in moved(weights(base), weights(pretrain(free) / "encoder"))
    )


def test_nothing_moves_while_the_head_settles(settings, base):
    long = settings(head_warmup=0.9, iterations=[{"steps": 5, "clusters": 6, "layer": 1}])
    seen = []
    real = Loop.run

    def watch(loop):
        objective = loop.objective
        original = objective.before_update
        model = objective.module["encoder"].model
        head = objective.module["predictor"].label_embs_concat

        def before_update(update):
            changed = moved(weights(base), model.state_dict())
            seen.append((len(changed), float(head.detach().sum())))
            original(update)

        objective.before_update = before_update
        return real(loop)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "run", watch)
        out = pretrain(long)
    assert [count for count, _ in seen] == [0] * 5
    assert len({total for _, total in seen}) > 2
    assert moved(weights(base), weights(out / "encoder"))  # the fifth and last update


def test_kept_features_and_waveforms_give_the_same_loss(settings, tiny_encoder):
    from speechft.hidden.decode_ahead import Waveforms
    from speechft.training.pretrain.masked_prediction import MaskedPrediction, UnitPredictor
    from speechft.training.pretrain.speech import Speech

    cuts = list(load_data("synthetic:tiny@es")["train"])
    speech = Speech(Waveforms(cuts), len(cuts), len(cuts))
    units = [np.zeros(400, np.int16) for _ in cuts]
    objective = MaskedPrediction(tiny_encoder, UnitPredictor(32, 4), units)
    kept = speech.inputs(settings(), tiny_encoder)
    losses = []
    for source in (kept, speech.source):
        tiny_encoder.eval()
        torch.manual_seed(0)
        losses.append(float(objective.loss([0, 1, 2], source.load([0, 1, 2]))[0].detach()))
    assert kept is not speech.source
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert speech.inputs(settings(mixing=0.2), tiny_encoder) is speech.source
    assert speech.inputs(settings(freeze_front_end=False), tiny_encoder) is speech.source


def test_stopped_and_run_again(settings):
    more = {"head_warmup": 0.3, "iterations": [{"steps": 6, "clusters": 6}]}
    whole = pretrain(settings("whole", **more))
    with stopped_at(4):
        pretrain(settings("stopped", **more))
    again = pretrain(settings("stopped", **more))
    assert not moved(weights(whole / "encoder"), weights(again / "encoder"))
    one, other = (load_encoder(f / "encoder").side.tensors for f in (whole, again))
    assert not moved(one, other)


@pytest.fixture
def clusterings(monkeypatch):
    """Counts how often units are learned."""
    calls, real = [], iteration.learn_units

    def spy(*arguments):
        calls.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(iteration, "learn_units", spy)
    return calls


def test_units_are_learned_once(settings, clusterings, units_folder):
    first = pretrain(settings("first"))
    second = pretrain(settings("second", mixing=0.5, seconds=8))
    assert len(clusterings) == 1
    one, other = (load_units(f / "iteration-1" / "units.npz") for f in (first, second))
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert len(list(units_folder.glob("*.npz"))) == 1


def test_all_that_makes_units_is_in_their_name(tiny_encoder, tiny_config):
    cuts = list(load_data("synthetic:tiny@es")["train"])
    other = build_encoder(tiny_config, seed=3)
    six, seven = Iteration(steps=1, clusters=6), Iteration(steps=1, clusters=7)
    smooth = Iteration(steps=1, clusters=6, smooth=3)
    german = list(load_data("synthetic:tiny@de")["train"])
    names = [
        units_key(six, 2, tiny_encoder, cuts, 0, 20.0),
        units_key(seven, 2, tiny_encoder, cuts, 0, 20.0),
        units_key(smooth, 2, tiny_encoder, cuts, 0, 20.0),
        units_key(six, 1, tiny_encoder, cuts, 0, 20.0),
        units_key(six, None, tiny_encoder, cuts, 0, 20.0),
        units_key(six, 2, other, cuts, 0, 20.0),
        units_key(six, 2, tiny_encoder, german, 0, 20.0),
        units_key(six, 2, tiny_encoder, cuts[::-1], 0, 20.0),
        units_key(six, 2, tiny_encoder, cuts[:-1], 0, 20.0),
        units_key(six, 2, tiny_encoder, [c.truncate(duration=1.0) for c in cuts], 0, 20.0),
        units_key(six, 2, tiny_encoder, cuts, 1, 20.0),
        units_key(six, 2, tiny_encoder, cuts, 0, 21.0),
    ]
    assert len(set(names)) == len(names)
    longer = Iteration(steps=9, clusters=6, learning_rate=3e-3)
    assert units_key(longer, 2, tiny_encoder, cuts, 0, 20.0) == names[0]
    assert units_key(six, None, other, cuts, 0, 20.0) == names[4]  # MFCCs know no encoder
    guided = Iteration(steps=1, clusters=6, layer=2, guide={"steps": 1, "seconds": 5})
    assert units_key(guided, 2, tiny_encoder, cuts, 0, 20.0) is None


def test_damaged_units_are_learned_anew(settings, clusterings, units_folder, caplog):
    pretrain(settings("first"))
    (path,) = units_folder.glob("*.npz")
    path.write_bytes(path.read_bytes()[:50])
    with caplog.at_level(logging.WARNING):
        pretrain(settings("second"))
    assert len(clusterings) == 2
    assert "learned again" in caplog.text
    pretrain(settings("third"))
    assert len(clusterings) == 2


def test_a_head_is_kept_for_the_same_units_alone(settings, base, caplog):
    taught = {"steps": 3, "clusters": 6, "layer": 1, "teacher": str(base)}
    first = pretrain(settings("first", iterations=[taught])) / "encoder"
    head = load_encoder(first).side.tensors
    assert head["label_embs_concat"].shape == (6, 128)
    start = {}
    real = Loop.run

    def watch(loop):
        start["head"] = {
            n: t.clone() for n, t in loop.objective.module["predictor"].state_dict().items()
        }
        return real(loop)

    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.INFO):
        patch.setattr(Loop, "run", watch)
        pretrain(settings("same", init=str(first), iterations=[taught]))
        assert not moved(start["head"], head)
        assert "head of the checkpoint is kept" in caplog.text
        for number, change in enumerate(({"layer": 2}, {"clusters": 5}, {"teacher": str(first)})):
            caplog.clear()
            rounds_ = [{**taught, **change}]
            pretrain(settings(f"other-{number}", init=str(first), iterations=rounds_))
            assert "head of the checkpoint is replaced" in caplog.text
            assert start["head"]["label_embs_concat"].shape[0] == rounds_[0]["clusters"]
            assert "final_proj.bias" in moved(start["head"], head)


def test_units_at_another_rate_are_refused(tiny_encoder):
    class Slow:
        hop, family, sample_rate = 640, "slow", 16000

    check_rates(tiny_encoder, tiny_encoder, 1)
    check_rates(tiny_encoder, Slow(), None)  # MFCCs are nobody's
    with pytest.raises(SettingsError, match=r"frame rate[\s\S]*20 ms[\s\S]*40 ms from a slow"):
        check_rates(tiny_encoder, Slow(), 1)
    with pytest.raises(SettingsError, match="20 ms from MFCCs"):
        check_rates(Slow(), Slow(), None)


def test_without_a_mask_embedding_it_is_said_before_anything_is_clustered(
    settings, tiny_config, tmp_path, clusterings
):
    bare = build_encoder({**tiny_config, "mask_time_prob": 0.0}, seed=0).save(tmp_path / "bare")
    with pytest.raises(SettingsError, match="no mask embedding"):
        pretrain(settings(init=str(bare)))
    assert clusterings == []


def test_a_wrong_layer_of_a_later_round_is_said_at_once(settings, tmp_path):
    wrong = [{"steps": 1, "clusters": 4}, {"steps": 1, "clusters": 4, "layer": 9}]
    with pytest.raises(SettingsError, match="no layer 9"):
        pretrain(settings(iterations=wrong))
    assert not (tmp_path / "run" / "iteration-1").exists()


def merged(base, tuned, out, alpha):
    values = {"base": str(base), "tuned": [str(tuned)], "out": out, "alpha": alpha}
    return merge(parse_settings(MergeSettings, values, "test"))


def test_what_was_continued_merges_with_where_it_began(settings, base, tmp_path):
    continued = pretrain(settings()) / "encoder"
    first, last = weights(base), weights(continued)
    ends = {
        alpha: weights(merged(base, continued, tmp_path / f"m{alpha}", alpha))
        for alpha in (0.0, 0.5, 1.0)
    }
    assert not moved(first, ends[0.0])
    assert not moved(last, ends[1.0])
    middle = "encoder.layers.0.feed_forward.output_dense.weight"
    torch.testing.assert_close(ends[0.5][middle], (first[middle] + last[middle]) / 2)


def test_a_file_of_another_toolkit_goes_on_and_merges(settings, base, tmp_path):
    """S3PRL's format with HuBERT's head in it: names and units of its own stay in the base."""
    file = tmp_path / "hubert.pt"
    convert(ConvertSettings(source=str(base), target=file, to="s3prl"))
    begun = load_encoder(file)
    assert begun.side.tensors["label_embs_concat"].shape == (504, 256)
    run = pretrain(settings(init=str(file)))
    record = json.loads((run / "speechft.json").read_text())
    assert record["parents"]["init"] == begun.fingerprint()
    assert load_encoder(run).side.tensors["label_embs_concat"].shape == (6, 128)
    out = tmp_path / "merged"
    merged(file, run / "encoder", out, 0.0)
    assert not moved(weights(base), weights(out))
    back = tmp_path / "continued.pt"
    convert(ConvertSettings(source=str(run / "encoder"), target=back, to="s3prl"))
    assert load_encoder(back).fingerprint() == load_encoder(run).fingerprint()
    content = torch.load(back, weights_only=True)
    assert (
        content["model_cfg"]["final_dim"] == len(content["model_weight"]["final_proj.bias"]) == 128
    )
    assert len(content["dictionaries_symbols"][0]) == 6


def test_wavlms_format_has_no_place_for_a_head(settings, tiny_config, tmp_path):
    """Its readers fill the encoder strictly; the head stays beside the Hugging Face weights."""
    wavlm = build_encoder({**tiny_config, "model_type": "wavlm"}, seed=0).save(tmp_path / "wavlm")
    run = pretrain(settings(init=str(wavlm), mixing=0.3))
    assert "label_embs_concat" in load_encoder(run).side.tensors
    file = tmp_path / "wavlm.pt"
    convert(ConvertSettings(source=str(run / "encoder"), target=file, to="s3prl"))
    names = torch.load(file, weights_only=True)["model"]
    assert not [name for name in names if name.startswith(("final_proj", "label_embs"))]
    assert load_encoder(file).fingerprint() == load_encoder(run).fingerprint()


def test_going_on_from_hubert_is_hubert(tiny_config):
    """Weight 0 on unmasked frames, 500 clusters, batches of 87.5 s, the penalty where it counts."""
    base = {"data": "x.csv", "out": "x", "iterations": [{"steps": 5, "layer": 9}]}
    on, trained, anew, own = (
        PretrainSettings(**base, **more)
        for more in (
            {"init": "some/encoder"},
            {"init": "some/encoder", "freeze_front_end": False},
            {"init": tiny_config},
            {"init": "some/encoder", "seconds": 14, "unmasked_weight": 0.5},
        )
    )
    assert (on.unmasked_weight, on.iterations[0].clusters, on.seconds) == (0.0, 500, 87.5)
    assert (on.feature_penalty, trained.feature_penalty, anew.feature_penalty) == (0.0, 10.0, 0.0)
    assert (anew.unmasked_weight, anew.iterations[0].clusters, anew.seconds) == (0.5, 100, 14.0)
    assert (own.unmasked_weight, own.seconds) == (0.5, 14.0)


def test_the_penalty_is_the_mean_square_of_a_trained_front_end(tiny_encoder):
    units = {0: np.zeros(60, np.int32)}
    predictor = UnitPredictor(tiny_encoder.hidden_size, 3)
    items = [torch.randn(16000)]

    def loss(penalty):
        torch.manual_seed(0)
        objective = MaskedPrediction(
            tiny_encoder, predictor, units, feature_penalty=penalty, dev=lambda: []
        )
        objective.module.eval()
        return objective.loss([0], items)[0]

    features, lengths = tiny_encoder.front_end(*pad_waveforms(items))
    wanted = 10 * features[0, : int(lengths[0])].square().mean()
    torch.testing.assert_close(loss(10.0) - loss(0.0), wanted, rtol=1e-3, atol=1e-4)
    for parameter in tiny_encoder.front_end_parameters().values():
        parameter.requires_grad_(False)
    assert loss(10.0) == loss(0.0)

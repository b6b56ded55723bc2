"""What a GPU would refuse since tensors lie on two devices, without one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from evaluate_fixture import evaluation
from family_configs import FAMILIES, config_of
from finetune_fixture import moved, settings
from pretend_gpu import GpuTensor, pretend_gpu
from pretrain_fixture import DECOAR, stopped_at
from tiny_configs import ONE_LAYER

from speechft.analysis.alpha.settings import AlphaSettings
from speechft.analysis.alpha.stage import choose_alpha
from speechft.analysis.settings import AnalyzeSettings
from speechft.analysis.stage import analyze
from speechft.core.files import read_jsonl
from speechft.core.settings import parse_settings
from speechft.encoders import build_encoder
from speechft.prediction.embed import embed
from speechft.prediction.interfaces import MTEBEncoder, XaresEncoder, XaresLLMEncoder
from speechft.prediction.predict import predict
from speechft.prediction.settings import EmbedSettings, PredictSettings
from speechft.probing.evaluate import evaluate
from speechft.tasks.dtw import normalise, search
from speechft.tasks.kept_head import HEAD
from speechft.training.finetune.stage import finetune
from speechft.training.pretrain.settings import PretrainSettings
from speechft.training.pretrain.stage import pretrain

BOOKS = {"groups": 2, "entries": 8, "width": 16}
QUICK = {"steps": 4, "batch_size": 4, "checks": 2, "learning_rates": 0.01}
HEARD = {"array": np.zeros(8000, np.float32), "sampling_rate": 16000}
UNITS = {"clusters": 8, "fit_seconds": 20, "layer": 1}


@pytest.fixture(autouse=True)
def _gpu():
    with pretend_gpu():
        yield


def speech(*samples):
    generator = torch.Generator().manual_seed(0)
    return [0.1 * torch.randn(n, generator=generator) for n in samples]


def test_the_pretence_itself():
    there, here = torch.randn(3, 4).to("cuda"), torch.randn(3, 4)
    assert (there.device, here.device.type) == (torch.device("cuda", 0), "cpu")
    for fails in (
        lambda: there + here,
        lambda: here + there,
        lambda: here + there.sum(),
        lambda: torch.cat([there, here]),
        lambda: here[there[:, 0] > 0],
        lambda: there.bernoulli(generator=torch.Generator()),
        lambda: torch.rand(3, device="cuda", generator=torch.Generator()),
        lambda: there.pin_memory(),
    ):
        with pytest.raises(RuntimeError):
            fails()
    for fails in (there.numpy, lambda: np.asarray(there)):
        with pytest.raises(TypeError):
            fails()
    for made in (there + here.sum(), there[here[:, 0] > 0], torch.zeros(3, device="cuda")):
        assert isinstance(made, GpuTensor)
    assert float(there.sum()) == float(there.cpu().sum())
    assert here.requires_grad_().to("cuda").square().sum().backward() is None
    assert torch.equal(here.grad, 2 * here)
    layer = torch.nn.Linear(4, 2)
    weight = layer.weight
    layer.to("cuda")
    assert layer.weight is weight
    assert weight.is_cuda
    assert isinstance(weight, torch.nn.Parameter)
    with torch.autocast("cuda", torch.bfloat16):
        assert layer(there).dtype == torch.bfloat16
        layer(there).float().sum().backward()
    assert weight.grad.is_cuda
    torch.optim.Adam(layer.parameters()).step()
    with pytest.raises(RuntimeError):
        layer(here)


@pytest.mark.parametrize("family", [*sorted(FAMILIES), "fbank"])
def test_states_are_those_of_the_cpu(family):
    config = config_of(family) if family in FAMILIES else {"model_type": family}
    encoder = build_encoder(config, seed=0).eval()
    waves = speech(16000, 9000, 31000)
    with torch.no_grad():
        wanted = encoder(waves)
        found = encoder.to("cuda")(waves)
    assert found.lengths.tolist() == wanted.lengths.tolist()
    for one, other in zip(found.hidden_states, wanted.hidden_states, strict=True):
        assert one.is_cuda
        for row, length in enumerate(wanted.lengths.tolist()):
            torch.testing.assert_close(
                one[row, :length].cpu(), other[row, :length], rtol=0, atol=1e-4
            )


@pytest.fixture
def base(tmp_path):
    return build_encoder({**ONE_LAYER, "mask_time_prob": 0.05}, seed=0).save(tmp_path / "base")


ALL = {
    **{"ema": 0.9, "average_last": 0.5, "guard": "warn", "mask_share": 0.2, "mask_channels": 0.2},
    **{"checkpointing": True, "micro_batch": 4, "optimiser": "adam", "spec_augment": True},
}
REPLAYED = {"rehearsal_share": 0.5, "rehearsal_data": "synthetic:tiny", "rehearsal_seconds": 20.0}
REHEARSED = {**REPLAYED, "rehearsal_clusters": 8, "rehearsal_warmup": 2}


@pytest.mark.parametrize(
    "more",
    [
        {"task": "asr", **ALL},
        {"task": "er", "method": "l2sp", "micro_batch": "auto", "precision": "no"},
        {"task": "pr", "method": "lora", "keep_at": (0.5,)},
        {"method": "replay", **REPLAYED},
        REHEARSED,
        {"task": "pc", "method": "regular", "context": "utterance", "encoder": "whisper"},
    ],
    ids=["all", "l2sp", "lora", "replay", "rehearsal", "whisper"],
)
def test_fine_tuning_stopped_and_resumed(base, tmp_path, more):
    if more.get("encoder") == "whisper":
        base = build_encoder(config_of("whisper"), seed=0).save(tmp_path / "whisper")
    more = {"steps": 4, "evaluate_every": 2, "save_every": 2, **more, "encoder": base}
    chosen = settings(more.pop("encoder"), tmp_path / "run", **more)
    with stopped_at(4):
        finetune(chosen)
    finetune(chosen)
    assert moved(tmp_path / "run" / "encoder", base)


@pytest.mark.parametrize("objective", ["masked-prediction", "contrastive", "reconstruction"])
def test_pre_training(tmp_path, objective):
    init = {
        "masked-prediction": {**ONE_LAYER, "mask_time_prob": 0.05},
        "contrastive": {**ONE_LAYER, "model_type": "wav2vec2"},
        "reconstruction": DECOAR,
    }[objective]
    values = {
        **{"init": init, "out": tmp_path / "run", "data": "synthetic:tiny", "seconds": 10},
        **{"steps": 4, "evaluate_every": 2, "save_every": 2, "objective": objective},
        **(UNITS if objective == "masked-prediction" else {"quantiser": BOOKS}),
    }
    chosen = parse_settings(PretrainSettings, values, "test")
    with stopped_at(4):
        pretrain(chosen)
    pretrain(chosen)


@pytest.mark.parametrize(
    "more",
    [
        {"tasks": ("sid", "pr", "er", "asr", "ctc:text"), "precision": "bfloat16"},
        {"tasks": ("sid", "pr"), "store": "kept", "keep": "pooled", "keep_heads": True},
        {"tasks": ("sid", "er"), "protocol": "s3prl", "keep": "none"},
    ],
    ids=["bfloat16", "store", "s3prl"],
)
def test_evaluation(evaluation_home, tmp_path, more):
    more |= {"store": tmp_path / "kept"} if "store" in more else {}
    out = evaluate(evaluation(evaluation_home, tmp_path / "out", device="cuda", **more))
    found = {record["task"] for record in read_jsonl(out / "results.jsonl")}
    assert found == set(more["tasks"])


def test_search(evaluation_home):
    encoder = build_encoder(dict(ONE_LAYER), seed=0).eval()
    frames = [s[0] for s in (encoder([w]).hidden_states[-1] for w in speech(9000, 16000))]
    queries, documents = normalise([[f.cuda() for f in frames]] * 2)
    found = search(queries, documents)
    queries, documents = normalise([frames] * 2)
    torch.testing.assert_close(found, search(queries, documents))


def test_embedding_and_prediction(evaluation_home, tmp_path):
    clip = evaluation_home / "data" / "test-0.wav"
    plain = {"encoder": evaluation_home / "one", "audio": (str(clip),), "device": "cuda"}
    for more in ({}, {"pooled": True, "precision": "bfloat16"}, {"dtype": "float16"}):
        values = {**plain, **more, "out": tmp_path / "states.safetensors", "overwrite": True}
        assert embed(parse_settings(EmbedSettings, values, "test")).is_file()
    data = str(evaluation_home / "data" / "table.jsonl")
    for task in ("sid", "asr"):
        made = settings(evaluation_home / "one", tmp_path / task, task=task, data=data, steps=2)
        values = {**plain, "encoder": finetune(made) / "encoder", "window": 1, "overlap": 0.1}
        (record,) = predict(parse_settings(PredictSettings, values, "test"))
        assert "error" not in record
    assert len(MTEBEncoder(evaluation_home / "one").encode([{"audio": [HEARD]}])) == 1
    audio = torch.stack(speech(8000, 8000))
    states, kept = XaresLLMEncoder(evaluation_home / "one")(audio, torch.ones(2, 8000).long())
    assert [states.is_cuda, kept.is_cuda] == [True, True]
    assert XaresEncoder(evaluation_home / "one")(audio).is_cuda


def test_analysis_and_choice_of_alpha(evaluation_home, tmp_path):
    base, other = (str(evaluation_home / name) for name in ("one", "two"))
    data = str(evaluation_home / "data" / "table.jsonl")
    head = finetune(settings(base, tmp_path / "run", task="er", data=data, steps=2)) / HEAD
    given = {"base": base, "data": data, "device": "cuda"}
    heads = {"barriers": data, "heads": (head,), "utterances": 2, "alphas": (0.5,)}
    analyze(AnalyzeSettings(**given, encoders=(other,), out=tmp_path / "analysis", **heads))
    for by, more in (
        ("similarity", {}),
        ("interpolated", {"tasks": ["sid", "pr"], "source": "sid"}),
    ):
        more |= {"alphas": [0.5], "probe": QUICK} if more else {}
        values = {**given, "tuned": [other], "out": tmp_path / by, "by": by, **more}
        choose_alpha(parse_settings(AlphaSettings, values, where="test"))

"""What the release does besides the method: SpecAugment, the best encoder, CER for Mandarin."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from finetune_fixture import settings
from lhotse import MonoCut, SupervisionSegment
from recipe_fixture import settings as recipe

from speechft.core.errors import SettingsError
from speechft.data.batching import BalancedBatches
from speechft.encoders import build_encoder
from speechft.heads.spec_augment import SpecAugment
from speechft.pipeline.recipe.stage import plan_run
from speechft.probing.settings import EvaluateSettings
from speechft.tasks import TASKS
from speechft.training.finetune.settings import FinetuneSettings
from speechft.training.finetune.stage import finetune


@pytest.fixture
def base(tmp_path, tiny_config):
    return build_encoder(tiny_config, seed=0).save(tmp_path / "base")


def test_asr_and_sf_are_augmented_at_the_papers_size(base, tmp_path, monkeypatch):
    """In training alone: two updates and two evaluations, and no draw where it is off."""
    calls = []

    def noted(self, x, lengths):
        calls.append(tuple(x.shape))
        return x

    monkeypatch.setattr(SpecAugment, "forward", noted)
    same = {"steps": 2, "evaluate_every": 1, "seconds": 4}
    finetune(settings(base, tmp_path / "mini", task="asr", **same))
    finetune(settings(base, tmp_path / "pr", task="pr", head_size="superb", **same))
    off = {"head_size": "superb", "spec_augment": False}
    finetune(settings(base, tmp_path / "off", task="asr", **off, **same))
    assert calls == []
    finetune(settings(base, tmp_path / "asr", task="asr", head_size="superb", **same))
    assert len(calls) == 2
    assert calls[0][2] == 32  # the last hidden state
    said = json.loads((tmp_path / "asr" / "speechft.json").read_text())["depends"]
    assert said["spec_augment"] is True
    small = json.loads((tmp_path / "mini" / "speechft.json").read_text())["depends"]
    assert "spec_augment" not in small
    with pytest.raises(ValueError, match="spec_augment is for asr and sf"):
        settings(base, tmp_path / "x", task="sid", spec_augment=True)


def test_a_recipe_merges_the_best_encoder_unless_told_otherwise(base, tmp_path):
    """As the release: what is evaluated as θ' is the one that is merged."""
    for take, part in ((None, "encoder-best"), ("best", "encoder-best"), ("last", "encoder")):
        merge = {} if take is None else {"merge": {"take": take}}
        plan = plan_run(recipe(base, **merge), tmp_path / "out")
        by_verb = {step.verb: step.settings for step in plan.steps}
        wanted = str(tmp_path / "out" / "seed-0" / "finetune-sid" / part)
        assert by_verb["merge"].tuned == (wanted,)
        specs = {spec.name: spec for spec in by_verb["evaluate"].encoders}
        assert specs["finetuned-sid"].path == specs["sid@0.5"].tuned == wanted


def test_a_recipe_merges_an_average_where_its_fine_tuning_keeps_one(base, tmp_path):
    for take, setting in (("ema", {"ema": 0.99}), ("average", {"average_last": 0.2})):
        tuning = {"task": "sid", "steps": 3}
        with pytest.raises(SettingsError, match=f"keeps no encoder-{take}"):
            plan_run(recipe(base, finetune=tuning, merge={"take": take}), tmp_path / "out")
        ours = recipe(base, finetune=tuning | setting, merge={"take": take})
        merge = next(
            s.settings for s in plan_run(ours, tmp_path / "out").steps if s.verb == "merge"
        )
        assert merge.tuned[0].endswith(f"/finetune-sid/encoder-{take}")


def _cut(text):
    supervision = SupervisionSegment("s", "r", 0.0, 1.0, text=text)
    return MonoCut("c", 0.0, 1.0, 0, supervisions=[supervision])


def test_text_without_spaces_is_selected_by_cer():
    mandarin = TASKS["asr"].from_cuts([_cut("今天天气很好"), _cut("我们去公园 OK")])
    english = TASKS["asr"].from_cuts([_cut("it's a fine day")])
    assert (mandarin.leading, english.leading) == ("cer", "wer")
    # One wrong character is 100 % WER in Mandarin: WER cannot tell the two hypotheses apart.
    references = ["今天天气很好"]
    good, bad = (mandarin.choose([text], references) for text in ("今天天气很妙", "明夭夭汽恨妙"))
    assert (next(iter(good)), good["wer"], bad["wer"]) == ("cer", 100.0, 100.0)
    assert good["cer"] < bad["cer"]
    assert next(iter(english.choose(["a"], ["a"]))) == "wer"
    assert next(iter(english.selecting("cer").choose(["a"], ["a"]))) == "cer"
    assert mandarin.selecting("wer").leading == "wer"
    with pytest.raises(SettingsError, match="no metric 'per'"):
        english.selecting("per")


@pytest.mark.parametrize("text", ["今天天气很好", "ЭТО ДОМ", "MAÑANA"])
def test_s3prls_letters_are_for_english_alone(text):
    """Else every symbol is unknown, and who answers so is right: paper/unsupervised is Mandarin."""
    task = TASKS["asr"].from_cuts([_cut(text)], "s3prl")
    assert task.reference(_cut(text)) == text
    assert task.vocabulary[1] not in [task.vocabulary[i] for i in task.target(_cut(text)).tolist()]
    assert task.score(["<unk>" * len(text)], [text])["cer"] >= 100
    assert task.leading == ("cer" if text[0] == "今" else "wer")


def test_select_overrides_in_finetune_and_evaluate(base, tmp_path):
    same = {"task": "asr", "steps": 1, "evaluate_every": 1, "seconds": 4}
    finetune(settings(base, tmp_path / "cer", select="cer", **same))
    with pytest.raises(SettingsError, match="no metric 'acc'"):
        finetune(settings(base, tmp_path / "acc", select="acc", **same))
    with pytest.raises(ValueError, match="select is for one task"):
        settings(base, tmp_path / "two", task="asr,sid", select="cer")
    values = {"encoders": [str(base)], "data": "synthetic:tiny", "out": Path("x")}
    with pytest.raises(ValueError, match="select names the task 'pr'"):
        EvaluateSettings(**values, tasks=["asr"], select={"pr": "per"})
    plain, by_cer = (
        EvaluateSettings(**values, tasks=["asr"], select=select) for select in ({}, {"asr": "cer"})
    )
    from speechft.probing.cells import make_cell

    cells = [make_cell("e", "w", "asr", 0, {}, one) for one in (plain, by_cer)]
    assert cells[0].key != cells[1].key
    assert "select" not in cells[0]._depends


def test_augmenting_keeps_padding_and_evaluation_apart():
    """Masks are drawn anew for each batch; nothing is drawn in evaluation."""
    torch.manual_seed(0)
    module, x = SpecAugment(), torch.ones(2, 60, 32)
    changed = module(x, torch.tensor([60, 40]))
    assert changed.shape == x.shape
    assert (changed == 0).any()
    assert torch.equal(module.eval()(x, torch.tensor([60, 40])), x)
    assert FinetuneSettings.model_fields["spec_augment"].default is None


def test_the_preset_paper_takes_what_the_release_says(base, tmp_path):
    def paper(task, **more):
        given = {"data": "x.csv", "out": tmp_path / "x", "preset": "paper"}
        return FinetuneSettings(encoder=str(base), task=task, **given, **more)

    asr, er, sid, ks = map(paper, ("asr", "er", "sid", "ks"))
    assert (asr.steps, asr.batch_size, asr.seconds) == (50_000, 16, None)
    assert (er.steps, er.batch_size) == (30_000, 32)
    assert (sid.batch_size, ks.batch_size) == (32, 32)
    assert [one.balanced for one in (asr, er, sid, ks)] == [False, False, False, True]
    assert {(one.precision, one.activation_dropout) for one in (asr, er, sid, ks)} == {("no", 0.0)}
    mine = paper("asr", steps=5, seconds=20.0, precision="bf16")
    assert (mine.steps, mine.seconds, mine.batch_size, mine.precision) == (5, 20.0, 16, "bf16")
    plain = FinetuneSettings(encoder=str(base), task="er", data="x.csv", out=tmp_path)
    assert (plain.steps, plain.seconds, plain.batch_size) == (None, 64.0, None)
    assert plain.activation_dropout is None


def test_batches_of_so_many_utterances_without_activation_dropout(base, tmp_path, monkeypatch):
    """What the preset sets is what training does."""
    from speechft.training.finetune import run

    seen = []

    class Noted(run.Run):
        def train(self):
            seen.append(self)
            return super().train()

    monkeypatch.setattr("speechft.training.finetune.stage.Run", Noted)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "activation_dropout": 0.1}))
    small = {"head_size": "mini", "steps": 1, "evaluate_every": 1, "task": "er"}
    out = finetune(settings(base, tmp_path / "run", preset="paper", **small, seconds=None))
    sizes = {len(batch) for batch in seen[0]._batches().epoch(0)}
    assert max(sizes) == min(32, seen[0].utterances)
    dropouts = [
        module.p
        for name, module in seen[0].encoder.named_modules()
        if name.endswith("intermediate_dropout")
    ]
    assert dropouts == [0.0, 0.0]
    assert json.loads((out / "encoder" / "config.json").read_text())["activation_dropout"] == 0.1
    assert seen[0].settings.precision == "no"


def test_balanced_batches_draw_every_class_alike():
    classes = ["many"] * 90 + ["few"] * 10
    batches = BalancedBatches([1.0] * 100, classes, 8.0, 0, None)
    drawn = [classes[i] for epoch in range(20) for batch in batches.epoch(epoch) for i in batch]
    assert len(drawn) == 2000
    assert 0.45 < drawn.count("few") / len(drawn) < 0.55
    assert batches.epoch(3) == batches.epoch(3) != batches.epoch(4)
    assert max(len(batch) for batch in batches.epoch(0)) == 8

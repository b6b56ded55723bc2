"""Stable fine-tuning inside transformers' Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import HubertConfig, HubertForCTC, HubertModel, Trainer, TrainingArguments

from speechft.core.errors import SettingsError, SpeechFTError
from speechft.training.schedule import three_phase
from speechft.training.trainer_callback import StableFineTuning

STEPS = 10


class Utterances(torch.utils.data.Dataset):  # type: ignore[type-arg]
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, Any]:
        wave = torch.randn(8000, generator=torch.Generator().manual_seed(index))
        return {"input_values": wave, "labels": torch.tensor([1 + index, 2])}


def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {key: torch.stack([item[key] for item in items]) for key in items[0]}


class Watch(StableFineTuning):
    """Also keeps the encoder's and the front end's weights before each update, and the rates."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.seen: list[dict[str, Any]] = []

    def on_step_end(
        self, args: Any, state: Any, control: Any, model: Any = None, **more: Any
    ) -> None:
        self.seen.append({"lr": more["optimizer"].param_groups[0]["lr"], **weights(model)})


def weights(model: Any) -> dict[str, Any]:
    layer = model.hubert.encoder.layers[0].attention.q_proj.weight
    front = model.hubert.feature_extractor.conv_layers[0].conv.weight
    head = model.lm_head.weight
    return {n: w.detach().clone() for n, w in (("layer", layer), ("front", front), ("head", head))}


@pytest.fixture
def base(tmp_path: Path, tiny_config: dict[str, Any]) -> Path:
    torch.manual_seed(0)
    HubertModel(HubertConfig(**tiny_config)).save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def train(base: Path, out: Path, callback: StableFineTuning, **changes: Any) -> HubertForCTC:
    torch.manual_seed(1)
    model = HubertForCTC.from_pretrained(base, vocab_size=8, ctc_zero_infinity=True)
    settings = {
        "output_dir": str(out),
        "max_steps": STEPS,
        "learning_rate": 1e-2,
        "per_device_train_batch_size": 2,
        "report_to": "none",
        "use_cpu": True,
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    arguments = TrainingArguments(**{**settings, **changes})
    Trainer(
        model, arguments, train_dataset=Utterances(), data_collator=collate, callbacks=[callback]
    ).train()
    return model


def test_phases(base: Path, tmp_path: Path) -> None:
    before = weights(HubertForCTC.from_pretrained(base, vocab_size=8))
    watch = Watch(base, head_warmup=0.3)
    model = train(base, tmp_path / "run", watch)
    moved = [not torch.equal(seen["layer"], before["layer"]) for seen in watch.seen]
    assert moved == [False] * 3 + [True] * 7
    assert all(torch.equal(seen["front"], before["front"]) for seen in watch.seen)
    heads = [seen["head"] for seen in watch.seen]
    # The first update has a rate of 0.
    assert not torch.equal(heads[1], heads[0])
    assert [seen["lr"] for seen in watch.seen] == pytest.approx(
        [1e-2 * three_phase(index + 1, STEPS) for index in range(STEPS)]
    )
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_merged_model_is_between_and_keeps_the_head(base: Path, tmp_path: Path) -> None:
    model = train(base, tmp_path / "run", StableFineTuning(base, alpha=0.5))
    merged = HubertForCTC.from_pretrained(tmp_path / "run" / "merged")
    start = HubertModel.from_pretrained(base)
    name = "encoder.layers.1.feed_forward.output_dense.weight"
    old, new = start.get_parameter(name), model.hubert.get_parameter(name)
    assert not torch.equal(old, new)
    torch.testing.assert_close(merged.hubert.get_parameter(name), (old + new) / 2)
    assert torch.equal(merged.lm_head.weight, model.lm_head.weight)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["merged"]


def test_what_was_frozen_before_stays_so(base: Path) -> None:
    model = HubertForCTC.from_pretrained(base, vocab_size=8)
    model.hubert.encoder.layers[0].requires_grad_(False)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    state = State()
    for _ in range(2):  # the second time after a stop, with a callback of its own
        state.global_step = 0
        callback = StableFineTuning(base, merge=False, freeze_front_end=False)
        callback.on_train_begin(Arguments(), state, None, model=model, lr_scheduler=scheduler)
        assert not any(p.requires_grad for p in model.hubert.parameters())
    state.global_step = 1
    callback.on_step_begin(Arguments(), state, None, model=model)
    assert {name for name, p in model.named_parameters() if not p.requires_grad} == frozen
    callback.on_train_end(Arguments(), state, None, model=model)
    assert {name for name, p in model.named_parameters() if not p.requires_grad} == frozen


class State:
    max_steps, global_step = 10, 0


class Arguments:
    world_size = 1


def begin(base: Path, scheduler: type, **given: Any) -> None:
    model = HubertModel.from_pretrained(base)
    made = scheduler(torch.optim.SGD(model.parameters(), lr=0.1), **given)
    callback = StableFineTuning(base)
    callback.on_train_begin(Arguments(), State(), None, model=model, lr_scheduler=made)


def test_a_schedule_that_is_no_factor(base: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be replaced"):
        begin(base, torch.optim.lr_scheduler.ReduceLROnPlateau)


def test_a_head_that_does_not_move_cannot_be_trained_alone(base: Path) -> None:
    """A decoder that shares its weights with the output, as Whisper's does, is no head either."""
    model = HubertForCTC.from_pretrained(base, vocab_size=8)
    model.lm_head.requires_grad_(False)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        torch.optim.SGD(model.parameters(), lr=0.1), lambda _: 1.0
    )
    given = {"model": model, "lr_scheduler": scheduler}
    with pytest.raises(
        SettingsError, match=r"no head that could be trained alone[\s\S]*head_warmup"
    ):
        StableFineTuning(base, merge=False).on_train_begin(Arguments(), State(), None, **given)
    other = StableFineTuning(base, merge=False, head_warmup=0)
    other.on_train_begin(Arguments(), State(), None, **given)
    assert not model.lm_head.weight.requires_grad


def test_a_bare_encoder_has_no_head(base: Path) -> None:
    with pytest.raises(SettingsError, match="no encoder with a head"):
        begin(base, torch.optim.lr_scheduler.LambdaLR, lr_lambda=lambda _: 1.0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"alpha": 3.0}, "far beyond both"),
        ({"alpha": "auto"}, "needs data"),
        ({"alpha": "0:1:0.5"}, "a sweep holds no heads"),
        ({"base": "gone"}, "no such encoder"),
        ({"out": "."}, "something else in the output's place"),
        ({}, "cannot be merged"),
    ],
)
def test_what_cannot_be_merged_is_said_before_the_training(
    base: Path, tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    if not given:  # a base that is not the model's
        config = HubertConfig.from_pretrained(base)
        config.num_hidden_layers += 1
        HubertModel(config).save_pretrained(tmp_path / "other")
        given = {"base": tmp_path / "other"}
    watch = Watch(**{"base": base, **given})
    with pytest.raises(SpeechFTError, match=said):
        train(base, tmp_path / "run", watch)
    assert not watch.seen
    assert not [*(tmp_path / "run").iterdir()]

"""Stable fine-tuning inside transformers' Trainer, and the merge at its end."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

from torch import nn
from transformers import TrainerCallback

from speechft.core.errors import SettingsError
from speechft.core.logging import get_logger
from speechft.core.settings import parse_settings
from speechft.encoders.family import record_of
from speechft.merging.settings import MergeSettings
from speechft.training.freezing import FreezePlan, set_trainable
from speechft.training.schedule import three_phase

log = get_logger(__name__)
_MOVABLE: Final[WeakKeyDictionary[nn.Module, list[nn.Parameter]]] = WeakKeyDictionary()
"""What may move of models in training; one that was stopped has its encoder frozen, perhaps."""


class StableFineTuning(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Make transformers' Trainer fine-tune as Speech-FT does, and merge when it has ended.

    The CNN front end stays frozen, the head learns alone for the first tenth of the updates, and
    the rate rises over 10 %, holds for 40 % and falls over 50 % of them, in the place of the
    Trainer's own schedule. At the end the encoder is interpolated with the pretrained one; the
    head, the processor and the tokenizer go along. The model's base class is the encoder (`.hubert`
    of a `HubertForCTC`), all else is the head.

        trainer = Trainer(model, …, callbacks=[StableFineTuning("facebook/hubert-base-ls960")])
        trainer.train()                     # and merged/ holds the merged model

    Args:
        base: the pretrained encoder θ0, an ENCODER.
        out: folder of the merged model; `merged` in the Trainer's `output_dir` if not given.
        alpha: how far to go from θ0 (0) to θ' (1), or any other alpha that `merge` takes.
        head_warmup: share of the updates in which the head is trained alone.
        freeze_front_end: whether the CNN front end stays frozen.
        merge: whether to merge at the end.

    Source: Lin et al. 2026, stable fine-tuning and interpolation.
    """

    def __init__(
        self,
        base: Path | str,
        *,
        out: Path | str | None = None,
        alpha: float | str = 0.25,
        head_warmup: float = 0.1,
        freeze_front_end: bool = True,
        merge: bool = True,
    ) -> None:
        self.base, self.out, self.alpha, self.merge = base, out, alpha, merge
        self.head_warmup, self.freeze_front_end = head_warmup, freeze_front_end
        self.plan = FreezePlan(1)

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **given: Any
    ) -> None:
        """Take the place of the schedule, and freeze.

        Raises:
            SettingsError: the model has no encoder with a head on it, the Trainer's schedule
                cannot be replaced, or several processes would wait for frozen weights; alpha or
                `out` is wrong.
            CheckpointError: θ0 is not there, or the model is not of its kind.
        """
        del control
        if args.world_size > 1 and not args.ddp_find_unused_parameters:
            raise SettingsError(
                "several processes would wait for the gradients of frozen weights",
                where="TrainingArguments",
                hint="set ddp_find_unused_parameters=True",
            )
        self.plan = FreezePlan(state.max_steps, self.head_warmup, self.freeze_front_end)
        outer: Any = given.get("lr_scheduler")
        scheduler = getattr(outer, "scheduler", outer)
        if not hasattr(scheduler, "lr_lambdas"):
            raise SettingsError(
                "the Trainer's schedule cannot be replaced",
                where="TrainingArguments.lr_scheduler_type",
                expected="one that is a factor of the rate, such as linear",
                found=type(scheduler).__name__,
            )
        total = state.max_steps
        scheduler.lr_lambdas = [lambda index: three_phase(index, total)] * len(scheduler.lr_lambdas)
        for group, rate in zip(scheduler.optimizer.param_groups, scheduler.base_lrs, strict=True):
            group["lr"] = rate * three_phase(state.global_step, total)
        model = _unwrapped(model)
        _MOVABLE.setdefault(model, [p for p in model.parameters() if p.requires_grad])
        self._refuse_no_head(model, state.global_step)
        if self.merge and state.is_world_process_zero:
            from speechft.merging.stage import check

            with self._stored(args, model, given) as settings:
                check(settings)  # what cannot be merged is said now, and not after hours
        self._freeze(model, state.global_step)

    def on_step_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
    ) -> None:
        """Let the encoder move from the update on at which it is its turn."""
        del args, control
        if state.global_step + 1 == self.plan.first_encoder_update:
            self._freeze(_unwrapped(model), state.global_step)

    def on_train_end(
        self, args: Any, state: Any, control: Any, model: Any = None, **given: Any
    ) -> None:
        """Merge θ0 and what was trained; every weight may move again that could before."""
        del control
        model = _unwrapped(model)
        set_trainable(_MOVABLE.pop(model, ()), True)
        if not self.merge or not state.is_world_process_zero:
            return
        from speechft.merging.stage import merge

        with self._stored(args, model, given) as settings:
            merge(settings)
        log.info("merged with alpha %s: %s", self.alpha, settings.out)

    @contextmanager
    def _stored(self, args: Any, model: Any, given: Mapping[str, Any]) -> Iterator[MergeSettings]:
        """Give the merge with the model as it is now, which lies in a folder meanwhile."""
        out = Path(self.out or Path(args.output_dir) / "merged")
        with tempfile.TemporaryDirectory(prefix="speechft-", dir=args.output_dir) as folder:
            model.save_pretrained(folder)
            if (processor := given.get("processing_class")) is not None:
                processor.save_pretrained(folder)
            said = {"base": str(self.base), "alpha": self.alpha, "heads": "tuned"}
            values = {**said, "tuned": (folder,), "out": out}
            yield parse_settings(MergeSettings, values, where="StableFineTuning")

    def _refuse_no_head(self, model: nn.Module, done: int) -> None:
        own = set(map(id, _encoder_of(model).parameters()))
        if not self.plan.encoder_moves(done + 1) and all(id(p) in own for p in _MOVABLE[model]):
            raise SettingsError(
                "the model has no head that could be trained alone",
                where="Trainer's model",
                expected="parameters outside of the encoder that may move",
                found=type(model).__name__,
                hint="give head_warmup=0",
            )

    def _freeze(self, model: nn.Module, done: int) -> None:
        encoder = _encoder_of(model)
        movable = set(map(id, _MOVABLE.get(model, ())))
        own = [p for p in encoder.parameters() if id(p) in movable]
        set_trainable(own, self.plan.encoder_moves(done + 1))
        if self.freeze_front_end:
            prefixes = record_of(str(encoder.config.model_type)).encoder.front_end_prefixes
            named = encoder.named_parameters()
            set_trainable((p for name, p in named if name.startswith(prefixes)), False)


def _unwrapped(model: Any) -> Any:
    return getattr(model, "module", model)


def _encoder_of(model: Any) -> Any:
    """Give the encoder inside a transformers model with a head."""
    encoder = getattr(model, "base_model", model)
    if encoder is model:
        raise SettingsError(
            "the model has no encoder with a head on it",
            where="Trainer's model",
            expected="a class such as HubertForCTC or WavLMForSequenceClassification",
            found=type(model).__name__,
        )
    return encoder

"""LoRA and DoRA on speech encoders through PEFT: presets, coverage, merging back."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Final, Literal

from torch import nn

from speechft.core.errors import SettingsError
from speechft.core.logging import quieten_kernels
from speechft.core.nearest_names import did_you_mean
from speechft.encoders import SpeechEncoder
from speechft.encoders.families import record_of
from speechft.encoders.family import ADAPTER_PRESETS

AdapterKind = Literal["lora", "dora"]

PRESETS: Final = tuple(ADAPTER_PRESETS)


@dataclass(frozen=True)
class Coverage:
    """What adapters cover: the adapted layers, and the share of the transformer's linear layers."""

    adapted: tuple[str, ...]
    linear: int
    parameters: int

    @property
    def share(self) -> float:
        """Adapted linear layers over all linear layers of the transformer, in percent."""
        return 100 * len(self.adapted) / max(1, self.linear)

    def to_dict(self) -> dict[str, int]:
        """Give plain values."""
        counts = {"layers": len(self.adapted), "of": self.linear}
        return {**counts, "parameters": self.parameters}


def add_adapters(
    encoder: SpeechEncoder,
    kind: AdapterKind,
    *,
    rank: int = 16,
    scale: float = 32.0,
    targets: tuple[str, ...] = (),
) -> Coverage:
    """Put adapters around the linear layers of the transformer's blocks, in place.

    Args:
        encoder: gets the adapters; all its other parameters should be frozen by the caller.
        kind: `lora` or `dora`.
        rank: rank r of the update.
        scale: LoRA's alpha; the update is scaled by scale / rank.
        targets: which linear layers of the blocks to adapt: presets (`all`, `attention`,
            `query-value`, `feed-forward`), ends of layer names (`q_proj`, `ffn1.output_dense`) or
            patterns (`encoder.layers.1.*`); all if none is given.

    Raises:
        SettingsError: a target matches no layer, or there is none.
    """
    quieten_kernels()  # peft imports bitsandbytes where it is there
    from peft import LoraConfig, inject_adapter_in_model

    linear = block_linears(encoder)
    matched = {target: _matching(encoder.family, target, linear) for target in targets or ("all",)}
    lost = [target for target, names in matched.items() if not names]
    if lost:
        endings = sorted({name.rsplit(".", 1)[-1] for name in linear})
        raise SettingsError(
            f"no layer to adapt for {', '.join(lost)}",
            where=f"adapter targets, {encoder.family}",
            expected=", ".join([*PRESETS, *endings]) if linear else "linear layers in its blocks",
            hint=did_you_mean(lost[0], [*PRESETS, *endings]),
        )
    wanted = {name for names in matched.values() for name in names}
    chosen = [name for name in linear if name in wanted]
    config = LoraConfig(
        r=rank, lora_alpha=scale, target_modules=chosen, use_dora=kind == "dora", lora_dropout=0.0
    )
    inject_adapter_in_model(config, encoder.model)
    added = sum(p.numel() for n, p in encoder.model.named_parameters() if "lora_" in n)
    return Coverage(tuple(chosen), len(linear), added)


def merge_adapters(encoder: SpeechEncoder) -> None:
    """Fold the adapters into the layers they wrap and take them away, in place."""
    quieten_kernels()
    from peft.tuners.lora import LoraLayer

    wrapped = [(n, m) for n, m in encoder.model.named_modules() if isinstance(m, LoraLayer)]
    for name, layer in wrapped:
        layer.merge(safe_merge=True)
        parent_name, _, child = name.rpartition(".")
        setattr(encoder.model.get_submodule(parent_name), child, layer.get_base_layer())


def block_linears(encoder: SpeechEncoder) -> list[str]:
    """Give the names of the linear layers inside the blocks that take part in encoding."""
    trained = encoder.encoder_parameters()
    return [
        name
        for name, module in encoder.model.named_modules()
        if isinstance(module, nn.Linear) and ".layers." in name and f"{name}.weight" in trained
    ]


def _matching(family: str, target: str, names: list[str]) -> list[str]:
    """Give the layers that a preset, an end of a name, or a pattern stands for."""
    patterns = {**ADAPTER_PRESETS, **record_of(family).adapters}.get(target, (target,))
    return [n for n in names if any(fnmatch(n, p) or fnmatch(n, f"*.{p}") for p in patterns)]

"""LoRA and DoRA on speech encoders through PEFT: presets, coverage, merging back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from speechft.core.errors import SettingsError
from speechft.encoders import SpeechEncoder

AdapterKind = Literal["lora", "dora"]


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
        targets: last parts of layer names to adapt (`q_proj`); none means all linear layers of
            the blocks.

    Raises:
        SettingsError: a target matches no layer.
    """
    from peft import LoraConfig, inject_adapter_in_model

    linear = block_linears(encoder)
    endings = {name.rsplit(".", 1)[-1] for name in linear}
    lost = [target for target in targets if target not in endings]
    if lost or not linear:
        raise SettingsError(
            f"no layer to adapt for {', '.join(lost) or encoder.family}",
            where="adapter targets",
            expected=", ".join(sorted(endings)) or "linear layers in transformer blocks",
        )
    chosen = [n for n in linear if not targets or n.rsplit(".", 1)[-1] in targets]
    config = LoraConfig(
        r=rank, lora_alpha=scale, target_modules=chosen, use_dora=kind == "dora", lora_dropout=0.0
    )
    inject_adapter_in_model(config, encoder.model)
    added = sum(p.numel() for n, p in encoder.model.named_parameters() if "lora_" in n)
    return Coverage(tuple(chosen), len(linear), added)


def merge_adapters(encoder: SpeechEncoder) -> None:
    """Fold the adapters into the layers they wrap and take them away, in place."""
    from peft.tuners.lora import LoraLayer

    wrapped = [(n, m) for n, m in encoder.model.named_modules() if isinstance(m, LoraLayer)]
    for name, layer in wrapped:
        layer.merge(safe_merge=True)
        parent_name, _, child = name.rpartition(".")
        setattr(encoder.model.get_submodule(parent_name), child, layer.get_base_layer())


def block_linears(encoder: SpeechEncoder) -> list[str]:
    """Give the names of the linear layers inside the transformer's blocks."""
    return [
        name
        for name, module in encoder.model.named_modules()
        if isinstance(module, nn.Linear) and ".layers." in f".{name}"
    ]

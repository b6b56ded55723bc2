"""Memory for the output of frozen CNN front ends, shared by whoever has the same front end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from speechft.core.files import hash_json
from speechft.encoders import SpeechEncoder

# Of a configuration: where it comes from, and the type in which its weights were stored.
_SAYS_NOTHING = {"_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype"}


class KeptFeatures:
    """Features (T, C) by front end and audio, up to a limit.

    When there is no more room, the front end that was asked for longest ago is forgotten; features
    of the one in use stay, and further ones are not kept.

    Args:
        limit_bytes: memory that all features may take.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = self._room = limit_bytes
        self._of: dict[str, dict[Hashable, Tensor]] = {}

    def __reduce__(self) -> tuple[type[KeptFeatures], tuple[int]]:
        return KeptFeatures, (self._limit,)  # another process starts with nothing

    def shelf(self, encoder: SpeechEncoder, keys: Sequence[Hashable]) -> Shelf:
        """Give the place of an encoder's front end.

        Args:
            encoder: its front end must stay as it is while the shelf is in use.
            keys: what tells the audio of each index from any other that is kept here.
        """
        name = front_end_hash(encoder)
        self._of[name] = self._of.pop(name, {})  # the last one is the one in use
        return Shelf(self, name, keys)

    def find(self, front_end: str, key: Hashable) -> Tensor | None:
        """Give what is kept, if anything."""
        return self._of.get(front_end, {}).get(key)

    def keep(self, front_end: str, key: Hashable, features: Tensor) -> None:
        """Keep features on the CPU where there is room."""
        own, size = self._of.setdefault(front_end, {}), _size(features)
        if key in own:
            return
        for other in [name for name in self._of if name != front_end]:
            if size <= self._room:
                break
            self._room += sum(_size(found) for found in self._of.pop(other).values())
        if size > self._room:
            return
        self._room -= size
        there = features.detach().cpu()
        whole = there.untyped_storage().nbytes() == size
        own[key] = there if whole else there.clone()  # a view would hold all that it is cut from


@dataclass(frozen=True)
class Shelf:
    """One front end's features, by index.

    Attributes:
        kept: where they lie.
        front_end: hash of the front end.
        keys: of each index.
    """

    kept: KeptFeatures
    front_end: str
    keys: Sequence[Hashable]

    def __contains__(self, index: int) -> bool:
        return self.get(index) is not None

    def get(self, index: int) -> Tensor | None:
        """Give features (T, C), if they are there."""
        return self.kept.find(self.front_end, self.keys[index])

    def load(
        self, indices: Sequence[int], compute: Callable[[Sequence[int]], list[Tensor]]
    ) -> list[Tensor]:
        """Give what is kept; what is not is computed, and kept where there is room.

        Args:
            indices: what is wanted.
            compute: gives the features of some of it.
        """
        found = {i: self.get(i) for i in indices}
        missing = [i for i, features in found.items() if features is None]
        new = dict(zip(missing, compute(missing) if missing else [], strict=True))
        for i, features in new.items():
            self.keep(i, features)
        return [own if (own := found[i]) is not None else new[i] for i in indices]

    def keep(self, index: int, features: Tensor) -> None:
        """Keep features where there is room."""
        self.kept.keep(self.front_end, self.keys[index], features)


def front_end_hash(encoder: SpeechEncoder) -> str:
    """Hash all that the front end's output depends on besides the audio."""
    digest = hashlib.sha256()
    for name, parameter in sorted(encoder.front_end_parameters().items()):
        digest.update(f"{name} {parameter.dtype}".encode())
        digest.update(parameter.detach().float().cpu().numpy().tobytes())
    device = encoder.device.type
    precision = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    config = {k: v for k, v in encoder.config.to_dict().items() if k not in _SAYS_NOTHING}
    return digest.hexdigest() + hash_json([config, encoder.preprocessor, device, str(precision)])


def _size(features: Tensor) -> int:
    return features.numel() * features.element_size()

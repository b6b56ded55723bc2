"""What a frozen front end makes of utterances: computed once, kept where there is room for it."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Hashable, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import IO, Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechft.core.artifact import hash_values
from speechft.core.lengths import pad_waveforms
from speechft.core.logging import get_logger
from speechft.encoders import SpeechEncoder
from speechft.encoders.checkpoint import fingerprint
from speechft.encoders.identity import computing
from speechft.hidden.decode_ahead import DecodedAhead

log = get_logger(__name__)


class KeptFeatures:
    """Features (T, C) by front end and audio, in memory up to a limit.

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

    def of(self, front_end: str) -> dict[Hashable, Tensor]:
        """Give what is kept of a front end, by audio; it counts as the one in use."""
        self._of[front_end] = self._of.pop(front_end, {})
        return self._of[front_end]

    def keep(self, front_end: str, key: Hashable, features: Tensor) -> bool:
        """Keep features on the CPU where there is room; tell whether they are there."""
        own, size = self.of(front_end), features.nbytes
        while size > self._room and len(self._of) > 1 and key not in own:
            oldest = next(iter(self._of))
            self._room += sum(found.nbytes for found in self._of.pop(oldest).values())
        if key in own or size > self._room:
            return key in own
        self._room -= size
        there = features.detach().cpu()
        whole = there.untyped_storage().nbytes() == size
        own[key] = there if whole else there.clone()  # a view would hold all that it is cut from
        return True


class FeatureFile:
    """Features (T, C) of one front end in a file without a name, up to a limit.

    The file is gone with the process, however that ends.

    Args:
        folder: on whose disk it lies.
        limit_bytes: that it may grow to.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder, self._room = folder, limit_bytes
        self._file: IO[bytes] | None = None
        self._places: dict[Hashable, tuple[int, tuple[int, ...]]] = {}
        self._end = 0
        self._lock = Lock()

    def get(self, key: Hashable) -> Tensor | None:
        """Give features, if they are there."""
        if self._file is None or key not in self._places:
            return None
        start, shape = self._places[key]
        data = bytearray(4 * math.prod(shape))
        os.preadv(self._file.fileno(), [data], start)
        return torch.frombuffer(data, dtype=torch.float32).reshape(shape)

    def keep(self, key: Hashable, features: Tensor) -> None:
        """Write float32 features where there is room; on a full disk no more are written."""
        data: bytes = features.detach().cpu().numpy().astype("float32", copy=False).tobytes()
        with self._lock:
            if key in self._places or len(data) > self._room:
                return
            try:
                self._file = self._file or tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
                self._file.seek(self._end)
                self._file.write(data)
                self._file.flush()
            except OSError as error:
                log.warning("%s: features are kept no more on the disk: %s", self._folder, error)
                self._room = 0
                return
            self._places[key] = self._end, tuple(features.shape)
            self._end += len(data)
            self._room -= len(data)


class FrontEndCache:
    """Gives front-end features by index; what does not fit the limit is computed again each time.

    Where the front end has other rows than frames (Whisper) it gives waveforms, as `Waveforms`.

    Args:
        encoder: its front end must stay frozen while the cache is in use.
        cuts: the cuts, in the order that indices refer to.
        limit_bytes: memory that the cache may take, where it is its own.
        kept: features that others have computed or will need; None: a memory of its own.
        keys: what tells the audio of each cut from any other, in `kept` and on the disk.
        file: for what memory has no room for.

    Attributes:
        asked: utterances that were asked for.
        served: those of them that were kept.
    """

    def __init__(
        self,
        encoder: SpeechEncoder,
        cuts: Sequence[Any],
        limit_bytes: int = 4 << 30,
        kept: KeptFeatures | None = None,
        keys: Sequence[Hashable] = (),
        file: FeatureFile | None = None,
    ) -> None:
        self.encoder = encoder
        self.waveforms = DecodedAhead(cuts)
        self.durations = self.waveforms.durations
        self._kept = KeptFeatures(limit_bytes) if kept is None else kept
        self.keys: Sequence[Hashable] = range(len(cuts)) if kept is None else keys
        self._file, self.asked, self.served = file, 0, 0

    @cached_property
    def _front_end(self) -> str:
        """Which front end it is; known once the encoder is where it computes."""
        return front_end_id(self.encoder)

    def name(self, index: int) -> str:
        """Give the id of an utterance."""
        return str(self.waveforms.cuts[index].id)

    def expect(self, indices: Sequence[int]) -> None:
        """Say what will be asked for, in its order, so that audio is decoded ahead of need."""
        own = self._kept.of(self._front_end)
        self.waveforms.expect([i for i in indices if self.keys[i] not in own])

    def load(self, indices: Sequence[int]) -> list[Tensor]:
        """Give features (T, C), on the CPU, for each index, or 1-D waveforms."""
        if not self.encoder.front_end_by_frames:
            return self.waveforms.load(indices)
        own = self._kept.of(self._front_end)
        found = {i: own.get(self.keys[i]) for i in indices}
        if self._file is not None:
            found |= {i: self._file.get(self.keys[i]) for i, one in found.items() if one is None}
        missing = [i for i, one in found.items() if one is None]
        self.asked += len(found)
        self.served += len(found) - len(missing)
        new = dict(zip(missing, self._compute(missing) if missing else [], strict=True))
        for i, computed in new.items():
            kept = self._kept.keep(self._front_end, self.keys[i], computed)
            if not kept and self._file is not None:
                self._file.keep(self.keys[i], computed)
        return [features for i in indices if (features := new.get(i, found[i])) is not None]

    def _compute(self, indices: Sequence[int]) -> list[Tensor]:
        # Whole dev splits are held: what is not kept may not fill the GPU either.
        return [own.cpu() for own in features_of(self.encoder, self.waveforms.load(indices))]


def front_end_id(encoder: SpeechEncoder) -> str:
    """Give the identity of all that the front end's output depends on besides the audio."""
    device = encoder.device.type
    precision = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    tensors = fingerprint(encoder.front_end_parameters())
    config = computing(encoder.config.to_dict())
    return hash_values([tensors, config, encoder.preprocessor, device, str(precision)])


def front_end_output(encoder: SpeechEncoder, items: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Give the front end's features (B, T, C) and lengths (B,) on the encoder's device.

    Args:
        encoder: the encoder.
        items: 1-D waveforms, or features (T, C) that the front end made of each utterance.
    """
    device = encoder.device
    if items[0].dim() == 1:
        waveforms, samples = pad_waveforms(items)
        return encoder.front_end(waveforms.to(device), samples.to(device))
    lengths = torch.tensor([len(item) for item in items], dtype=torch.long)
    return pad_sequence(list(items), batch_first=True).to(device), lengths.to(device)


@torch.no_grad()
def features_of(encoder: SpeechEncoder, waveforms: Sequence[Tensor]) -> list[Tensor]:
    """Give a frozen front end's features (T, C) of each 1-D waveform, on the encoder's device.

    On a CPU every utterance goes through alone, so that its features do not depend, not even in the
    last bit, on which batch asked for them first. A GPU would wait for the calls of so little work:
    there all go together, and a last bit may differ.
    """
    if not waveforms:
        return []
    alone = encoder.device.type == "cpu"
    found: list[Tensor] = []
    for group in [[wave] for wave in waveforms] if alone else [list(waveforms)]:
        features, frames = front_end_output(encoder, group)
        pairs = zip(features, frames.tolist(), strict=True)
        found += [own[:length].float() for own, length in pairs]
    return found

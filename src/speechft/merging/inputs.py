"""From what a user names to the tensors of an encoder.

Hugging Face folders and safetensors files are read without torch; all other formats (S3PRL,
fairseq, WavLM, DeCoAR files, pickled Hugging Face weights, adapters) by the encoders' readers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from speechft.core.artifact import content_id
from speechft.core.errors import CheckpointError
from speechft.encoders.identity import HUB_ID, locate
from speechft.merging.dtypes import Array
from speechft.merging.matching import FAIRSEQ
from speechft.merging.sources import INDEX, WEIGHTS, MappingSource, Source, open_file, open_folder

#: Weights in a folder that are no safetensors of the encoder itself.
_OTHER_WEIGHTS = ("pytorch_model*.bin", "adapter_model.safetensors", "adapter_model.bin")


class CheckpointSource(MappingSource):
    """Tensors of an encoder that was read by the encoders' readers.

    Args:
        checkpoint: what `speechft.encoders.formats.read_checkpoint` gave.
        label: path or id, for messages.
    """

    def __init__(self, checkpoint: Any, label: str) -> None:
        arrays, dtypes = to_arrays(checkpoint.tensors)
        config = checkpoint.config.to_dict()
        super().__init__(label, arrays, dtypes, config=config, digest=self._hash)
        self.checkpoint = checkpoint

    def _hash(self) -> str:
        where: Path = self.checkpoint.where
        if where.is_file():
            return content_id(where)
        files = sorted({f for pattern in _OTHER_WEIGHTS for f in where.glob(pattern)})
        hashes = "".join(content_id(file) for file in files)
        return hashlib.sha256(hashes.encode()).hexdigest()


def open_encoder(name: str | Path, *, base: str | Path | None = None) -> Source:
    """Open an encoder for merging.

    Args:
        name: a folder (also a fine-tuning run's), a file, a packaged name or a Hub id.
        base: BASE, where `name` is a TUNED that may need its configuration (S3PRL downstream
            checkpoints, adapters).

    Raises:
        CheckpointError: nothing is there, or it cannot be read.
    """
    path, label = find(name), str(name)
    if path.is_dir() and any((path / weights).is_file() for weights in (WEIGHTS, INDEX)):
        return open_folder(path, label)
    if path.suffix == ".safetensors" and path.is_file():
        source = open_file(path, label)
        if not any(stored.startswith(FAIRSEQ) for stored in source.tensors):
            return source
        source.close()
    from speechft.encoders.load import read_checkpoint

    return CheckpointSource(read_checkpoint(path, base=None if base is None else find(base)), label)


def find(name: str | Path) -> Path:
    """Give the path of an encoder; a Hub id is downloaded, or taken from the cache.

    Raises:
        CheckpointError: nothing is there, or the Hub cannot be reached.
    """
    path = Path(name).expanduser()
    packaged = Path(str(resources.files("speechft"))) / "assets" / str(name)
    if not path.exists() and (packaged / "config.json").is_file():
        path = packaged
    if not path.exists():
        if not HUB_ID.fullmatch(str(name)):
            raise CheckpointError(
                "there is no such encoder",
                where=name,
                expected="a folder, a checkpoint file, a Hub id (owner/name) or a packaged name",
                hint="check the path",
            )
        path = locate(str(name))
    inner = path / "encoder"
    if path.is_dir() and not (path / "config.json").exists() and inner.is_dir():
        return inner
    return path


def to_arrays(tensors: Mapping[str, Any]) -> tuple[dict[str, Array], dict[str, str]]:
    """Give torch tensors as NumPy arrays; bfloat16 as its bits, with the type's name apart."""
    import torch

    arrays: dict[str, Array] = {}
    dtypes: dict[str, str] = {}
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        if plain.dtype == torch.bfloat16:
            dtypes[name] = "BF16"
            plain = plain.view(torch.uint16)
        arrays[name] = plain.numpy()
    return arrays, dtypes

"""Encoders as users name them, and their tensors: safetensors files, other formats, in memory.

Hugging Face folders and safetensors files are read without torch; all other formats (S3PRL,
fairseq, WavLM, DeCoAR files, pickled Hugging Face weights, adapters) by the encoders' readers.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speechft.core.artifact import content_id
from speechft.core.errors import CheckpointError
from speechft.core.logging import get_logger
from speechft.encoders.identity import (
    ADAPTER,
    ADAPTER_OF,
    WEIGHTS,
    locate,
    other_base,
    read_json_object,
    shards_of,
    stored_preprocessor,
)
from speechft.encoders.wrapped_names import plain_names
from speechft.merging.tensorfile import STORAGE, Array, TensorFile, TensorInfo, decode

log = get_logger(__name__)
INDEX = "model.safetensors.index.json"
#: How names begin that only fairseq and S3PRL use.
FAIRSEQ = ("post_extract_proj.", "encoder.pos_conv.")
#: Weights in a folder that are no safetensors of the encoder itself.
_OTHER_WEIGHTS = ("pytorch_model*.bin", "adapter_model.safetensors", "adapter_model.bin")


class Source(ABC):
    """The tensors of one encoder, readable by parts from any thread.

    Args:
        label: path or id, for messages, the card and the provenance.
        tensors: name → type and shape, in stored order.
        config: the encoder's config.json, if there is one.
        folder: where files like preprocessor_config.json lie, if it is a folder.
    """

    def __init__(
        self,
        label: str,
        tensors: Mapping[str, TensorInfo],
        config: Mapping[str, Any] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.label = label
        self.tensors = dict(tensors)
        self.config = None if config is None else dict(config)
        self.folder = folder

    @abstractmethod
    def read(self, name: str, start: int, stop: int, into: Array | None = None) -> Array:
        """Give the stored bits of elements [start, stop) of a tensor, 1-D; `into` may hold them."""

    @abstractmethod
    def sha256(self) -> str:
        """Give the SHA-256 of the weights."""

    def values(
        self, name: str, start: int = 0, stop: int | None = None, into: Array | None = None
    ) -> Array:
        """Give elements [start, stop) in the type that arithmetic is done in (float32), 1-D."""
        info = self.tensors[name]
        stored = self.read(name, start, info.count if stop is None else stop, into)
        return decode(stored, info.dtype)

    def close(self) -> None:
        """Close what is open."""
        return None


class SafetensorsSource(Source):
    """Tensors of one safetensors file or of several shards.

    Args:
        label: path or id, for messages.
        files: the file, or the shards in the order of their names.
        folder: where config.json and others lie.
    """

    def __init__(self, label: str, files: Sequence[Path], folder: Path) -> None:
        self._files = [TensorFile(path) for path in files]
        self._home: dict[str, TensorFile] = {}
        tensors: dict[str, TensorInfo] = {}
        for file in self._files:
            named = plain_names(file.tensors, file.path)
            for name, info in sorted(named.items(), key=lambda item: item[1].begin):
                if name in tensors:
                    raise CheckpointError("a tensor is in two shards", where=file.path, found=name)
                tensors[name] = info
                self._home[name] = file
        config = folder / "config.json"
        found = read_json_object(config) if config.is_file() else None
        if found and not isinstance(found.get("model_type", ""), str):
            raise CheckpointError(
                "the configuration names no model type",
                where=config,
                expected="model_type, such as hubert",
                found=repr(found["model_type"]),
            )
        super().__init__(label, tensors, found, folder)

    def read(self, name: str, start: int, stop: int, into: Array | None = None) -> Array:
        """Give the stored bits of elements [start, stop) of a tensor, 1-D; `into` may hold them."""
        return self._home[name].read(self.tensors[name], start, stop, into)

    def sha256(self) -> str:
        """Give the SHA-256 of the file, or of the shards' hashes in order."""
        hashes = [content_id(file.path) for file in self._files]
        return hashes[0] if len(hashes) == 1 else _of_hashes(hashes)

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()


class MappingSource(Source):
    """Tensors of a mapping in memory: NumPy arrays (bfloat16 as bits with the type given).

    Args:
        label: for messages.
        arrays: name → array of any shape.
        dtypes: name → safetensors type, needed only where NumPy's does not say it (BF16).
        config: see `Source`.
        digest: what `sha256` shall give, where the arrays were read from a file.
    """

    def __init__(
        self,
        label: str,
        arrays: Mapping[str, Array],
        dtypes: Mapping[str, str] | None = None,
        *,
        config: Mapping[str, Any] | None = None,
        digest: Callable[[], str] | None = None,
    ) -> None:
        self._arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        known = dtypes or {}
        infos = {
            name: TensorInfo(name, known.get(name) or _dtype_of(array), array.shape)
            for name, array in arrays.items()
        }
        self._digest = digest
        super().__init__(label, infos, config)

    def read(self, name: str, start: int, stop: int, into: Array | None = None) -> Array:
        """Give a copy of elements [start, stop)."""
        del into
        return self._arrays[name].reshape(-1)[start:stop].copy()

    def sha256(self) -> str:
        """Give a SHA-256 over sorted names, types, shapes and bytes, or that of the file."""
        if self._digest is not None:
            return self._digest()
        digest = hashlib.sha256()
        for name in sorted(self.tensors):
            info = self.tensors[name]
            digest.update(f"{name}|{info.dtype}|{info.shape}|".encode())
            digest.update(self._arrays[name].tobytes())
        return digest.hexdigest()


class CheckpointSource(MappingSource):
    """Tensors of an encoder that was read by the encoders' readers.

    Args:
        checkpoint: what `speechft.encoders.formats.read_checkpoint` gave.
        label: path or id, for messages.
    """

    def __init__(self, checkpoint: Any, label: str) -> None:
        import torch

        arrays: dict[str, Array] = {}
        dtypes: dict[str, str] = {}
        for name, tensor in checkpoint.tensors.items():
            plain = tensor.detach().cpu().contiguous()
            if plain.dtype == torch.bfloat16:
                dtypes[name] = "BF16"
                plain = plain.view(torch.uint16)
            arrays[name] = plain.numpy()
        config = checkpoint.config.to_dict()
        super().__init__(label, arrays, dtypes, config=config, digest=self._hash)
        self.checkpoint = checkpoint

    def _hash(self) -> str:
        where: Path = self.checkpoint.where
        if where.is_file():
            return content_id(where)
        files = sorted({f for pattern in _OTHER_WEIGHTS for f in where.glob(pattern)})
        return _of_hashes([content_id(file) for file in files])


def preprocessor_of(source: Source) -> dict[str, Any] | None:
    """Give the preprocessor's settings that an encoder has, in whichever file they stand."""
    if isinstance(source, CheckpointSource):
        return dict(source.checkpoint.preprocessor)
    return None if source.folder is None else stored_preprocessor(source.folder)[0] or None


def open_encoder(name: str | Path, *, base: str | Path | None = None) -> Source:
    """Open an encoder for merging.

    Args:
        name: a folder (also a fine-tuning run's), a file, a packaged name or a Hub id.
        base: BASE, where `name` is a TUNED that may need its configuration (S3PRL downstream
            checkpoints, adapters).

    Raises:
        CheckpointError: nothing is there, or it cannot be read.
    """
    path, label = locate(name), str(name)
    stored = any((path / weights).is_file() for weights in (WEIGHTS, INDEX))
    adapts = (path / ADAPTER).is_file()
    if stored and not adapts:
        return open_folder(path, label)
    if path.suffix == ".safetensors" and path.is_file() and not ADAPTER_OF.fullmatch(path.name):
        source = SafetensorsSource(label, [path], path.parent)
        if not any(stored.startswith(FAIRSEQ) for stored in source.tensors):
            return source
        source.close()
    from speechft.encoders.load import read_checkpoint

    where = None if base is None else locate(base)
    if base is not None and adapts and (own := other_base(path, str(base))):
        log.warning(
            "%s names %s as its encoder, and is put on BASE here: where that is another one, "
            "convert it first (`speechft convert %s FOLDER --to hf`)",
            *(label, own, label),
        )
    return CheckpointSource(read_checkpoint(path, base=where), label)


def open_folder(folder: Path, label: str | None = None) -> SafetensorsSource:
    """Open a Hugging Face folder with safetensors weights, whole or in shards.

    Raises:
        CheckpointError: there are no such weights, a shard is missing, or config.json is broken.
    """
    if (folder / WEIGHTS).is_file():
        files = [folder / WEIGHTS]
    elif (folder / INDEX).is_file():
        files = [*shards_of(folder / INDEX).values()]
    else:
        raise CheckpointError(
            "no weights in the folder",
            where=folder,
            expected=f"{WEIGHTS} (or {INDEX} and its shards)",
            found=", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "an empty folder",
        )
    return SafetensorsSource(label or str(folder), files, folder)


def _of_hashes(hashes: Sequence[str]) -> str:
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def _dtype_of(array: Array) -> str:
    """Give the safetensors name of a NumPy array's type."""
    for name, kind in STORAGE.items():
        if name != "BF16" and array.dtype == kind:
            return name
    raise CheckpointError("tensors of this type cannot be stored", found=array.dtype)

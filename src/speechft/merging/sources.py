"""Where tensors come from: safetensors files, whole or in shards, or a mapping in memory."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from speechft.core.artifact import content_id
from speechft.core.errors import CheckpointError
from speechft.core.places import path_below
from speechft.merging.dtypes import STORAGE, Array, decode
from speechft.merging.tensorfile import TensorFile, TensorInfo

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


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
        *,
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
        """Give the SHA-256 of the weights: of the file, or of the shards' hashes in order."""

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
        config: see `Source`.
        folder: see `Source`.
    """

    def __init__(
        self,
        label: str,
        files: list[Path],
        *,
        config: Mapping[str, Any] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.files = files
        self._open = [TensorFile(path) for path in files]
        self._home: dict[str, TensorFile] = {}
        tensors: dict[str, TensorInfo] = {}
        for file in self._open:
            for info in sorted(file.tensors.values(), key=lambda item: item.begin):
                if info.name in tensors:
                    raise CheckpointError(
                        "a tensor is in two shards", where=file.path, found=info.name
                    )
                tensors[info.name] = info
                self._home[info.name] = file
        super().__init__(label, tensors, config=config, folder=folder)

    def read(self, name: str, start: int, stop: int, into: Array | None = None) -> Array:
        """Give the stored bits of elements [start, stop) of a tensor, 1-D; `into` may hold them."""
        return self._home[name].read(self.tensors[name], start, stop, into)

    def sha256(self) -> str:
        """Give the SHA-256 of the file, or of the shards' hashes in order."""
        hashes = [content_id(path) for path in self.files]
        if len(hashes) == 1:
            return hashes[0]
        return hashlib.sha256("".join(hashes).encode()).hexdigest()

    def close(self) -> None:
        """Close the files."""
        for file in self._open:
            file.close()


class MappingSource(Source):
    """Tensors of a mapping in memory: NumPy arrays (bfloat16 as bits with the type given).

    Args:
        label: for messages.
        arrays: name → array of any shape.
        dtypes: name → safetensors type, needed only where NumPy's does not say it (BF16).
        config: see `Source`.
        folder: see `Source`.
        digest: what `sha256` shall give, where the arrays were read from a file.
    """

    def __init__(
        self,
        label: str,
        arrays: Mapping[str, Array],
        dtypes: Mapping[str, str] | None = None,
        *,
        config: Mapping[str, Any] | None = None,
        folder: Path | None = None,
        digest: Callable[[], str] | None = None,
    ) -> None:
        self._arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        known = dtypes or {}
        infos = {
            name: TensorInfo(name, known.get(name) or dtype_of(array), array.shape)
            for name, array in arrays.items()
        }
        self._digest = digest
        super().__init__(label, infos, config=config, folder=folder)

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


def dtype_of(array: Array) -> str:
    """Give the safetensors name of a NumPy array's type."""
    for name, kind in STORAGE.items():
        if name != "BF16" and array.dtype == kind:
            return name
    raise CheckpointError("tensors of this type cannot be stored", found=array.dtype)


def open_folder(folder: Path, label: str | None = None) -> SafetensorsSource:
    """Open a Hugging Face folder with safetensors weights, whole or in shards.

    Raises:
        CheckpointError: there are no such weights, or a shard is missing.
    """
    label = label or str(folder)
    if (folder / WEIGHTS).is_file():
        files = [folder / WEIGHTS]
    elif (folder / INDEX).is_file():
        files = _shards(folder)
    else:
        raise CheckpointError(
            "no weights in the folder",
            where=folder,
            expected=f"{WEIGHTS} (or {INDEX} and its shards)",
            found=", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "an empty folder",
        )
    return SafetensorsSource(label, files, config=read_config(folder), folder=folder)


def open_file(path: Path, label: str | None = None) -> SafetensorsSource:
    """Open one safetensors file; config.json is taken from beside it, if it is there."""
    folder = path.parent
    return SafetensorsSource(label or str(path), [path], config=read_config(folder), folder=folder)


def read_config(folder: Path) -> dict[str, Any] | None:
    """Read config.json of a folder, if there is one.

    Raises:
        CheckpointError: it is not a JSON mapping.
    """
    path = folder / "config.json"
    if not path.is_file():
        return None
    return read_mapping(path)


def _shards(folder: Path) -> list[Path]:
    shards = read_mapping(folder / INDEX).get("weight_map")
    names = sorted({str(name) for name in shards.values()}) if isinstance(shards, dict) else []
    paths = [path_below(folder, n, "a shard", CheckpointError, folder / INDEX) for n in names]
    missing = [path.name for path in paths if not path.is_file()]
    if missing or not names:
        raise CheckpointError(
            "shards of the checkpoint are missing",
            where=folder / INDEX,
            expected=", ".join(names) or "a weight_map",
            found=f"without {', '.join(missing)}" if missing else "no shards",
            hint="download the missing files",
        )
    return paths


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds a mapping.

    Raises:
        CheckpointError: it does not.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError("cannot read the file as JSON", where=path, found=error) from None
    if not isinstance(value, dict):
        raise CheckpointError(
            "cannot use the file", where=path, expected="a JSON mapping", found=type(value).__name__
        )
    return value

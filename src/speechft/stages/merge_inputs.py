"""From what a user names to the tensors of an encoder; torch is imported for pickled files only."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from speechft.core.errors import CheckpointError
from speechft.core.files import hash_file
from speechft.merging.dtypes import Array
from speechft.merging.sources import (
    INDEX,
    WEIGHTS,
    MappingSource,
    Source,
    open_file,
    open_folder,
    read_config,
)

BIN = "pytorch_model.bin"


def open_encoder(name: str | Path) -> Source:
    """Open an encoder for merging.

    Args:
        name: a folder (also a fine-tuning run's), a file, a packaged name or a Hub id.

    Raises:
        CheckpointError: nothing is there, or it cannot be read.
    """
    path = find(name)
    if path.is_dir():
        return _open_folder(path, str(name))
    if path.suffix == ".safetensors":
        return open_file(path, str(name))
    return _open_pickle(path, str(name), None)


def find(name: str | Path) -> Path:
    """Give the path of an encoder; a Hub id is downloaded, or taken from the cache."""
    path = Path(name).expanduser()
    packaged = Path(str(resources.files("speechft"))) / "assets" / str(name)
    if not path.exists() and (packaged / "config.json").is_file():
        path = packaged
    if not path.exists():
        from speechft.encoders.checkpoints.locate import locate

        path = locate(str(name))
    inner = path / "encoder"
    if path.is_dir() and not (path / "config.json").exists() and inner.is_dir():
        return inner
    return path


def _open_folder(folder: Path, label: str) -> Source:
    names = (WEIGHTS, INDEX)
    if (folder / BIN).is_file() and not any((folder / name).is_file() for name in names):
        return _open_pickle(folder / BIN, label, folder)
    return open_folder(folder, label)


def _open_pickle(path: Path, label: str, folder: Path | None) -> Source:
    """Read a plain state dict from a torch file, weights only (no code is run)."""
    import pickle

    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            "cannot read the checkpoint", where=path, found=str(error).splitlines()[0]
        ) from None
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise CheckpointError(
            "this is no plain state dict",
            where=path,
            expected="tensor names and tensors",
            hint="convert it first: speechft convert SRC DST --to hf",
        )
    arrays: dict[str, Array] = {}
    dtypes: dict[str, str] = {}
    for key, tensor in state.items():
        if tensor.dtype == torch.bfloat16:
            dtypes[key] = "BF16"
            tensor = tensor.contiguous().view(torch.uint16)
        arrays[key] = tensor.contiguous().numpy()
    config = read_config(folder or path.parent)
    return MappingSource(
        label, arrays, dtypes, config=config, folder=folder, digest=lambda: hash_file(path)
    )

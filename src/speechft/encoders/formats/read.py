"""One reader for every format: it looks at what is there, not at what it is called."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor

from speechft.core.errors import CheckpointError
from speechft.encoders.checkpoint import Checkpoint
from speechft.encoders.folder import CONFIG, TORCH_WEIGHTS, WEIGHTS
from speechft.encoders.formats.adapters import is_adapter, merge_adapter
from speechft.encoders.formats.fairseq import Described, read_fairseq_style
from speechft.encoders.formats.hf import (
    read_config,
    read_hf_folder,
    read_preprocessor,
    read_safetensors,
)
from speechft.encoders.formats.locate import locate
from speechft.encoders.formats.unpickle import read_torch_file
from speechft.encoders.formats.write import TORCH_SUFFIXES


def read_checkpoint(path_or_id: str | Path, *, base: str | Path | None = None) -> Checkpoint:
    """Read an encoder's checkpoint of any supported format.

    Args:
        path_or_id: a folder, a file, a Hub id or a packaged name.
        base: an encoder whose configuration and preprocessor are used where the file holds no
            settings (S3PRL downstream and Lightning checkpoints), or that a PEFT adapter is merged
            into. Without it, those in the file's folder are.

    Raises:
        CheckpointError: nothing is there, it is broken, or it is no encoder.
    """
    path = locate(path_or_id)
    if path.is_dir():
        if is_adapter(path):
            return merge_adapter(path, read_checkpoint, base)
        return read_hf_folder(path)
    beside = (path.parent / CONFIG).is_file()
    if beside and path.name in (CONFIG, WEIGHTS, TORCH_WEIGHTS):
        return read_hf_folder(path.parent)

    @cache
    def given() -> Described | None:
        if base is not None:
            like = read_checkpoint(base)
            return Described(like.config, like.preprocessor)
        if not beside:
            return None
        config = read_config(path.parent)
        return Described(config, read_preprocessor(path.parent, config))

    return read_fairseq_style(_read_file(path), path, given)


def _read_file(path: Path) -> Any:
    if path.stat().st_size == 0:
        raise CheckpointError("the file is empty", where=path, hint="copy or download it again")
    if path.suffix == ".safetensors":
        tensors: dict[str, Tensor] = read_safetensors(path)
        return tensors
    if path.suffix not in TORCH_SUFFIXES:
        raise CheckpointError(
            "this kind of file holds no encoder",
            where=path,
            expected="a folder, or a file ending in .safetensors " + " ".join(TORCH_SUFFIXES),
        )
    return read_torch_file(path)

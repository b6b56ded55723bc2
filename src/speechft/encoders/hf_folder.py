"""An encoder's folder in the Hugging Face layout: its files, and writing them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from speechft.core.files import atomic_dir, products_of
from speechft.core.paths import in_the_way
from speechft.encoders.checkpoint import Checkpoint
from speechft.encoders.identity import EXTRAS_FILE, OWN_FILES, PREPROCESSOR, WEIGHTS

CONFIG = "config.json"
Beside = Callable[[Path], None]
_STAYS = ("README.md", ".lock")


def write_hf_folder(
    checkpoint: Checkpoint, folder: Path, architecture: str, beside: Beside | None = None
) -> Path:
    """Write an encoder in the Hugging Face layout, atomically, in the place of one that is there.

    Args:
        checkpoint: what is written.
        folder: where.
        architecture: name of the transformers class.
        beside: writes further files into a folder, which appear together with the encoder.

    Raises:
        SettingsError: the folder is there already and holds something else than an encoder.
    """
    replaced = encoder_files(folder)
    config, side = checkpoint.config, checkpoint.side
    config.architectures = [architecture]
    tensors = _apart(checkpoint.tensors)
    floats = (t.dtype for t in tensors.values() if t.is_floating_point())
    config.dtype = next(floats, config.dtype)
    with atomic_dir(folder, replaced) as temporary:
        config.to_json_file(temporary / CONFIG)
        save_file(tensors, temporary / WEIGHTS, metadata={"format": "pt"})
        text = json.dumps(checkpoint.preprocessor, indent=2) + "\n"
        (temporary / PREPROCESSOR).write_text(text, encoding="utf-8")
        if side.tensors or side.source:
            extras = _apart(side.tensors)
            # One key alone: the library writes several in an order that differs from run to run.
            metadata = {"source": json.dumps(side.source)}
            save_file(extras, temporary / EXTRAS_FILE, metadata=metadata)
        if beside is not None:
            beside(temporary)
    return folder


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give tensors that share no memory, which safetensors would refuse to write."""
    result: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        place = plain.untyped_storage().data_ptr()
        result[name] = plain.clone() if place in seen and plain.numel() else plain
        seen.add(place)
    return result


def encoder_files(folder: Path) -> list[str]:
    """Give the files of an encoder's folder that another encoder takes the place of.

    Raises:
        SettingsError: the folder holds other things than an encoder and its card.
    """
    if not folder.exists():
        return []
    foreign = [folder.name]
    names: list[str] = []
    if folder.is_dir():
        names = sorted(path.name for path in folder.iterdir())
        ours = products_of(folder)
        known = [n for n in names if n in _STAYS or n in ours or OWN_FILES.fullmatch(n)]
        foreign = [name for name in names if name not in known]
    if foreign:
        expected = "a new folder, an empty one, or one with nothing but an encoder to replace"
        raise in_the_way(folder, foreign, expected, "choose another place")
    return [name for name in names if OWN_FILES.fullmatch(name)]

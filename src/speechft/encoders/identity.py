"""What an encoder is, by what its files hold: whatever changes a hidden state counts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

from speechft.core.artifact import RECORD, Input, content_id
from speechft.core.errors import CheckpointError
from speechft.core.files import read_json
from speechft.core.settings import PathText
from speechft.encoders.configs import computing
from speechft.encoders.formats.locate import HUB_ID, hub_commit, locate, packaged_names

_SUFFIXES: Final = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".yaml")


def encoder_id(name: str) -> str:
    """Give the identity of an ENCODER: weights, configuration, preprocessor and adapters.

    A Hub id is told by the commit that it stands for; by itself where no commit can be found.

    Args:
        name: a folder, a checkpoint file, a packaged name, or a Hub id, also with @REVISION.

    Raises:
        CheckpointError: nothing is there.
    """
    there = _exists(name) or name in packaged_names()
    if not there and HUB_ID.fullmatch(name):
        commit = hub_commit(name)
        return f"hub {name.partition('@')[0]}@{commit}" if commit else f"hub {name}"
    path = locate(name)
    if path.is_file():
        return content_id({"file": path, "beside": _described(path.parent)})
    weights = {f.name: f for f in sorted(path.iterdir()) if f.suffix in _SUFFIXES and f.is_file()}
    described = _described(path)
    base = _base_id(described.get("adapter_config.json"))
    return content_id({"weights": weights, "described": described, "base": base})


def _base_id(adapter: Any) -> str | None:
    """Give the identity of the encoder that an adapter changes; none where there is no such one."""
    base = adapter.get("base_model_name_or_path") if isinstance(adapter, dict) else None
    if not isinstance(base, str) or _exists(f"{base}/adapter_config.json"):
        return None
    try:
        return encoder_id(base)
    except CheckpointError:  # the reader says so, or takes another one with `base`
        return None


def _described(folder: Path) -> dict[str, Any]:
    """Give the JSON files beside weights: configuration, preprocessor, adapter, index."""
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("*.json")):
        if path.name in (RECORD, "begun.json", "task.json"):
            continue
        try:
            values = read_json(path)
        except (OSError, ValueError, RecursionError):
            found[path.name] = path
            continue
        found[path.name] = computing(values) if isinstance(values, dict) else values
    return found


def _exists(name: str) -> bool:
    try:
        return bool(name) and Path(name).expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        return False


EncoderName = Annotated[PathText, Input(encoder_id)]
"""A settings field that names an ENCODER."""

"""What a stage's result depends on, from which its key is made: settings, and inputs by content."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechft.core.files import hash_file
from speechft.core.settings import Settings
from speechft.data.manifests import SUFFIXES as MANIFESTS
from speechft.encoders.formats.locate import locate

NEUTRAL = {"workers", "store", "store_gb", "cache_gb", "device", "threads", "save_every"}
NEUTRAL |= {"keep", "launcher", "slurm"}
_INPUTS = (".bin", ".pt", *MANIFESTS)


def result_values(settings: Settings) -> dict[str, Any]:
    """Give the settings that a result depends on, as plain values."""
    return settings.model_dump(mode="json", exclude=NEUTRAL & set(type(settings).model_fields))


def portable(value: Any, out: Path) -> Any:
    """Write paths inside the run's folder relative to it, so that a run can be moved."""
    if isinstance(value, Mapping):
        return {key: portable(item, out) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [portable(item, out) for item in value]
    if isinstance(value, str) and (value == str(out) or value.startswith(f"{out}/")):
        return "OUT" + value[len(str(out)) :]
    return value


def inputs_of(plain: Mapping[str, Any]) -> dict[str, str]:
    """Hash the local files among the inputs, so that a changed input is noticed."""
    found: dict[str, str] = {}
    given = [plain.get(key) for key in ("encoder", "init", "data", "rehearsal_data")]
    for value in [v for g in given for v in (g.values() if isinstance(g, dict) else [g])]:
        if isinstance(value, str):
            for file in _files_of(Path(value).expanduser()):
                # Two tables of one name in two folders are two inputs.
                name = file.name if file.name not in found else str(file)
                found[name] = hash_file(file)
    return found


def _files_of(path: Path) -> list[Path]:
    """Give an input's files: weights of an encoder, manifests of a folder of cuts, or one file."""
    if not path.is_dir():
        return [path] if path.is_file() else []
    path = locate(path)  # a run's folder stands for the encoder in it
    weights = sorted(path.glob("*.safetensors"))
    return weights or sorted(f for f in path.iterdir() if f.name.endswith(_INPUTS) and f.is_file())

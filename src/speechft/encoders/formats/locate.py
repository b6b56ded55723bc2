"""From what a user names to a path on this machine."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from speechft.core.errors import CheckpointError
from speechft.core.nearest import did_you_mean
from speechft.core.network import is_network_error

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
HUB_SETTINGS = ["config.json", "*processor_config.json", "adapter_config.json", "*.index.json"]
HUB_WEIGHTS = ["model*.safetensors", "adapter_model.safetensors", "extras.safetensors"]
HUB_OLD_WEIGHTS = ["pytorch_model*.bin", "adapter_model.bin"]


def packaged_names() -> list[str]:
    """Give the names of the encoders that come with the package."""
    assets = Path(str(resources.files("speechft"))) / "assets"
    return sorted(p.name for p in assets.glob("*") if (p / "config.json").is_file())


def packaged_weights(encoder: str | None) -> Path | None:
    """Give the weights of an encoder that comes with the package; none of any other."""
    if encoder not in packaged_names() or Path(str(encoder)).exists():
        return None
    return locate(str(encoder)) / "model.safetensors"


def locate(path_or_id: str | Path) -> Path:
    """Give the local path of an encoder: a path as it is, a packaged name, or a Hub id.

    Raises:
        CheckpointError: nothing is there, or the Hub cannot be reached.
    """
    name = str(path_or_id)
    path = _local(path_or_id)
    if path is not None:
        return _inside(path)
    if name in packaged_names():
        return Path(str(resources.files("speechft"))) / "assets" / name
    hub = isinstance(path_or_id, str) and HUB_ID.fullmatch(name)
    if hub and Path(name).suffix not in _FILE_TYPES:
        return _from_hub(name)
    raise CheckpointError(
        "there is no such encoder",
        where=name,
        expected="a folder, a checkpoint file, a Hub id (owner/name) or a packaged name",
        hint=f"check the path; {did_you_mean(name, packaged_names())}",
    )


def _local(path_or_id: str | Path) -> Path | None:
    """Give the path if something is there; a name that no file can have is no path."""
    try:
        path = Path(path_or_id).expanduser()
        return path if str(path_or_id) and path.exists() else None
    except (OSError, RuntimeError, ValueError):
        return None


def _inside(path: Path) -> Path:
    """Give the encoder in the folder of a fine-tuning or pre-training run; else the path itself."""
    inner = path / "encoder"
    own = any((path / name).exists() for name in ("config.json", "adapter_config.json"))
    return inner if path.is_dir() and not own and (inner / "config.json").is_file() else path


_FILE_TYPES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".json")


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    try:
        folder = Path(snapshot_download(name, allow_patterns=HUB_SETTINGS + HUB_WEIGHTS))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(name, allow_patterns=HUB_SETTINGS + HUB_OLD_WEIGHTS))
        return folder
    except RepositoryNotFoundError:
        raise CheckpointError(
            "the Hub has no such model, and there is no such folder",
            where=name,
            hint="check the spelling; a private model needs `hf auth login`",
        ) from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise CheckpointError(
            "there is no such folder, and the Hub could not be reached",
            where=name,
            found=str(error).strip().partition("\n")[0],
            hint="check the path, or the network; a downloaded copy can be given as a folder",
        ) from None
    except Exception as error:
        if not is_network_error(error):
            raise
        raise CheckpointError(
            "there is no such folder, and the Hub could not be reached",
            where=name,
            found=type(error).__name__,
            hint="check the path, or the network; a downloaded copy can be given as a folder",
        ) from None

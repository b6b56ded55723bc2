"""From what a user names to a path on this machine."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from pathlib import Path

from speechft.core.errors import CheckpointError
from speechft.core.nearest import did_you_mean
from speechft.core.network import is_network_error

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[A-Za-z0-9][\w./-]*)?")
"""OWNER/NAME, or OWNER/NAME@REVISION: a branch, a tag or a commit."""
_TIMEOUT = 10  # seconds
_COMMIT = re.compile(r"[0-9a-f]{40}")
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

    Of a Hub id the commit is read that `hub_commit` gives.

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
    if hub and Path(name.partition("@")[0]).suffix not in _FILE_TYPES:
        return _from_hub(name)
    raise CheckpointError(
        "there is no such encoder",
        where=name,
        expected="a folder, a checkpoint file, a Hub id (owner/name@revision) or a packaged name",
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


@cache
def hub_commit(name: str) -> str | None:
    """Give the commit that a Hub id stands for, the same as long as this process runs.

    It is the one that the id names, else what the Hub says, else the one whose files are kept here;
    None where none of them is known.
    """
    repo, _, revision = name.partition("@")
    if _COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi, snapshot_download

    try:
        found = HfApi().model_info(repo, revision=revision or None, timeout=_TIMEOUT).sha
        return str(found) if found else None
    except Exception as error:  # HTTP clients have errors of their own
        if not _is_of_the_hub(error):
            raise
    try:
        kept = snapshot_download(repo, revision=revision or None, local_files_only=True)
        return Path(kept).name
    except (OSError, ValueError):  # LocalEntryNotFoundError is both
        return None


def _is_of_the_hub(error: Exception) -> bool:
    from huggingface_hub.errors import HfHubHTTPError

    return isinstance(error, HfHubHTTPError | OSError | ValueError) or is_network_error(error)


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    repo, _, revision = name.partition("@")
    wanted = hub_commit(name) or revision or None
    try:
        for weights in (HUB_WEIGHTS, HUB_OLD_WEIGHTS):
            patterns = HUB_SETTINGS + weights
            folder = Path(snapshot_download(repo, revision=wanted, allow_patterns=patterns))
            if any(folder.glob("*.safetensors")):
                break
        return folder
    except RevisionNotFoundError:
        raise CheckpointError(
            "the Hub's model has no such revision",
            where=name,
            expected="a branch, a tag or a commit behind the @",
        ) from None
    except RepositoryNotFoundError:
        raise CheckpointError(
            "the Hub has no such model, and there is no such folder",
            where=name,
            hint="check the spelling; a private model needs `hf auth login`",
        ) from None
    except Exception as error:  # HTTP clients have errors of their own
        if not _is_of_the_hub(error):
            raise
        raise CheckpointError(
            "there is no such folder, and the Hub could not be reached",
            where=name,
            found=str(error).strip().partition("\n")[0] or type(error).__name__,
            hint="check the path, or the network; a downloaded copy can be given as a folder",
        ) from None

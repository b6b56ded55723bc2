"""`speechft push`: upload an encoder with its card and provenance to the Hugging Face Hub."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechft.core.artifact import RECORD, read_record
from speechft.core.errors import (
    CheckpointError,
    DataError,
    SettingsError,
    SpeechFTError,
    is_network_error,
)
from speechft.core.files import read_json
from speechft.core.logging import get_logger
from speechft.core.paths import home_expanded
from speechft.encoders.identity import BELONGS, read_json_object, refuse_changed
from speechft.merging.output import plain_card, public_name, with_heads, with_scores
from speechft.merging.sources import open_folder
from speechft.metrics.statistics import mean
from speechft.reporting.read_results import find_results, probe_of, read_results
from speechft.reporting.settings import PushSettings

log = get_logger(__name__)

REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
CARD = "README.md"
CONFIG = "config.json"
#: What is sent of a folder, beside the card, the configuration and the record.
FILES = re.compile(
    r"preprocessor_config\.json|model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json"
    r"|extras\.safetensors|heard\.gz|head(-[\w:.-]+)?\.safetensors|" + BELONGS.pattern
)
#: What is sent of a record: how the encoder was made.
RECORD_KEYS = (
    *("stage", "version", "settings", "parents", "method", "alpha", "formula", "dtype"),
    *("kept", "dropped", "versions", "processor"),
)
_MEASURED_BY = ("data_hash", "protocol", "precision", "states", "split")
_READ_BY = ("encoder_id",)  # as its preprocessor says, which the weights' hash leaves open


def push(settings: PushSettings) -> str:
    """Upload an encoder in one commit, without local paths; all that is sent is listed first.

    Only regular files of fixed names are sent, a head's tokenizer and vocabulary among them; links
    are not followed. Of the record a fixed list of keys goes along, of all configurations what is
    no local path.

    Returns:
        The address of the commit.

    Raises:
        SettingsError: the repository's name is wrong, or there is no access to it.
        CheckpointError: the folder is no whole encoder, or its weights are not those that its
            record names.
        DataError: there are no such results, or they are not about this encoder.
        SpeechFTError: the Hub cannot be reached.
    """
    if not REPO_ID.fullmatch(settings.repo):
        raise SettingsError(
            "this is no repository name", where="repo", expected="OWNER/NAME", found=settings.repo
        )
    folder = home_expanded(settings.folder)
    if not (folder / "config.json").exists() and (folder / "encoder").is_dir():
        folder = folder / "encoder"
    files = _files(folder)
    record = _record(folder)
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="speechft")
    configured = [path for path in (folder / CONFIG, *files) if path.name.endswith(CONFIG)]
    texts = {path.name: _json(without_paths(read_json_object(path))) for path in configured}
    texts[CARD] = with_scores(_card(folder, record), _scores(folder, settings.scores))
    operations = [CommitOperationAdd(f.name, str(f)) for f in files if f.name not in texts]
    if record:
        known = {key: record[key] for key in RECORD_KEYS if key in record}
        texts[RECORD] = _json(public_record(known))
    operations += [CommitOperationAdd(name, text.encode()) for name, text in texts.items()]
    log.info(
        "push: %s gets %s", settings.repo, ", ".join(sorted(o.path_in_repo for o in operations))
    )
    try:
        api.create_repo(settings.repo, private=settings.private, exist_ok=True)
        commit = api.create_commit(settings.repo, operations, commit_message=settings.message)
    except HfHubHTTPError as error:
        raise _refused(error, settings.repo) from None
    except OfflineModeIsEnabled:
        raise SpeechFTError(
            "the Hub is not asked: offline mode is on",
            where=api.endpoint,
            found="HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set",
            hint="unset it, then give the same command again",
        ) from None
    except Exception as error:
        if not is_network_error(error):
            raise
        raise SpeechFTError(
            "the Hub cannot be reached",
            where=api.endpoint,
            found=type(error).__name__,
            hint="check the network, then give the same command again",
        ) from None
    log.info("push: %d files in %s", len(operations), commit.commit_url)
    return str(commit.commit_url)


LOCAL = ("/", "~", ".")


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"


def without_paths(config: Any) -> Any:
    """Give a configuration without the values that are local paths; all else stays as it is."""
    if isinstance(config, Mapping):
        kept = {key: value for key, value in config.items() if not _is_path(value)}
        return {key: without_paths(value) for key, value in kept.items()}
    if isinstance(config, list):
        return [without_paths(value) for value in config if not _is_path(value)]
    return config


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and _is_local(value)


def public_record(record: Any) -> Any:
    """Give a provenance record without local paths: of a path only its last part is left."""
    if isinstance(record, Mapping):
        return {_public(str(key)): public_record(value) for key, value in record.items()}
    if isinstance(record, list):
        return [public_record(value) for value in record]
    return _public(record) if isinstance(record, str) else record


def _public(text: str) -> str:
    if "\n" in text:
        return text
    words = re.split(r"(\s+)", text)
    if text.startswith(LOCAL) or len(words) == 1:
        return public_name(text) if _is_local(text) else text
    # A path may stand inside a sentence.
    return "".join(public_name(word) if _is_local(word) else word for word in words)


def _is_local(text: str) -> bool:
    """Tell a local path from a Hub id, which has one slash and no such file beside it."""
    if "://" in text or "/" not in text.replace("\\", "/"):
        return False
    return text.startswith(LOCAL) or "\\" in text or text.count("/") > 1 or Path(text).exists()


def _scores(folder: Path, results: Sequence[Path]) -> dict[str, dict[str, float]]:
    """Give task → metric → mean over seeds, of records about this encoder."""
    if not results:
        return {}
    from speechft.encoders import load_encoder

    fingerprint = load_encoder(folder).fingerprint()
    values: dict[tuple[str, str], dict[str, float]] = {}
    measured: dict[tuple[str, str], dict[str, str]] = {}
    known: dict[str, dict[str, str]] = {}
    for file in [f for path in results for f in ([path] if path.is_file() else find_results(path))]:
        for record in read_results(file, ("task", "metric", "value")):
            if record.get("encoder_hash") == fingerprint:
                key = str(record["task"]), str(record["metric"])
                how = {name: str(record.get(name, "")) for name in _MEASURED_BY}
                how |= {name: str(record[name]) for name in _READ_BY if name in record}
                how |= probe_of(file, record, known)
                before = measured.setdefault(key, {})
                seed, value = str(record.get("seed", 0)), float(record["value"])
                other = values.setdefault(key, {}).setdefault(seed, value)
                if other != value or any(before.setdefault(n, v) != v for n, v in how.items()):
                    raise _measured_twice(file, record, other)
    if not values:
        raise DataError(
            "these results are not about this encoder",
            where=", ".join(map(str, results)),
            expected=f"records with encoder_hash {fingerprint[:16]}…",
            hint="evaluate the folder that you push",
        )
    scores: dict[str, dict[str, float]] = {}
    for (task, metric), found in values.items():
        scores.setdefault(task, {})[metric] = mean(found.values())
    return scores


def _measured_twice(file: Path, record: Mapping[str, Any], other: float) -> DataError:
    """Say that a mean would be one of figures that differ in more than their seeds."""
    return DataError(
        f"{record['task']} {record['metric']} was measured in two ways, which have no mean",
        where=file,
        expected="the same data, protocol, precision and probes, each seed once",
        found=f"{record['value']} on {record.get('data', 'other data')}, beside {other}",
        hint="name the results of one evaluation (--scores)",
    )


def _record(folder: Path) -> dict[str, Any]:
    """Give the provenance of an encoder, or of the run whose folder it lies in; empty without."""
    places = [folder, *([folder.parent] if folder.name.startswith("encoder") else [])]
    return next((found for place in places if (found := read_record(place)) is not None), {})


def _card(folder: Path, record: Mapping[str, Any]) -> str:
    """Give the encoder's card; one that tells of the run where it has none of its own."""
    if (folder / CARD).is_file():
        return (folder / CARD).read_text("utf-8")
    class_name = next(iter(read_json(folder / "config.json").get("architectures") or ()), "")
    card = plain_card(public_name(str(folder)), record, class_name)
    return with_heads(card, sorted(path.name for path in folder.iterdir()))


def _files(folder: Path) -> list[Path]:
    """Check that the folder holds a whole encoder, and list what is uploaded."""
    if not (folder / CONFIG).is_file():
        raise CheckpointError(
            "this is no encoder in the Hugging Face layout",
            where=folder,
            expected="a file config.json",
            hint="give what `speechft merge`, `finetune`, `pretrain` or `convert --to hf` wrote",
        )
    wanted = [path for path in sorted(folder.iterdir()) if FILES.fullmatch(path.name)]
    told = [folder / name for name in (CARD, CONFIG, RECORD)]
    links = [path.name for path in (*wanted, *told) if path.is_symlink()]
    if links:
        raise CheckpointError(
            "links are not followed: what they lead to may not be meant for others",
            where=folder,
            expected="regular files",
            found=", ".join(links),
            hint="put a copy in the link's place",
        )
    open_folder(folder).close()
    refuse_changed(folder, settings=False)
    return [path for path in wanted if path.is_file()]


def _refused(error: Any, repo: str) -> SpeechFTError:
    status = getattr(getattr(error, "response", None), "status_code", None)
    reason = getattr(error, "server_message", None) or str(error).partition("\n")[0]
    if status in (401, 403):
        return SettingsError(
            "the Hub refused access",
            where=repo,
            found=f"{status}: {reason}",
            hint="log in with `hf auth login`, or set HF_TOKEN to a token that may write",
        )
    return SpeechFTError("the Hub refused the upload", where=repo, found=f"{status}: {reason}")

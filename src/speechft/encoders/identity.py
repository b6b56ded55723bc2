"""What lies behind an ENCODER's name: its files, its identity, and what it has heard with labels.

Whatever changes a hidden state counts for the identity. Other tools leave placeholders and
pointers in the place of weights. Nothing here needs torch.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from speechft.core.artifact import RECORD, Input, content_id, differing, read_record
from speechft.core.errors import CheckpointError, is_network_error
from speechft.core.files import read_json
from speechft.core.heard import FILE as HEARD
from speechft.core.heard import LOADED, Heard, read_heard
from speechft.core.nearest_names import did_you_mean
from speechft.core.paths import home_expanded, path_below
from speechft.core.settings import PathText

WEIGHTS: Final = "model.safetensors"
TORCH_WEIGHTS: Final = "pytorch_model.bin"
PREPROCESSOR: Final = "preprocessor_config.json"
PROCESSOR: Final = "processor_config.json"
Context = Literal["30s", "utterance"]
"""What the transformer of an encoder sees that was trained on 30 s of padded audio."""
EncodingPrecision = Literal["float32", "bfloat16"]
"""What an encoder's passes are computed in, where it is not trained."""
CONTEXT: Final = "context"  # its name in the preprocessor's settings
SWEEP_FILE: Final = "sweep.json"
"""In a folder that stands for many encoders, see `merging.sweep`."""
HEADS = re.compile(r"head(-.+)?\.safetensors")
"""Heads that stand on the encoder, see `tasks.kept_head`; loading an encoder reads none of them."""
OWN_FILES: Final = re.compile(
    rf"{HEADS.pattern}|config\.json|preprocessor_config\.json|speechft\.json|heard\.gz"
    r"|extras\.safetensors"
    r"|(model|pytorch_model)(-\d+-of-\d+)?\.(safetensors|bin)(\.index\.json)?"
)
"""What this package writes into an encoder's folder."""
# Of a configuration: where it comes from, and what was used to write it.
SAYS_NOTHING: Final = frozenset(
    {"_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype"}
)
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[A-Za-z0-9][\w./-]*)?")
"""OWNER/NAME, or OWNER/NAME@REVISION: a branch, a tag or a commit."""
EXTRAS_FILE: Final = "extras.safetensors"
"""Parts of pre-training and heads, see `checkpoint.Side`."""
ADAPTER: Final = "adapter_config.json"
ADAPTER_WEIGHTS: Final = ("adapter_model.safetensors", "adapter_model.bin")
"""Settings and weights of a PEFT adapter."""
ADAPTER_OF: Final = re.compile(r"adapter\.[\w-]+\.safetensors")
"""Adapters for one language, beside the encoder that they belong to (MMS)."""
_TIMEOUT = 10  # seconds
_COMMIT = re.compile(r"[0-9a-f]{40}")
_FILE_TYPES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".json")
HUB_SETTINGS = ["config.json", "*processor_config.json", ADAPTER, "*.index.json"]
HUB_SETTINGS += ["vocab.json", "tokenizer*.json", "special_tokens_map.json", "added_tokens.json"]
HUB_SETTINGS += [HEARD]
HUB_WEIGHTS = [
    "model*.safetensors",
    "head*.safetensors",
    ADAPTER_WEIGHTS[0],
    EXTRAS_FILE,
]
HUB_OLD_WEIGHTS = ["pytorch_model*.bin", ADAPTER_WEIGHTS[1]]
WEIGHT_KINDS: Final = (".pt", ".pth", ".ckpt", ".safetensors", ".bin")
_SUFFIXES: Final = (*WEIGHT_KINDS, ".yaml")


def encoder_id(name: str) -> str:
    """Give the identity of an ENCODER: weights, configuration, preprocessor and adapters.

    A Hub id is told by the commit that it stands for; by itself where no commit can be found.

    Args:
        name: a folder, a checkpoint file, a packaged name, or a Hub id, also with @REVISION.

    Raises:
        CheckpointError: nothing is there.
    """
    there = _local(name) or name in packaged_names()
    if not there and HUB_ID.fullmatch(name):
        commit = hub_commit(name)
        return f"hub {name.partition('@')[0]}@{commit}" if commit else f"hub {name}"
    try:
        return _content_of(locate(name))
    except OSError as error:
        raise CheckpointError(
            "the encoder cannot be read", where=error.filename or name, found=error.strerror
        ) from None


def _content_of(path: Path) -> str:
    refuse_changed(path)
    if not path.is_dir():
        beside = {"file": path, "beside": _described(path.parent)}
        whole = encoder_id(str(path.parent)) if ADAPTER_OF.fullmatch(path.name) else None
        return content_id(beside if whole is None else {**beside, "of": whole})
    described = _described(path)
    base = _base_id(described.get(ADAPTER))
    return content_id({"weights": _weights(path), "described": described, "base": base})


def _weights(folder: Path) -> dict[str, Path]:
    files = (f for f in sorted(folder.iterdir()) if f.suffix in _SUFFIXES and f.is_file())
    return {f.name: f for f in files}


def refuse_changed(path: Path, *, settings: bool = True) -> None:
    """Refuse an encoder, or a head, that is not what the record of its folder or its run names.

    Args:
        path: a folder, or a file of weights, which counts with the settings beside it.
        settings: whether these count.

    Raises:
        CheckpointError: says which file.
    """
    for file, record in changed_files(path, settings=settings):
        raise CheckpointError(
            f"the {'head' if HEADS.fullmatch(file.name) else 'encoder'} is not what was written",
            where=file,
            expected=f"the file that {record} names",
            found="another content",
            hint="make it again; if the change is yours, use a copy of the folder without "
            f"{RECORD}",
        )


def changed_files(path: Path, *, settings: bool = True) -> Iterator[tuple[Path, Path]]:
    """Give the files that `refuse_changed` refuses, each with the record that names another."""
    folder = path if path.is_dir() else path.parent
    names = [*_weights(path)] if path.is_dir() else [path.name]
    names += _described(folder) if settings else []
    for home in (folder, folder.parent):
        products = (read_record(home) or {}).get("products")
        if not isinstance(products, Mapping):
            continue
        own = [(folder / name).relative_to(home).as_posix() for name in names]
        stamps = {name: products[name] for name in own if name in products}
        try:
            yield from ((home / name, home / RECORD) for name in differing(home, stamps))
        except OSError:  # whoever reads it says so
            continue


def _base_id(adapter: Any) -> str | None:
    """Give the identity of the encoder that an adapter changes; none where there is no such one."""
    base = adapter.get("base_model_name_or_path") if isinstance(adapter, dict) else None
    if not isinstance(base, str) or _local(f"{base}/{ADAPTER}"):
        return None
    try:
        return encoder_id(base)
    except CheckpointError:  # the reader says so, or takes another one with `base`
        return None


def other_base(adapter: Path, name: str) -> str | None:
    """Give the encoder that an adapter's settings name; none where that is `name`, or none is.

    Of Hub ids the names count alone: nothing is asked for.
    """
    own = read_json_object(adapter / ADAPTER).get("base_model_name_or_path")
    if not isinstance(own, str) or not own:
        return None
    if own.partition("@")[0] == name.partition("@")[0]:
        return None
    there = all(_local(one) or one in packaged_names() for one in (own, name))
    return None if there and encoder_id(own) == encoder_id(name) else own


def _described(folder: Path) -> dict[str, Any]:
    """Give the JSON files beside weights: configuration, preprocessor, adapter, index."""
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("*.json")):
        if path.name in (RECORD, "begun.json", "task.json"):
            continue
        try:
            values = read_json(path)
        except (OSError, ValueError):
            found[path.name] = path
            continue
        found[path.name] = computing(values) if isinstance(values, dict) else values
    return found


def refuse_absent_here(name: str) -> None:
    """Look for an encoder, without a look at the Hub for one that may be there.

    Raises:
        CheckpointError: it is not there, or there is an empty folder or file.
    """
    if HUB_ID.fullmatch(name) and not _local(name):
        return
    path = locate(name)
    files = [f for f in path.iterdir() if f.is_file()] if path.is_dir() else [path]
    if not any(file.stat().st_size for file in files):
        raise CheckpointError(
            f"the {'folder' if path.is_dir() else 'file'} is empty",
            where=name,
            expected="an encoder",
            hint="copy or download it again",
        )
    if path.is_dir() and not is_sweep_folder(path):
        _refuse_no_encoder(path)


def _refuse_no_encoder(folder: Path) -> None:
    """Refuse a folder without a configuration or without weights, as its reader does, at once."""
    if not any((folder / name).is_file() for name in ("config.json", ADAPTER)):
        raise no_configuration(folder)
    weights = [name for name in main_files(folder) if not HEADS.fullmatch(name)]
    if not weights and not any(folder.glob("*.index.json")):
        raise no_weights(folder)
    for single in (WEIGHTS, TORCH_WEIGHTS):
        index = folder / f"{single}.index.json"
        if not (folder / single).is_file() and index.is_file():
            shards_of(index)
        if (folder / single).is_file() or index.is_file():
            break  # that is what is read


def weight_files(folder: Path) -> list[Path]:
    """Give the files in a folder that may hold weights."""
    return sorted(path for path in folder.iterdir() if path.suffix in WEIGHT_KINDS)


def main_files(folder: Path) -> dict[str, Path]:
    """Give those of them, by name, that are no part beside an encoder."""
    names = {path.name: path for path in weight_files(folder)}
    return {n: p for n, p in names.items() if n != EXTRAS_FILE and not ADAPTER_OF.fullmatch(n)}


def shards_of(index: Path) -> dict[str, Path]:
    """Give the files that an index of shards names, in the order of their names.

    Args:
        index: a file such as `model.safetensors.index.json`.

    Raises:
        CheckpointError: it is no index, a name leads out of its folder, or a file is not there.
    """
    mapping = read_json_object(index).get("weight_map")
    names = mapping.values() if isinstance(mapping, dict) else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise CheckpointError(
            "the index of shards has no weight_map", where=index, expected="tensor → file"
        )
    inside = {n: path_below(index.parent, n, "a shard", CheckpointError, index) for n in names}
    absent = sorted(name for name, path in inside.items() if not path.is_file())
    if absent:
        raise CheckpointError(
            "shards of the weights are missing",
            where=index.parent,
            expected=f"{len(inside)} files",
            found=f"without {', '.join(absent[:4])}" + (", …" if len(absent) > 4 else ""),
            hint="download the missing files",
        )
    return dict(sorted(inside.items()))


def no_configuration(folder: Path) -> CheckpointError:
    """Say that a folder is no encoder."""
    if any(path.name in ADAPTER_WEIGHTS for path in weight_files(folder)):
        return CheckpointError(
            "the folder holds an adapter's weights without its settings",
            where=folder,
            expected=f"a file {ADAPTER}",
            found="no such file",
            hint=f"copy {ADAPTER} beside the weights: it says how they are put on, and on what",
        )
    return CheckpointError(
        "this folder is no encoder",
        where=folder,
        expected="a file config.json",
        found="no such file",
        hint=_other_files(folder) or "give the folder that save() or save_pretrained() wrote",
    )


def no_weights(folder: Path) -> CheckpointError:
    """Say that a folder has a configuration, and nothing under a name that weights have."""
    return CheckpointError(
        "the folder has a configuration but no weights",
        where=folder,
        expected="model.safetensors or pytorch_model.bin",
        hint=_other_files(folder) or "copy the weights beside config.json",
    )


def _other_files(folder: Path) -> str | None:
    files = [path.name for path in weight_files(folder)][:3]
    known = {p.parent.name for name in ("config.json", ADAPTER) for p in folder.glob(f"*/{name}")}
    folders = sorted(known)[:3]
    names = " or ".join(str(folder / name) for name in files + folders)
    return f"give {names} itself" if names else None


EncoderName = Annotated[PathText, Input(encoder_id, refuse_absent_here)]
"""A settings field that names an ENCODER."""


def is_sweep_folder(path: Path | str) -> bool:
    """Say whether a folder holds a sweep."""
    return (Path(path) / SWEEP_FILE).is_file()


def packaged_names() -> list[str]:
    """Give the names of the encoders that come with the package."""
    assets = Path(str(resources.files("speechft"))) / "assets"
    return sorted(p.name for p in assets.glob("*") if (p / "config.json").is_file())


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
        path = home_expanded(path_or_id)
        return path if str(path_or_id) and path.exists() else None
    except (OSError, RuntimeError, ValueError):
        return None


def _inside(path: Path) -> Path:
    """Give the encoder in the folder of a fine-tuning or pre-training run; else the path itself."""
    inner = path / "encoder"
    own = any((path / name).exists() for name in ("config.json", ADAPTER))
    return inner if path.is_dir() and not own and (inner / "config.json").is_file() else path


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


def computing(config: Mapping[str, Any]) -> dict[str, Any]:
    """Give what of a configuration may change a hidden state."""
    return {key: value for key, value in config.items() if key not in SAYS_NOTHING}


def stored_preprocessor(folder: Path) -> tuple[dict[str, Any], Path]:
    """Give the preprocessor's settings that a folder holds, and where; none if it holds none.

    They stand in `preprocessor_config.json`, or, as transformers 5 writes processors, in
    `processor_config.json` under `feature_extractor`. The first place goes first; `do_normalize` is
    taken from the second where the first does not say it.

    Raises:
        CheckpointError: a file is broken, or a setting would be followed wrongly.
    """
    settings, path = _stored(folder)
    if settings:
        _check_preprocessor(settings, path)
    return settings, path


def _stored(folder: Path) -> tuple[dict[str, Any], Path]:
    own, processor = folder / PREPROCESSOR, folder / PROCESSOR
    first = read_json_object(own) if own.is_file() else {}
    second = read_json_object(processor).get("feature_extractor") if processor.is_file() else None
    if not isinstance(second, dict):
        return first, own
    if not first:
        return second, processor
    said = {name: second[name] for name in ("do_normalize",) if name in second}
    return {**said, **first}, own


def context_of(name: str) -> str | None:
    """Give the context that an encoder in a folder has; None where there is none to choose."""
    path = locate(name)
    config = read_json_object(path / "config.json") if (path / "config.json").is_file() else {}
    if config.get("model_type") != "whisper":
        return None
    said: str = stored_preprocessor(path)[0].get(CONTEXT, get_args(Context)[0])
    return said


def _check_preprocessor(settings: dict[str, Any], path: Path) -> None:
    """Refuse preprocessor settings that would be followed wrongly."""
    rules: dict[str, tuple[type | tuple[type, ...], str]] = {
        "do_normalize": ((bool, type(None)), "true or false"),
        "normalize_eps": ((int, float), "a number"),
        "sampling_rate": ((int, float), "16000"),
    }
    for name, (kinds, expected) in rules.items():
        value = settings.get(name)
        if name in settings and not isinstance(value, kinds):
            raise CheckpointError(
                f"the preprocessor's {name} cannot be used",
                where=path,
                expected=expected,
                found=repr(value),
            )
    rate = settings.get("sampling_rate", 16000)
    if rate != 16000:
        what = "the encoder takes audio of another sampling rate than 16 kHz"
        raise CheckpointError(what, where=path, expected="sampling_rate 16000", found=rate)


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object."""
    try:
        values = read_json(path)
    except (OSError, ValueError) as error:
        raise CheckpointError("cannot read the file as JSON", where=path, found=error) from None
    if not isinstance(values, dict):
        raise CheckpointError(
            "cannot use the file", where=path, expected="a JSON object", found=type(values).__name__
        )
    return values


# Of the Hub: pre-trained on audio alone, says who made them.
_AUDIO_ALONE: Final = frozenset(
    (
        *("facebook/hubert-base-ls960", "facebook/hubert-large-ll60k"),
        *("facebook/wav2vec2-base", "facebook/wav2vec2-large", "facebook/wav2vec2-large-lv60"),
        *("microsoft/wavlm-base", "microsoft/wavlm-base-plus", "microsoft/wavlm-large"),
    )
)


def is_known(name: str) -> bool:
    """Tell whether a name is one of those that have heard nothing that can be in a test split."""
    repo, _, revision = name.partition("@")
    theirs = repo in _AUDIO_ALONE and not revision.startswith("refs/")  # what anybody proposes
    return (theirs or name in packaged_names()) and not Path(name).exists()


def heard_of(name: str | Path) -> Heard:
    """Give what an encoder has heard with labels.

    Packaged encoders, and well-known ones of the Hub, have heard nothing that can be in a test
    split; of all others it is known where a list lies beside them that speaks of their weights.

    Args:
        name: a folder, a checkpoint file, a packaged name or a Hub id.

    Raises:
        CheckpointError: the list is damaged.
    """
    if is_known(str(name)):
        return Heard()
    try:
        path = locate(name)
    except CheckpointError:  # whoever loads it says so
        return Heard(known=False)
    config = path.parent / "config.json"
    of_folder = config.is_file() and (path == config or LOADED.fullmatch(path.name))
    return read_heard(path.parent if of_folder and path.is_file() else path)


_NO_WEIGHTS: Final = {
    b"version https://git-lfs": ("a pointer of git-lfs in the place of the file", "git lfs pull"),
    b"<!doctype html": ("a page of a website in the place of the file", ""),
    b"<html": ("a page of a website in the place of the file", ""),
}
#: Files that go with an encoder as they are: how text is made, adapters, the license.
BELONGS: Final = re.compile(
    r"(generation_config|processor_config|tokenizer|tokenizer_config|special_tokens_map"
    r"|added_tokens|vocab|normalizer)\.json|vocab\.txt|merges\.txt|.*\.model|chat_template\..*"
    r"|adapter\.[\w-]+\.safetensors|LICENSE.*"
)
#: Files of an encoder's folder that are written anew with it, have a rule of their own (heads), or
#: say how it was made.
_MADE_ANEW: Final = re.compile(rf"{OWN_FILES.pattern}|begun\.json|README\.md")


def damage(path: Path, found: object) -> dict[str, Any]:
    """Say what stands in the place of weights that cannot be read, and what to do.

    Args:
        path: the file.
        found: what its reader says.
    """
    try:
        with path.open("rb") as file:
            head = file.read(32).lstrip().lower()
    except OSError as error:
        return {"found": error.strerror, "hint": "see who may read it, and that it is there"}
    for start, (what, command) in _NO_WEIGHTS.items():
        if head.startswith(start):
            return {"found": what, "hint": command and f"run `{command}` in its folder"}
    size = f"{path.stat().st_size} bytes"
    return {"found": f"{found} ({size})", "hint": "copy or download it again"}


def carry(source: Path, target: Path) -> list[str]:
    """Copy what else belongs to an encoder's folder; give the names of what stays behind."""
    left: list[str] = []
    for path in sorted(source.iterdir()) if source.is_dir() else ():
        hidden = path.name.startswith(".") or not path.is_file()
        if hidden or _MADE_ANEW.fullmatch(path.name):
            continue
        if BELONGS.fullmatch(path.name):
            shutil.copyfile(path, target / path.name)
        else:
            left.append(path.name)
    return left

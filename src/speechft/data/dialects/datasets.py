"""Hugging Face `datasets` saved on disk (`save_to_disk`), read with pyarrow.

https://huggingface.co/docs/datasets/process#save
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from speechft.core.artifact import content_id
from speechft.core.errors import DataError, SettingsError
from speechft.core.extras import pip_install
from speechft.core.files import atomic_path, read_json
from speechft.core.paths import path_below
from speechft.data.dialects import Dialect, register
from speechft.data.external_programs import kept_folder
from speechft.data.table_files import Row, renamed

_STATE: Final = "state.json"
_INFO: Final = "dataset_info.json"
_NAMES: Final = {"sentence": "text", "speaker_id": "speaker"}


@register(
    "datasets",
    partial(
        Dialect,
        fits=lambda place: (place / _STATE).is_file() and (place / _INFO).is_file(),
        layout=f"what save_to_disk writes: {_STATE}, {_INFO} and .arrow files, "
        "or a folder per split",
    ),
)
def datasets(place: Path, notes: list[str]) -> list[Row]:
    """Read one data set, whose audio is kept as files; classes become their names.

    Raises:
        DataError: it cannot be read, or it has not one column of audio.
        SettingsError: pyarrow is not installed.
    """
    try:
        features = dict(read_json(place / _INFO)["features"])
        files = [record["filename"] for record in read_json(place / _STATE)["_data_files"]]
        kinds = {n: kind for n, kind in features.items() if isinstance(kind, Mapping)}
        heard = [name for name, kind in kinds.items() if kind.get("_type") == "Audio"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(place, error) from None
    if len(heard) != 1:
        what, found = "there is not one column of audio", ", ".join(heard or features)
        raise DataError(what, where=place, expected="one column of type Audio", found=found)
    rows: list[Row] = []
    for name in files:
        path = path_below(place, name, "a file", DataError, place / _STATE)
        for fields in _records(path, heard[0]):
            fields["audio"] = fields.pop(heard[0])
            rows.append(Row(len(rows), {k: _value(v, features.get(k)) for k, v in fields.items()}))
    return renamed(rows, _NAMES, notes)


def _records(path: Path, heard: str) -> Iterator[dict[str, Any]]:
    """Give the records of a file; the column of audio that is in it is kept as files."""
    try:
        import pyarrow
    except ImportError:
        raise SettingsError(
            "reading a data set of Hugging Face needs pyarrow",
            where=path,
            hint=pip_install("pyarrow"),
        ) from None
    try:
        folder, number = kept_folder() / content_id(path), 0
        with pyarrow.memory_map(str(path)) as file:
            for batch in pyarrow.ipc.open_stream(file):
                for record in batch.to_pylist():
                    yield record | {heard: _audio(record[heard], folder / f"{number:07d}")}
                    number += 1
    except (OSError, pyarrow.ArrowException) as error:
        raise _unreadable(path, error) from None


def _audio(value: Any, path: Path) -> Any:
    """Give the path of audio, kept as a file where its bytes are in the data set."""
    if not (isinstance(value, dict) and {"bytes", "path"} <= set(value)):
        return value
    if value["bytes"] is None:
        return value["path"]
    if not path.exists() or path.stat().st_size != len(value["bytes"]):
        with atomic_path(path) as temporary:
            temporary.write_bytes(value["bytes"])
    return str(path)


def _value(value: Any, kind: Any) -> Any:
    """Give the name of a class, also in a list of classes, and all else as it is."""
    if isinstance(value, list):  # older versions write its kind as a list of one
        inside = kind.get("feature") if isinstance(kind, Mapping) else (kind or [None])[0]
        return [_value(one, inside) for one in value]
    names = kind.get("names") if isinstance(kind, Mapping) else None
    if isinstance(names, list) and isinstance(value, int) and value < len(names):
        return names[value] if value >= 0 else None  # -1 where there is none
    return value


def _unreadable(path: Path, error: Exception) -> DataError:
    what, hint = "the data set cannot be read", "write it again with save_to_disk"
    return DataError(what, where=path, expected="Arrow streams", found=error, hint=hint)

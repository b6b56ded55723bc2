"""The merge's reader of safetensors files takes what the library takes, and nothing else."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import SafetensorError, safe_open

from speechft.core.errors import CheckpointError
from speechft.merging import tensorfile
from speechft.merging.tensorfile import TensorFile

GOOD = {
    "__metadata__": {"format": "pt"},
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "I64", "shape": [], "data_offsets": [24, 32]},
    "c": {"dtype": "F16", "shape": [0, 4], "data_offsets": [32, 32]},
}
ODD = [None, True, -1, 0, 1, 3, 24, 2.0, 192.9, 1e400, 2**63, 2**64, "2", "F32", [], [2], {}, "é"]


def write(path: Path, header: bytes, size: int = 32, length: int | None = None) -> Path:
    data = (len(header) if length is None else length).to_bytes(8, "little") + header
    path.write_bytes(data + bytes(size))
    return path


def refused_by_library(path: Path) -> bool:
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118  (it is no mapping)
                file.get_slice(name).get_shape()
    except (SafetensorError, OSError):
        return True
    return False


def refused_here(path: Path) -> bool:
    try:
        file = TensorFile(path)
    except CheckpointError:
        return True
    for info in file.tensors.values():
        assert file.read(info, 0, info.count).nbytes == info.nbytes
    file.close()
    return False


def mutated(random_: random.Random) -> tuple[bytes, int, int | None]:
    """Give a header, the size of the data, and the length that the file says."""
    header: Any = json.loads(json.dumps(GOOD))
    for _ in range(random_.choice([0, 1, 1, 2])):
        name = random_.choice(list(header))
        entry = header[name]
        kind = random_.randrange(5)
        if kind == 0 or not isinstance(entry, dict) or not entry:
            header[name] = random_.choice(ODD)
        elif kind == 1:
            entry[random_.choice(list(entry))] = random_.choice(ODD)
        elif kind == 2:
            entry.pop(random_.choice(list(entry)))
        else:
            key = random_.choice(list(entry))
            if isinstance(entry[key], list) and entry[key]:
                entry[key][random_.randrange(len(entry[key]))] = random_.choice(ODD)
            else:
                entry[f"new{kind}"] = random_.choice(ODD)
    text = json.dumps(header, allow_nan=True).encode()
    if random_.random() < 0.3:  # a key twice, or a byte that is another
        place = random_.randrange(len(text))
        twice = text[:1] + random_.choice([b'"a":', b'"__metadata__":{},"a":']) + b"{}," + text[1:]
        other = text[:place] + bytes([random_.randrange(256)]) + text[place:]
        text = random_.choice([twice, other])
    length = random_.choice([None] * 20 + [0, len(text) - 1, len(text) + 1, 2**63])
    return text, random_.choice([32] * 20 + [31, 33, 0]), length


def test_what_the_library_refuses_is_refused_here(tmp_path: Path) -> None:
    random_ = random.Random(0)
    path = tmp_path / "model.safetensors"
    answers = {True: 0, False: 0}
    for _ in range(400):
        write(path, *mutated(random_))
        expected = refused_by_library(path)
        assert refused_here(path) == expected, path.read_bytes()
        answers[expected] += 1
    assert min(answers.values()) > 20
    assert not refused_here(write(path, json.dumps(GOOD).encode()))


@pytest.mark.parametrize(
    "header",
    [
        b'{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1.9],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}}',
        b'{"__metadata__":3,"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
    ],
)
def test_headers_that_were_taken(tmp_path: Path, header: bytes) -> None:
    path = write(tmp_path / "x.safetensors", header, size=8 if b"[4,8]" in header else 4)
    assert refused_by_library(path)
    with pytest.raises(CheckpointError, match="whole safetensors file"):
        TensorFile(path)


def test_more_tensors_than_any_encoder_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorfile, "MAX_TENSORS", 1000)
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({str(n): empty for n in range(1001)}).encode()
    with pytest.raises(CheckpointError, match="more than any encoder has"):
        TensorFile(write(tmp_path / "many.safetensors", header, size=0))


def test_a_type_that_is_not_merged_is_named(tmp_path: Path) -> None:
    header = b'{"a":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}'
    with pytest.raises(CheckpointError, match="F8_E4M3 are not merged"):
        TensorFile(write(tmp_path / "eight.safetensors", header, size=4))


def test_values_are_read_where_they_are(tmp_path: Path) -> None:
    header = json.dumps(GOOD).encode()
    path = tmp_path / "x.safetensors"
    values = np.arange(6, dtype="<f4")
    path.write_bytes(len(header).to_bytes(8, "little") + header + values.tobytes() + bytes(8))
    file = TensorFile(path)
    np.testing.assert_array_equal(file.read(file.tensors["a"], 2, 5), values[2:5])
    file.close()

"""Nothing that a checkpoint says is ever run."""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import os
import pickle
import struct
import sys
import types
import zipfile
from pathlib import Path

import pytest
import torch

from speechft.core.errors import CheckpointError
from speechft.encoders import load_encoder
from speechft.encoders.formats.unpickle import Record, plain, read_torch_file

GADGETS = [
    ("os", "system"),
    ("posix", "system"),
    ("subprocess", "Popen"),
    ("subprocess", "check_output"),
    ("builtins", "eval"),
    ("builtins", "exec"),
    ("builtins", "__import__"),
    ("builtins", "getattr"),
    ("builtins", "open"),
    ("importlib", "import_module"),
    ("runpy", "run_path"),
    ("pathlib", "Path.unlink"),
    ("shutil", "rmtree"),
    ("functools", "partial"),
    ("operator", "attrgetter"),
    ("types", "FunctionType.__call__"),
    ("codecs", "decode"),
    ("pickle", "loads"),
    ("torch", "load"),
    ("torch.hub", "load"),
    ("torch.jit", "CompilationUnit"),
    ("torch.storage", "_load_from_bytes"),
    ("numpy.testing._private.utils", "runstring"),
    ("pip._internal.cli.main", "main"),
    ("ctypes", "CDLL"),
    ("webbrowser", "open"),
    ("__main__", "run"),
]


def gadget(module: str, name: str, argument: str) -> bytes:
    """Give a pickle that calls module.name(argument)."""
    text = argument.encode()
    call = b"c" + f"{module}\n{name}\n".encode() + b"(X" + struct.pack("<I", len(text)) + text
    return b"\x80\x02" + call + b"tR."


def nested(pickled: bytes) -> bytes:
    """Put the object of a pickle into {"model": {"w": [object]}}."""
    return b"\x80\x02}X\x05\x00\x00\x00model}X\x01\x00\x00\x00w]" + pickled[2:-1] + b"ass."


def zipped(path: Path, pickled: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".bin"])
@pytest.mark.parametrize(("module", "name"), GADGETS)
def test_gadgets_are_refused_by_name(tmp_path, module, name, suffix):
    trace = tmp_path / "trace"
    pickled = gadget(module, name, f"touch {trace}")
    for number, content in enumerate((pickled, nested(pickled))):
        path = tmp_path / f"zip{number}{suffix}"
        zipped(path, content)
        with pytest.raises(CheckpointError) as caught:
            load_encoder(path)
        assert f"{module}.{name}" in str(caught.value)
        assert "refused" in str(caught.value)
        path = tmp_path / f"plain{number}{suffix}"
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="refused"):
            load_encoder(path)
    assert not trace.exists()


@pytest.mark.parametrize("of", [collections.OrderedDict, torch.Tensor, "text"])
def test_attributes_of_what_is_known_are_refused(tmp_path, of):
    """A member of an enumeration is read by name; nothing else is."""

    class Attribute:
        def __reduce__(self):
            return getattr, (of, "__doc__")

    torch.save({"model": Attribute()}, tmp_path / "s.pt")
    with pytest.raises(CheckpointError, match=r"refused[\s\S]*(getattr|Tensor)"):
        load_encoder(tmp_path / "s.pt")


def test_the_gadget_is_real(tmp_path):
    """Control: the plain unpickler runs what ours refuses."""
    trace = tmp_path / "trace"
    pickle.loads(gadget("os", "system", f"touch {trace}"))
    assert trace.exists()


def test_gadgets_in_hugging_face_folders_and_side_doors(tmp_path, tiny_config):
    from speechft.encoders import build_encoder

    build_encoder(tiny_config("hubert"), 0).save(tmp_path / "hf")
    (tmp_path / "hf" / "model.safetensors").unlink()
    trace = tmp_path / "trace"
    pickled = gadget("os", "system", f"touch {trace}")
    zipped(tmp_path / "hf" / "pytorch_model.bin", nested(pickled))
    with pytest.raises(CheckpointError, match=r"os\.system"):
        load_encoder(tmp_path / "hf")
    (tmp_path / "x.safetensors").write_bytes(pickled)
    with pytest.raises(CheckpointError, match="as a safetensors file"):
        load_encoder(tmp_path / "x.safetensors")
    assert not trace.exists()


def test_torchscript_is_refused(tmp_path):
    path = tmp_path / "script.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(path))
    with pytest.raises(CheckpointError, match=r"TorchScript|refused"):
        read_torch_file(path)


def test_records_cannot_be_called_or_reach_their_class(tmp_path):
    """A record on the stack is neither a function nor a way to change this package."""
    called = b"\x80\x02cfairseq.x\nThing\n)R)R."
    zipped(tmp_path / "called.pt", called)
    with pytest.raises(CheckpointError):
        read_torch_file(tmp_path / "called.pt")
    builder = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x01sb."
    zipped(tmp_path / "builder.pt", builder)
    with pytest.raises(CheckpointError):
        read_torch_file(tmp_path / "builder.pt")
    kind = b"\x80\x02cfairseq.x\nThing\nN}X\x05\x00\x00\x00stateK\x01s\x86b."
    zipped(tmp_path / "kind.pt", kind)
    with contextlib.suppress(CheckpointError):
        read_torch_file(tmp_path / "kind.pt")
    assert not hasattr(Record, "state")


def test_no_module_is_imported(tmp_path):
    (tmp_path / "evil_on_import.py").write_text("raise SystemExit('imported')\n")
    sys.path.insert(0, str(tmp_path))
    try:
        zipped(tmp_path / "a.pt", b"\x80\x02cevil_on_import\nThing\n)R.")
        value = read_torch_file(tmp_path / "a.pt")
    finally:
        sys.path.remove(str(tmp_path))
    assert isinstance(value, Record)
    assert "evil_on_import" not in sys.modules


TENSORS = {
    "float": torch.randn(3, 4),
    "half": torch.randn(5).half(),
    "bf16": torch.randn(2, 2).bfloat16(),
    "long": torch.arange(6),
    "bool": torch.tensor([True, False]),
    "scalar": torch.tensor(3.5),
    "empty": torch.empty(0, 3),
    "transposed": torch.randn(3, 4).T,
    "slice": torch.arange(10.0)[2:8:2],
    "parameter": torch.nn.Parameter(torch.randn(2)),
}


@pytest.mark.parametrize("legacy", [False, True])
def test_against_torch_load(tmp_path, legacy):
    content = {
        "tensors": collections.OrderedDict(TENSORS),
        "shared": [TENSORS["float"], TENSORS["float"][1]],
        "plain": [1, 2.5, None, True, "text", (1, 2), {3, 4}, b"bytes", {"a": torch.Size([2])}],
        "dtype": torch.float16,
        "namespace": argparse.Namespace(arch="hubert", layers=[1, 2]),
        "default": collections.defaultdict(list, a=[1]),
    }
    path = tmp_path / "content.pt"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    found = read_torch_file(path)
    for name, tensor in TENSORS.items():
        assert torch.equal(found["tensors"][name], tensor), name
        assert found["tensors"][name].dtype == tensor.dtype
    assert found["shared"][1].data_ptr() == found["shared"][0][1].data_ptr()
    assert found["plain"][:8] == content["plain"][:8]
    assert found["dtype"] == torch.float16
    assert plain(found["namespace"]) == {"arch": "hubert", "layers": [1, 2]}
    assert found["default"] == {"a": [1]}


def fake_modules(monkeypatch) -> types.SimpleNamespace:
    """Make stand-ins for fairseq's and omegaconf's classes."""
    made = {}
    classes = {
        "Dictionary": "fairseq.data.dictionary",
        "DictConfig": "omegaconf.dictconfig",
        "AnyNode": "omegaconf.nodes",
        "ContainerMetadata": "omegaconf.base",
    }
    parents = ["fairseq", "fairseq.data", "omegaconf"]
    for module in [*parents, *classes.values()]:
        monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
    for name, module in classes.items():
        kind = type(name, (), {"__module__": module})
        setattr(sys.modules[module], name, kind)
        made[name] = kind
    return types.SimpleNamespace(**made)


def with_attributes(kind, **attributes):
    made = kind()
    made.__dict__.update(attributes)
    return made


def test_fairseq_objects_become_plain_values(tmp_path, monkeypatch):
    fake = fake_modules(monkeypatch)
    node = with_attributes(fake.AnyNode, _val=768, _parent=None)
    metadata = with_attributes(fake.ContainerMetadata, ref_type=dict)
    config = with_attributes(fake.DictConfig, _metadata=metadata, _content={"dim": node})
    node._parent = config
    words = with_attributes(fake.Dictionary, symbols=["a", "b"], indices={"a": 0, "b": 1})
    torch.save({"cfg": config, "task_state": {"dictionaries": [words]}}, tmp_path / "f.pt")
    monkeypatch.undo()
    found = read_torch_file(tmp_path / "f.pt")
    assert isinstance(found["cfg"], Record)
    assert plain(found) == {"cfg": {"dim": 768}, "task_state": {"dictionaries": [["a", "b"]]}}


def test_tensors_cannot_reach_beyond_their_storage(tmp_path):
    class Bad:
        def __reduce__(self):
            storage = torch.arange(4.0).storage()
            return torch._utils._rebuild_tensor_v2, (storage, 2, (4,), (1,), False, {})

    buffer = io.BytesIO()
    torch.save({"w": Bad()}, buffer)
    (tmp_path / "bad.pt").write_bytes(buffer.getvalue())
    with pytest.raises(CheckpointError, match="beyond its storage"):
        read_torch_file(tmp_path / "bad.pt")


def test_a_whole_pickled_module_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(CheckpointError, match=r"torch\.nn"):
        read_torch_file(tmp_path / "module.pt")
    assert os.path.getsize(tmp_path / "module.pt") > 0


@pytest.mark.parametrize("name", ["eval", "execfile", "apply", "reduce", "raw_input"])
def test_names_of_python_2_are_no_way_around(tmp_path, name):
    zipped(tmp_path / "old.pt", gadget("__builtin__", name, "1"))
    with pytest.raises(CheckpointError, match="refused"):
        read_torch_file(tmp_path / "old.pt")

"""Files made to do harm: to run code, to fill the memory, to take forever, or to be half right."""

from __future__ import annotations

import collections
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from speechft.core.errors import CheckpointError
from speechft.encoders import build_encoder, load_encoder
from speechft.encoders.formats.unpickle import LEGACY_MAGIC, LEGACY_PROTOCOL, read_torch_file
from speechft.encoders.formats.write import write_checkpoint
from speechft.encoders.load import read_checkpoint

HUBERT = Path(__file__).parent.parent / "fixtures" / "parity" / "hubert-tiny.pt"


class Gadget:
    """An object that calls os.system when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def zipped(path: Path, pickled: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
    return path


def legacy(path: Path, content: bytes) -> Path:
    head = pickle.dumps(LEGACY_MAGIC, 2) + pickle.dumps(LEGACY_PROTOCOL, 2)
    path.write_bytes(head + pickle.dumps({"little_endian": True}, 2) + content)
    return path


def tarred(path: Path, content: bytes) -> Path:
    """Give the format of torch before 0.2: four pickles in a tar archive."""
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def folder(tmp_path, tiny_config):
    build_encoder(tiny_config("hubert"), 0).save(tmp_path / "hf")
    return tmp_path / "hf"


@pytest.mark.parametrize("protocol", range(6))
def test_no_protocol_and_no_container_runs_code(tmp_path, folder, protocol):
    trace = tmp_path / "trace"
    inner = {"model": [{"w": (Gadget(f"touch {trace}"),)}], "cfg": {"task": {1: "x"}}}
    pickled = pickle.dumps(inner, protocol)
    paths = [zipped(tmp_path / "a.pt", pickled), legacy(tmp_path / "b.pt", pickled)]
    (folder / "model.safetensors").unlink()
    zipped(folder / "pytorch_model.bin", pickled)
    for path in [*paths, folder]:
        with pytest.raises(CheckpointError, match=r"refused[\s\S]*system"):
            load_encoder(path)
    (tmp_path / "c.pt").write_bytes(pickled)
    with pytest.raises(CheckpointError):
        load_encoder(tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match="tar archive"):
        load_encoder(tarred(tmp_path / "d.pt", pickled))
    assert not trace.exists()
    pickle.loads(pickled)
    assert trace.exists(), "control: the plain unpickler runs it"


def test_gadgets_in_shards_and_adapters(tmp_path, folder):
    trace = tmp_path / "trace"
    pickled = pickle.dumps({"w": Gadget(f"touch {trace}")}, 2)
    (folder / "model.safetensors").unlink()
    zipped(folder / "pytorch_model-00001-of-00001.bin", pickled)
    index = {"weight_map": {"w": "pytorch_model-00001-of-00001.bin"}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": str(HUBERT)})
    )
    zipped(adapter / "adapter_model.bin", pickled)
    for path in (folder, adapter):
        with pytest.raises(CheckpointError, match="refused"):
            load_encoder(path)
    assert not trace.exists()


def test_a_memo_larger_than_the_file_is_refused(tmp_path):
    """The unpickler in C would fill a table of 2³² entries."""
    for opcode in (b"Nr" + struct.pack("<I", 2**32 - 1), b"Np4294967295\n"):
        pickled = b"\x80\x02" + opcode + b"."
        for path in (zipped(tmp_path / "a.pt", pickled), legacy(tmp_path / "b.pt", pickled)):
            with pytest.raises(CheckpointError, match="memo"):
                read_torch_file(path)


def test_zip_bombs_are_refused(tmp_path):
    buffer = io.BytesIO()
    torch.save({"model": {"w": torch.zeros(100_000)}}, buffer)
    with (
        zipfile.ZipFile(buffer) as source,
        zipfile.ZipFile(tmp_path / "deflated.pt", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(CheckpointError, match="compressed"):
        read_torch_file(tmp_path / "deflated.pt")
    path = zipped(tmp_path / "long.pt", pickle.dumps({"w": "x" * 3000}))
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\x01\x02") + 20
    data[place : place + 8] = struct.pack("<II", 10**6, 10**6)
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="larger than the file"):
        read_torch_file(path)


def test_settings_that_multiply_are_refused(tmp_path):
    content = torch.load(HUBERT, weights_only=True)
    many = [1]
    for _ in range(30):
        many = [many] * 8
    content["model_cfg"]["bomb"] = many
    torch.save(content, tmp_path / "bomb.pt")
    with pytest.raises(CheckpointError, match="settings of more than"):
        load_encoder(tmp_path / "bomb.pt")


def test_a_file_cannot_change_how_its_containers_behave(tmp_path):
    class Odd:
        def __reduce__(self):
            items = iter([("a", torch.ones(2))])
            attributes = {"values": 5, "items": 6, "__class__": int}
            return collections.OrderedDict, (), attributes, None, items

    torch.save(Odd(), tmp_path / "odd.pt")
    found = read_torch_file(tmp_path / "odd.pt")
    assert next(iter(found.items()))[0] == "a"
    with pytest.raises(CheckpointError, match="no speech encoder"):
        load_encoder(tmp_path / "odd.pt")


def test_text_is_not_decoded_by_a_codec_of_the_files_choice(tmp_path):
    called = b"\x80\x03cbuiltins\nstr\nC\x03abcX\x05\x00\x00\x00punycX\x06\x00\x00\x00strict\x87R."
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_torch_file(zipped(tmp_path / "a.pt", called))


def test_a_tensor_is_not_larger_than_its_bytes(tmp_path):
    torch.save({"w": torch.ones(1).expand(10**6)}, tmp_path / "wide.pt")
    with pytest.raises(CheckpointError, match="larger than its storage"):
        read_torch_file(tmp_path / "wide.pt")


def test_deep_and_strange_keys_end_in_one_error(tmp_path):
    deep = b"\x80\x02}N" + b"\x85" * 5000 + b"Ns."
    with pytest.raises(CheckpointError, match="format"):
        load_encoder(zipped(tmp_path / "deep.pt", deep))
    torch.save({"model": {1: torch.ones(2), ("a",): torch.ones(1)}}, tmp_path / "k.pt")
    with pytest.raises(CheckpointError, match="no speech encoder"):
        load_encoder(tmp_path / "k.pt")


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.float8_e4m3fn, torch.complex64])
def test_weights_of_types_that_hold_none_are_refused(folder, dtype):
    tensors = load_file(folder / "model.safetensors")
    save_file({n: t.to(dtype) for n, t in tensors.items()}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"type: masked_spec_embed is") as caught:
        load_encoder(folder)
    assert str(dtype).removeprefix("torch.") in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precisions_are_loaded_and_kept(tmp_path, folder, dtype):
    wanted = load_file(folder / "model.safetensors")
    tensors = {n: t.to(dtype) for n, t in wanted.items()}
    save_file(tensors, folder / "model.safetensors")
    assert load_encoder(folder).model.masked_spec_embed.dtype == torch.float32
    for to in ("hf", "s3prl"):
        write_checkpoint(read_checkpoint(folder), tmp_path / f"{to}.pt", to)
        found = read_checkpoint(tmp_path / f"{to}.pt").tensors
        assert all(torch.equal(found[n], t) and found[n].dtype == dtype for n, t in tensors.items())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(folder, value):
    tensors = load_file(folder / "model.safetensors")
    tensors["encoder.layer_norm.weight"][3] = value
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"not finite[\s\S]*encoder\.layer_norm\.weight"):
        load_encoder(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_hidden_layers", 10**9),
        ("num_hidden_layers", 0),
        ("num_attention_heads", 0),
        ("num_attention_heads", -4),
        ("conv_stride", [5, 2, 2, 2, 2, 2, 0]),
        ("conv_kernel", [10, 3, 3, 3, 3, 2, -2]),
        ("model_type", ["hubert"]),
        ("model_type", {}),
    ],
)
def test_sizes_that_no_encoder_has(folder, name, value):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(CheckpointError) as caught:
        load_encoder(folder)
    assert name in str(caught.value) or "model type" in str(caught.value)


@pytest.mark.parametrize(("name", "value"), [("encoder_layers", 10**8), ("encoder_layers", True)])
def test_sizes_that_no_encoder_has_in_a_torch_file(tmp_path, name, value):
    content = torch.load(HUBERT, weights_only=True)
    content["model_cfg"][name] = value
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(CheckpointError):
        load_encoder(tmp_path / "x.pt")


@pytest.mark.parametrize(
    "settings",
    [
        {"do_normalize": "perhaps"},
        {"normalize_eps": "x"},
        {"sampling_rate": 8000},
        {"sampling_rate": []},
    ],
)
def test_preprocessor_settings_that_would_be_followed_wrongly(folder, settings):
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match=next(iter(settings))):
        load_encoder(folder)


@pytest.mark.parametrize("mapping", [{"a": 5, "b": "c"}, {"a": ["x"]}, [], None, {"a": "../../x"}])
def test_indices_of_shards_that_are_none(folder, mapping):
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": mapping}))
    with pytest.raises(CheckpointError, match=r"weight_map|shard"):
        load_encoder(folder)


@pytest.mark.parametrize("source", ["[1, 2]", "{", "5"])
def test_a_broken_side_file(folder, source):
    save_file({"x": torch.ones(2)}, folder / "extras.safetensors", metadata={"source": source})
    with pytest.raises(CheckpointError, match="side file"):
        load_encoder(folder)


@pytest.mark.parametrize("value", [7, [5], "abc", {"a": 1}])
def test_dictionaries_that_are_none_do_not_come_along(tmp_path, value):
    content = torch.load(HUBERT, weights_only=True)
    torch.save({**content, "dictionaries_symbols": value}, tmp_path / "x.pt")
    write_checkpoint(read_checkpoint(tmp_path / "x.pt"), tmp_path / "y.pt", "s3prl")
    found = torch.load(tmp_path / "y.pt", weights_only=True)
    rows = len(content["model_weight"]["label_embs_concat"])
    assert [len(symbols) for symbols in found["dictionaries_symbols"]] == [rows]


@pytest.mark.parametrize(
    "name", ["a" * 5000, "a\0b", "", "~nobody-of-this-name/x", "x" * 300 + ".pt"]
)
def test_names_that_no_file_can_have(name):
    with pytest.raises(CheckpointError, match="no such encoder"):
        load_encoder(name)


def test_links_are_followed_and_dangling_ones_said(tmp_path, folder):
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "link.pt").symlink_to(HUBERT)
    assert load_encoder(tmp_path / "link").fingerprint() == load_encoder(folder).fingerprint()
    assert load_encoder(tmp_path / "link.pt").family == "hubert"
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "gone.pt").symlink_to("nowhere.pt")
    for name in ("loop", "gone.pt"):
        with pytest.raises(CheckpointError, match="no such encoder"):
            load_encoder(tmp_path / name)


def test_the_folder_of_a_run_stands_for_its_encoder(tmp_path, folder):
    (tmp_path / "run").mkdir()
    folder.rename(tmp_path / "run" / "encoder")
    (tmp_path / "run" / "metrics.jsonl").write_text("")
    assert load_encoder(tmp_path / "run").family == "hubert"


def test_a_folder_that_is_no_encoder_says_what_lies_in_it(tmp_path):
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "hubert_base_ls960.pt").write_bytes(HUBERT.read_bytes())
    with pytest.raises(CheckpointError, match=r"give \S*hubert_base_ls960\.pt itself"):
        load_encoder(tmp_path / "downloads")


def test_a_header_of_safetensors_that_lies(folder):
    path = folder / "model.safetensors"
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    for lie in (0, 1, size - 1, size + 1, 10**9, 2**63, 2**64 - 1):
        path.write_bytes(struct.pack("<Q", lie) + data[8:])
        with pytest.raises(CheckpointError, match="safetensors"):
            load_encoder(folder)


@pytest.mark.parametrize("name", ["naked.pt", "naked.safetensors"])
def test_weights_alone_name_a_way_that_every_command_has(tmp_path, folder, name):
    """`merge` and `finetune` have no --base, so the way out is `convert`, which has it."""
    tensors = load_file(folder / "model.safetensors")
    save = save_file if name.endswith(".safetensors") else torch.save
    save(tensors, tmp_path / name)
    with pytest.raises(CheckpointError, match="convert FILE FOLDER --to hf --base ENCODER"):
        load_encoder(tmp_path / name)
    wanted = load_encoder(folder).fingerprint()
    assert load_encoder(tmp_path / name, base=folder).fingerprint() == wanted
    write_checkpoint(read_checkpoint(tmp_path / name, base=folder), tmp_path / "whole", "hf")
    assert load_encoder(tmp_path / "whole").fingerprint() == wanted

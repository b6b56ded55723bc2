"""Bad inputs, each a function that makes it in the current folder and gives its name."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile
import torch
from fault_world import write_table
from safetensors.torch import load_file, save_file

Make = Callable[[], str]
BOMB: Final = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{c}: &{c} [{','.join([f'*{b}'] * 9)}]\n" for b, c in zip("abcdefgh", "bcdefghi", strict=True)
)
DEEP: Final = "[" * 10_000 + "]" * 10_000
MARKUP: Final = "[bold]a[/b] <b>&amp; $\\frac{1}$ |x|"
ESCAPES: Final = "\x1b[31mred\x1b]0;title\x07"


def _encoder(change: Callable[[Path], Any]) -> Make:
    def make() -> str:
        shutil.copytree("enc", "bad")
        change(Path("bad"))
        return "bad"

    return make


def _weights(change: Callable[[bytearray], bytes | bytearray]) -> Make:
    def edit(folder: Path) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(change(bytearray(path.read_bytes())))

    return _encoder(edit)


def _tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Make:
    def edit(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        save_file(change(tensors) or tensors, folder / "model.safetensors")

    return _encoder(edit)


def _config(**values: Any) -> Make:
    def edit(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return _encoder(edit)


def _text(name: str, text: str | bytes) -> Make:
    def edit(folder: Path) -> None:
        data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
        (folder / name).write_bytes(data)

    return _encoder(edit)


def _flip(place: float, bit: int = 3) -> Callable[[bytearray], bytearray]:
    def flip(data: bytearray) -> bytearray:
        data[int(place * len(data))] ^= 1 << bit
        return data

    return flip


def _zeros(start: int) -> Callable[[bytearray], bytearray]:
    def zero(data: bytearray) -> bytearray:
        data[start : start + 512] = bytes(len(data[start : start + 512]))
        return data

    return zero


def _first(value: Any) -> Callable[[dict[str, torch.Tensor]], Any]:
    def change(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        name = "encoder.layers.0.attention.k_proj.weight"
        return {**tensors, name: value(tensors[name])}

    return change


def _file(name: str, data: bytes | str) -> Make:
    def make() -> str:
        content = data if isinstance(data, bytes) else data.encode("utf-8", "surrogateescape")
        Path(name).write_bytes(content)
        return name

    return make


def _torch(value: Callable[[], Any], change: Callable[[bytearray], Any] = lambda d: d) -> Make:
    def make() -> str:
        torch.save(value(), "bad.pt")
        path = Path("bad.pt")
        path.write_bytes(change(bytearray(path.read_bytes())))
        return "bad.pt"

    return make


def _state() -> dict[str, Any]:
    return {"model": load_file("enc/model.safetensors")}


class _Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


def _link(name: str, target: str) -> Make:
    def make() -> str:
        Path(name).symlink_to(target)
        return name

    return make


def _pipe(name: str) -> Make:
    def make() -> str:
        os.mkfifo(name)
        return name

    return make


def _folder(name: str) -> Make:
    def make() -> str:
        Path(name).mkdir()
        return name

    return make


def _shards(name: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        index = {"weight_map": {"encoder.layer_norm.weight": name}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    return edit


def _adapter(**values: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        settings = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"], **values}
        (folder / "adapter_config.json").write_text(json.dumps(settings))

    return edit


#: What may stand where an ENCODER is asked for; every command says so with exit code 4.
ENCODERS: Final[dict[str, Make]] = {
    "a path that is not there": lambda: "nowhere/encoder",
    "a home that nobody has": lambda: "~nobody-at-all/encoder",
    "an empty name": lambda: "",
    "a name of control characters": lambda: f"no{ESCAPES}",
    "a name with markup": lambda: MARKUP,
    "a name too long for a file": lambda: "x" * 5000,
    "a name with a zero byte": lambda: "a\0b",
    "a name that is not UTF-8": lambda: "bad\udcff",
    "an empty file": _file("empty.pt", b""),
    "an empty folder": _folder("hollow"),
    "a text": lambda: "notes.txt",
    "a table": lambda: "data.csv",
    "a link to itself": _link("loop", "loop"),
    "a link to nothing": _link("gone", "nothing"),
    "a named pipe": _pipe("pipe.safetensors"),
    "weights cut to a tenth": _weights(lambda d: d[: len(d) // 10]),
    "weights without the last byte": _weights(lambda d: d[:-1]),
    "weights of one byte": _weights(lambda _: b"\0"),
    "weights with something behind": _weights(lambda d: d + b"x"),
    "a flipped bit in the header's length": _weights(_flip(0)),
    "a page of zeros over the header": _weights(_zeros(8)),
    "a pointer of git-lfs": _text("model.safetensors", "version https://git-lfs.github.com/x\n"),
    "a web page as weights": _text("model.safetensors", "<!DOCTYPE html><html></html>"),
    "no weights": _encoder(lambda f: (f / "model.safetensors").unlink()),
    "a folder as weights": _encoder(
        lambda f: ((f / "model.safetensors").unlink(), (f / "model.safetensors").mkdir())
    ),
    "NaN weights": _tensors(_first(lambda t: t * float("nan"))),
    "infinite weights": _tensors(_first(lambda t: t + float("inf"))),
    "weights of another shape": _tensors(_first(lambda t: t[:, :-1].contiguous())),
    "weights of integers": _tensors(_first(lambda t: t.to(torch.int8))),
    "a tensor missing": _tensors(lambda t: {n: x for n, x in t.items() if "k_proj" not in n}),
    "empty tensors": _tensors(lambda t: {n: torch.empty(0) for n in t}),
    "no tensors": _tensors(lambda _: {"x": torch.zeros(1)}),
    "no config": _encoder(lambda f: (f / "config.json").unlink()),
    "config that is no JSON": _text("config.json", "{"),
    "config that is a list": _text("config.json", "[]"),
    "config that is null": _text("config.json", "null"),
    "config that is empty": _text("config.json", ""),
    "config that is not UTF-8": _text("config.json", b"\xff\xfe{}"),
    "config nested ten thousand deep": _text("config.json", DEEP),
    "config with a number of 10^5 digits": _text("config.json", '{"a": ' + "1" * 100_000 + "}"),
    "config of an unknown type": _config(model_type="mp3"),
    "config of a text model": _config(model_type="bert"),
    "config without a type": _config(model_type=None),
    "config whose type is a list": _config(model_type=["hubert"]),
    "config of 10^9 layers": _config(num_hidden_layers=10**9),
    "config with a negative size": _config(hidden_size=-1),
    "config with a size that is text": _config(hidden_size="large"),
    "config with heads that do not divide": _config(num_attention_heads=5),
    "config with strides of zero": _config(conv_stride=[0] * 7),
    "config with an unknown activation": _config(hidden_act="soft"),
    "preprocessor that is no JSON": _text("preprocessor_config.json", "{"),
    "preprocessor of 8 kHz": _text("preprocessor_config.json", '{"sampling_rate": 8000}'),
    "preprocessor whose do_normalize is text": _text(
        "preprocessor_config.json", '{"do_normalize": "no"}'
    ),
    "a shard that is missing": _encoder(_shards("model-1.safetensors")),
    "a shard that leaves the folder": _encoder(_shards("../enc/model.safetensors")),
    "a shard that is a number": _encoder(_shards(3)),
    "an index that is a list": _encoder(
        lambda f: (_shards("x")(f), (f / "model.safetensors.index.json").write_text("[]"))
    ),
    "an adapter without a base": _encoder(_adapter()),
    "an adapter of itself": _encoder(_adapter(base_model_name_or_path="bad")),
    "an adapter without weights": _encoder(_adapter(base_model_name_or_path="enc")),
    "an adapter whose settings are a list": _text("adapter_config.json", "[]"),
    "a pickle that runs a command": _torch(_Runs),
    "a pickle of a list": _torch(lambda: [1, 2]),
    "a pickle of no tensors": _torch(lambda: {"model": {}}),
    "a torch file cut in half": _torch(_state, lambda d: d[: len(d) // 2]),
    "a torch file with a flipped bit": _torch(_state, _flip(0.002)),
    "a torch file of zeros": _torch(_state, lambda d: bytes(len(d))),
    "transformers' names without a config": _torch(lambda: load_file("enc/model.safetensors")),
    "a zip that is no torch file": _file("bad.pt", b"PK\x03\x04" + b"\0" * 50),
}


def _table(**columns: str | None) -> Make:
    return lambda: str(write_table(Path("bad.csv"), **columns))


def _audio(samples: Any, rate: int = 16000, name: str = "bad.wav", **more: Any) -> Make:
    def make() -> str:
        soundfile.write(f"audio/{name}", np.asarray(samples), rate, **more)
        return str(write_table(Path("bad.csv"), audio=f"audio/{name}"))

    return make


def _sound(data: bytes, name: str = "bad.wav") -> Make:
    def make() -> str:
        Path("audio", name).write_bytes(data)
        return str(write_table(Path("bad.csv"), audio=f"audio/{name}"))

    return make


def _cuts(change: Callable[[dict[str, Any]], Any]) -> Make:
    def make() -> str:
        source = {"type": "file", "channels": [0], "source": "audio/train0.wav"}
        recording = {
            **{"id": "r", "sources": [source], "sampling_rate": 16000, "num_samples": 8000},
            **{"duration": 0.5, "channel_ids": [0]},
        }
        cut = {
            **{"id": "c", "start": 0, "duration": 0.5, "channel": 0, "supervisions": []},
            **{"recording": recording, "type": "MonoCut"},
        }
        Path("bad.jsonl").write_text(json.dumps(change(cut) or cut) + "\n")
        return "bad.jsonl"

    return make


NAN: Final = np.full(8000, np.nan)
#: What may stand where DATA is asked for, and is refused with exit code 3.
DATA: Final[dict[str, Make]] = {
    "a path that is not there": lambda: "nowhere.csv",
    "an empty name": lambda: "",
    "a name with a zero byte": lambda: "a\0.csv",
    "a home that nobody has": lambda: "~nobody-at-all/a.csv",
    "a command as a name": lambda: "pipe:touch ran;.jsonl",
    "an address": lambda: "https://127.0.0.1:9/a.csv",
    "an empty file": _file("bad.csv", ""),
    "an empty folder": _folder("hollow"),
    "a header alone": _file("bad.csv", "audio,split,speaker\n"),
    "a binary file": _file("bad.csv", bytes(range(256)) * 4),
    "audio as a table": lambda: "audio/train0.wav",
    "weights as a table": lambda: "enc/model.safetensors",
    "a table that is not UTF-8": _file(
        "bad.csv", "audio,split\naudio/tr\xe4in0.wav,train\n".encode("latin1")
    ),
    "a table with zero bytes": _file("bad.csv", "audio,split\n\0\0,train\n"),
    "a column that is not there": _table(audio=None),
    "a split that is not known": _file(
        "bad.csv", "audio,split,speaker\naudio/train0.wav,x/../y,a\n"
    ),
    "audio that is not there": _table(audio="audio/none.wav"),
    "audio that is a folder": _table(audio="audio"),
    "audio that is an address": _table(audio="https://127.0.0.1:9/a.wav"),
    "audio that is a command": _table(audio="touch ran |"),
    "audio with a zero byte in its name": _table(audio="audio/\0.wav"),
    "a text as audio": _sound(b"this is a text\n" * 50),
    "an empty file as audio": _sound(b""),
    "a page of zeros as audio": _sound(bytes(4096)),
    "a pointer of git-lfs as audio": _sound(b"version https://git-lfs.github.com/spec/v1\n"),
    "audio of no samples": _audio([]),
    "audio of one sample": _audio([0.1]),
    "NaN audio": _audio(NAN, subtype="FLOAT"),
    "infinite audio": _audio(np.full(8000, np.inf), subtype="FLOAT"),
    "NaN as start": _table(start="nan", end="0.4"),
    "NaN as end": _table(start="0.1", end="nan"),
    "a negative start": _table(start="-1", end="0.4"),
    "an end before its start": _table(start="0.4", end="0.1"),
    "a start behind the audio": _table(start="100", end="101"),
    "a start that is text": _table(start="soon", end="0.4"),
    "an infinite end": _table(start="0", end="inf"),
    "a link to itself": _link("bad.csv", "bad.csv"),
    "a named pipe": _pipe("bad.jsonl"),
    "JSON lines that are no objects": _file("bad.jsonl", "[]\n3\nnull\n"),
    "JSON lines that are no JSON": _file("bad.jsonl", "{\n"),
    "JSON lines nested ten thousand deep": _file("bad.jsonl", DEEP + "\n"),
    "JSON lines with a number of 10^5 digits": _file("bad.jsonl", '{"a": ' + "1" * 100_000 + "}\n"),
    "a gzip bomb": lambda: _bomb(),
    "gzip that is cut short": lambda: _cut_gzip(),
    "cuts whose audio is a command": _cuts(
        lambda c: c["recording"]["sources"][0].update(type="command", source="touch ran")
    ),
    "cuts whose audio is an address": _cuts(
        lambda c: c["recording"]["sources"][0].update(type="url", source="http://127.0.0.1:9/a.wav")
    ),
    "cuts without a recording": _cuts(lambda c: c.pop("recording") and None),
    "cuts of a negative duration": _cuts(lambda c: c.update(duration=-1)),
    "cuts of a duration that is text": _cuts(lambda c: c.update(duration="long")),
    "cuts longer than their audio": _cuts(lambda c: c.update(duration=50.0)),
    "cuts whose supervisions are a number": _cuts(lambda c: c.update(supervisions=3)),
    "cuts of an unknown type": _cuts(lambda c: c.update(type="Nothing")),
    "cuts whose rate is text": _cuts(lambda c: c["recording"].update(sampling_rate="16000")),
    "cuts whose samples are half": _cuts(lambda c: c["recording"].update(num_samples=0.5)),
    "cuts whose id is a number": _cuts(lambda c: c.update(id=3)),
    "cuts whose sources are null": _cuts(lambda c: c["recording"].update(sources=[None])),
    "cuts whose channels are texts": _cuts(
        lambda c: c["recording"]["sources"][0].update(channels=["0"])
    ),
    "cuts of a channel that no source has": _cuts(
        lambda c: c["recording"]["sources"][0].update(channels=[1])
    ),
    "cuts of no channel": _cuts(lambda c: c.update(channel=[])),
    "cuts with half of a character": _cuts(lambda c: c.update(id="\ud800")),
    "a corpus that nobody knows": lambda: "nocorpus:theirs",
    "a corpus in the wrong folder": lambda: "librispeech:theirs",
    "synthetic speech of no preset": lambda: "synthetic:nothing",
    "synthetic speech of no language": lambda: "synthetic:languages@xx",
}


def _bomb() -> str:
    with gzip.open("bad.jsonl.gz", "wb", compresslevel=9) as file:
        for _ in range(80):
            file.write(b'{"audio": "x"}\n' * 70_000)
    return "bad.jsonl.gz"


def _cut_gzip() -> str:
    data = gzip.compress(b'{"audio": "audio/train0.wav"}\n' * 1000)
    Path("bad.jsonl.gz").write_bytes(data[: len(data) // 2])
    return "bad.jsonl.gz"


#: What is unusual and right: it is taken, or refused by name; never in silence, never a traceback.
UNUSUAL: Final[dict[str, Make]] = {
    "8 kHz stereo": _audio(np.zeros((4000, 2)) + 0.01, 8000),
    "audio of silence": _audio(np.zeros(8000)),
    "audio in FLAC under another name": _audio(np.zeros(8000) + 0.1, format="FLAC"),
    "labels in other scripts": _table(speaker="Ελένη 语音"),
    "labels with markup": _table(speaker=MARKUP),
    "labels with terminal escapes": _table(speaker=ESCAPES),
    "labels that are surrogates": _table(speaker="\udcff"),
    "an empty label": _table(speaker=""),
    "a label column that is not there": _table(speaker=None),
    "an empty text": _table(text=""),
    "no split column": _table(split=None),
    "one utterance twice": _table(audio="audio/train1.wav"),
    "a byte order mark": _file("bad.csv", "\ufeffaudio,split,speaker\naudio/train0.wav,train,a\n"),
    "one row": _file("bad.csv", "audio,split,speaker,text\naudio/train0.wav,train,a,b\n"),
    "a folder of audio": lambda: "audio",
    "a column with an odd name": _table(**{"[/b]\x1b[31m": "x"}),
}

#: Files of settings and recipes that are refused with exit code 2.
SETTINGS: Final[dict[str, Make]] = {
    "not there": lambda: "nowhere.yaml",
    "a folder": lambda: "audio",
    "empty": _file("bad.yaml", ""),
    "no YAML": _file("bad.yaml", "a: [1\nb: }"),
    "a list": _file("bad.yaml", "[1, 2]"),
    "null": _file("bad.yaml", "null"),
    "a number": _file("bad.yaml", "3"),
    "a text": _file("bad.yaml", "hello"),
    "not UTF-8": _file("bad.yaml", b"name: \xff\xfe"),
    "with zero bytes": _file("bad.yaml", b"name: a\0b"),
    "with a key twice": _file("bad.yaml", "seed: 1\nseed: 2\n"),
    "with an unknown key": _file("bad.yaml", "sedd: 1\n"),
    "with a key of terminal escapes": _file("bad.yaml", '"\\x1b[31m": 1\n'),
    "with a key that is a list": _file("bad.yaml", "? [a, b]\n: 1\n"),
    "with a billion laughs": _file("bad.yaml", BOMB),
    "nested ten thousand deep": _file("bad.yaml", DEEP),
    "with a number of 10^5 digits": _file("bad.yaml", "seed: " + "1" * 100_000),
    "with a tag of Python": _file(
        "bad.yaml", "seed: !!python/object/apply:os.system ['touch ran']"
    ),
    "that holds itself": _file("bad.yaml", "seed: &a [*a]\n"),
    "with a date": _file("bad.yaml", "seed: 2026-01-01\n"),
    "two documents": _file("bad.yaml", "seed: 1\n---\nseed: 2\n"),
    "a link to itself": _link("bad.yaml", "bad.yaml"),
    "a named pipe": _pipe("bad.yaml"),
    "weights": lambda: "enc/model.safetensors",
}


def _place(make: Callable[[], Any], name: str) -> Make:
    def made() -> str:
        make()
        return name

    return made


#: Places where nothing can be written, and what a user has there.
PLACES: Final[dict[str, tuple[Make, frozenset[int]]]] = {
    "a file": (lambda: "notes.txt", frozenset({2})),
    "below a file": (lambda: "notes.txt/out", frozenset({2})),
    "a link to itself": (_link("out", "out"), frozenset({2})),
    "a name too long for a file": (lambda: "x" * 300, frozenset({2})),
    "a name with a zero byte": (lambda: "a\0b", frozenset({2})),
    "a folder of the system": (lambda: "/proc/nothing/out", frozenset({2})),
    "the input": (lambda: "enc", frozenset({0, 2})),
    "a folder of the user's": (lambda: "theirs", frozenset({0, 2})),
}
#: Places that are as good as any.
FINE_PLACES: Final[dict[str, Make]] = {
    "an empty folder": _folder("out"),
    "a link to an empty folder": _place(
        lambda: (Path("far").mkdir(), Path("out").symlink_to("far")), "out"
    ),
    "a link into nothing yet": _link("out", "later"),
    "a name in other scripts": lambda: "έξοδος 出",
    "a name with markup": lambda: "[bold]x[/b] $y$",
    "below folders that are not there": lambda: "new/er/out",
}

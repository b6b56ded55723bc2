"""Every settings field that names an encoder, data, a file or a folder says what it is to a result.

An input counts by its content, a neutral field not at all; what is left counts by its text.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import typing

import pytest

import speechft
from speechft.core.artifact import Input, _marks, _Neutral
from speechft.core.settings import Settings

NAMES_A_THING = re.compile(r"\b(ENCODER|DATA|encoder whose|a folder|files?|folders?|folder of)\b")
NEUTRAL_EVERYWHERE = {
    *("out", "target", "workers", "threads", "device", "launcher", "slurm", "overwrite"),
    *(
        "store",
        "store_gb",
        "cache_gb",
        "cache_disk_gb",
        "keep",
        "save_every",
        "dask",
        "allow_extrapolation",
    ),
    *("max_seconds", "at_once", "log", "guard", "guard_similarity", "guard_gradient"),
    *("checkpointing", "shard"),
    *("label", "tokens"),  # the task names them in the end
}
# A merge has the same digits with any number of threads, a training has not; with `skip_bad` what
# is too long is left out.
MIXED = {"threads", "max_seconds"}
# Fields whose description mentions encoders or files, and which name none.
NO_NAME = {
    ("EncoderSpec", "name"),
    ("EvaluateSettings", "frame_dtype"),
    ("MergeSettings", "max_shard_size"),
    ("EmbedSettings", "skip_bad"),
    ("EmbedSettings", "max_seconds"),
    ("PretrainSettings", "learning_rate"),
    ("PretrainSettings", "schedule"),
    ("PretrainSettings", "freeze_front_end"),
    ("PretrainSettings", "head_warmup"),
    ("Iteration", "layer"),
    ("Iteration", "learning_rate"),
    ("EvaluateSettings", "encoders"),  # their own class has the marks
    ("AnalyzeSettings", "encoders"),
    ("RunSettings", "name"),
    ("RunSettings", "data_root"),  # what it is put into counts
    ("RunSettings", "places"),
    ("StudySettings", "name"),
    ("ConvertSettings", "to"),
}


def _all_settings():
    for module in pkgutil.walk_packages(speechft.__path__, "speechft."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found, open_ = {}, [Settings]
    while open_:
        for kind in open_.pop().__subclasses__():
            if kind.__module__.startswith("speechft.cli"):
                continue  # options of commands that make nothing of their own
            if kind.__module__.startswith("speechft"):
                found[kind.__name__] = kind
                open_.append(kind)
    return found


def _fields():
    for kind in _all_settings().values():
        hints = typing.get_type_hints(kind, include_extras=True)
        for name in kind.model_fields:
            yield kind, name, hints[name], _described(kind, name)


def _described(kind, name):
    doc = kind.__doc__ or ""
    found = re.search(
        rf"^        (?:\w+, )*{name}(?:, \w+)*: (.*?)(?=^        \w|^    \S|\Z)", doc, re.M | re.S
    )
    return found[1] if found else ""


def _inputs_in(hint):
    marks = [one for one in _marks(hint) if isinstance(one, Input)]
    return marks + [one for part in typing.get_args(hint) for one in _inputs_in(part)]


def _is_neutral(hint):
    return any(isinstance(mark, _Neutral) for mark in _marks(hint))


FIELDS = list(_fields())


@pytest.mark.parametrize(
    ("kind", "name", "hint", "text"), FIELDS, ids=[f"{k.__name__}.{n}" for k, n, *_ in FIELDS]
)
def test_what_names_a_thing_is_an_input_or_neutral(kind, name, hint, text):
    neutral = _is_neutral(hint)
    if name not in MIXED:
        assert neutral == (name in NEUTRAL_EVERYWHERE), "neutral in all settings or in none"
    if (kind.__name__, name) in NO_NAME:
        assert not _inputs_in(hint)
    elif NAMES_A_THING.search(text) or "pathlib" in str(hint):
        assert neutral or _inputs_in(hint), f"what {name} names should count by its content: {text}"

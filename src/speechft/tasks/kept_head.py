"""A head that is kept: one file with its weights, its task and what it stands on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open

from speechft.core.artifact import stage_of
from speechft.core.errors import CheckpointError, SettingsError
from speechft.core.files import atomic_path, read_json
from speechft.core.limits import regular_file
from speechft.core.paths import home_expanded
from speechft.core.registry import deferred
from speechft.encoders.identity import HEADS, locate, refuse_changed
from speechft.tasks.base import Purpose, Size, Task, task_from_dict

if TYPE_CHECKING:
    import torch
    from safetensors import torch as tensor_files
    from torch import Tensor, nn

    from speechft.encoders import EncoderOutput, SpeechEncoder
else:
    torch, tensor_files = deferred("torch"), deferred("safetensors.torch")

HEAD: Final = "head.safetensors"
_PIPELINES: Final = (
    ("ForCTC", "automatic-speech-recognition"),
    ("ForSequenceClassification", "audio-classification"),
)
_KEY: Final = "head"  # the one entry of the file's metadata


class HeadRecord(BaseModel):
    """What a head's file says beside its weights.

    Attributes:
        task: what `task_from_dict` makes its task of: id, classes or symbols, protocol.
        purpose, size: what `Task.build_head` was given.
        width: D, of the hidden states below it.
        states: how many hidden states it sums with weights of its own; None: the last one alone.
        normalize: every frame of these states is normalised before.
        encoder: fingerprint of the encoder that it was trained on; empty where that is not known.
        content: identity of all that made its hidden states, of a probe's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    task: dict[str, Any]
    purpose: Purpose
    size: Size
    width: int
    states: int | None = None
    normalize: bool = False
    encoder: str = ""
    content: str = ""


@dataclass(frozen=True)
class KeptHead:
    """A head as it was read, in evaluation mode.

    Attributes:
        record: what its file says.
        task: its task.
        module: the head, or the weighted sum and the head.
        where: its file.
    """

    record: HeadRecord
    task: Task
    module: nn.Module
    where: Path

    def __call__(self, output: EncoderOutput) -> Tensor:
        """Give logits (B, T, V) or (B, C) of what the encoder gave."""
        states = output.hidden_states
        below = states[-1] if self.record.states is None else torch.stack(states)
        logits: Tensor = self.module(below, output.lengths)
        return logits

    def check(self, encoder: SpeechEncoder, name: str, *, same: bool) -> None:
        """Refuse an encoder that the head does not belong to.

        Args:
            encoder: the encoder.
            name: what the user calls it.
            same: it must be the very one that the head was trained on.

        Raises:
            CheckpointError: it has other hidden states, or other weights.
        """
        ours = (self.record.width, self.record.states or encoder.num_layers + 1)
        theirs = (encoder.hidden_size, encoder.num_layers + 1)
        if ours != theirs:
            raise CheckpointError(
                "the head does not fit the encoder",
                where=f"{self.where} on {name}",
                expected=f"{ours[1]} hidden states of width {ours[0]}",
                found=f"{theirs[1]} of width {theirs[0]}",
                hint="give the encoder that the head was trained on",
            )
        found = encoder.fingerprint() if same and self.record.encoder else self.record.encoder
        if found != self.record.encoder:
            raise CheckpointError(
                "the head was trained on another encoder, whose hidden states mean something else",
                where=f"{self.where} on {name}",
                expected=f"an encoder whose weights have the hash {self.record.encoder[:12]}…",
                found=f"{found[:12]}…",
                hint="give that encoder; `speechft evaluate` trains a head on this one",
            )
        if same and self.record.content not in ("", encoder.content_id()):
            raise CheckpointError(
                "the head was trained on other hidden states of this encoder",
                where=f"{self.where} on {name}",
                expected="its configuration, preprocessor and context as they were",
                hint="undo what has changed; of Whisper's encoder set the context",
            )


def write_head(path: Path, weights: Mapping[str, Tensor], record: HeadRecord) -> None:
    """Write a head's file, atomically."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    usual = set() if record.normalize else {"normalize"}  # earlier versions do not know it
    text = json.dumps(record.model_dump(exclude=usual), sort_keys=True, ensure_ascii=False)
    with atomic_path(path) as temporary:
        tensor_files.save_file(tensors, temporary, metadata={_KEY: text})


def find_heads(place: Path) -> list[Path]:
    """Give the files of heads: the file itself, those in a folder, in its `encoder/`, in its cells.

    Earlier runs have the head of `encoder/` in the run's folder alone.
    """
    if place.is_file():
        return [place]
    for pattern in ("", "encoder/", "cells/*/"):
        found = sorted(p for p in place.glob(f"{pattern}head*.safetensors") if HEADS.match(p.name))
        if found:
            return found
    run = place.resolve().parent
    of_run = place.resolve().name == "encoder" and stage_of(run) == "finetune"
    return sorted(p for p in run.glob("head*.safetensors") if HEADS.match(p.name)) if of_run else []


def heads_of(name: str, head: Path | None = None) -> list[Path]:
    """Give the files of the heads that belong to an ENCODER, or that lie where the user says.

    Raises:
        CheckpointError: there is none.
    """
    found = find_heads(locate(name) if head is None else head.expanduser())
    if not found and head is None and home_expanded(name).is_dir():
        found = find_heads(home_expanded(name))
    if not found:
        raise CheckpointError(
            "there is no head",
            where=head or name,
            expected=HEAD,
            hint=_pipeline_for(home_expanded(name) if head is None else head)
            or "give a fine-tuned encoder or its run, or --head with an evaluation that kept one",
        )
    return found


def _pipeline_for(folder: Path) -> str:
    """Give what runs a model of transformers that has a head of its own there."""
    try:
        names = read_json(folder / "config.json")["architectures"]
        name, kind = next((str(n), k) for n in names for end, k in _PIPELINES if n.endswith(end))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration):
        return ""
    return f"the head is that of transformers' {name}: pipeline({kind!r}, {str(folder)!r}) runs it"


def choose_head(files: Sequence[Path], task: str | None, encoder: str | None = None) -> Path:
    """Give the one head among several that is meant.

    Args:
        files: of heads.
        task: its task; any if not given.
        encoder: fingerprint of the encoder, which tells heads of several encoders apart.

    Raises:
        CheckpointError: there is no such head.
        SettingsError: there are several.
    """
    records = {file: read_record(file) for file in files}
    fits = [f for f, record in records.items() if task in (None, record.task.get("task"))]
    if len(fits) > 1 and encoder is not None:
        fits = [file for file in fits if records[file].encoder == encoder] or fits
    if len(fits) == 1:
        return fits[0]
    there = ", ".join(f"{file} ({records[file].task.get('task')})" for file in fits or files)
    if not fits:
        raise CheckpointError(f"there is no head for the task {task!r}", found=there)
    raise SettingsError(
        "there are several heads", found=there, hint="name one with --task or --head"
    )


def read_head(path: Path) -> KeptHead:
    """Read a head.

    Raises:
        CheckpointError: the file is no head, does not fill the head that it speaks of, or is not
            what the record beside it says was written.
    """
    refuse_changed(path)
    record, weights = read_record(path), tensor_files.load_file(path)
    task = task_from_dict(record.task)
    module = _empty(record, task)
    wanted, found = _shapes(module.state_dict()), _shapes(weights)
    if wanted != found:
        differing = sorted(n for n in {*wanted, *found} if wanted.get(n) != found.get(n))
        raise CheckpointError(
            f"the weights are not those of a head for {task.id!r}",
            where=path,
            expected=", ".join(f"{n} {wanted.get(n)}" for n in differing[:4]),
            found=", ".join(f"{n} {found.get(n)}" for n in differing[:4]),
        )
    module.load_state_dict({n: t.float() for n, t in weights.items()}, assign=True)
    return KeptHead(record, task, module.eval(), path)


def read_record(path: Path) -> HeadRecord:
    """Read what a head's file says of it.

    Raises:
        CheckpointError: it is no head.
    """
    try:
        # The library calls a file absent that may not be read.
        regular_file(path).open("rb").close()
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
        return HeadRecord.model_validate_json(text) if text else _of_earlier_run(path)
    except (SafetensorError, OSError, ValueError) as error:
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        what = "the head cannot be read" if isinstance(error, OSError) else "this is no head"
        raise CheckpointError(what, where=path, expected=HEAD, found=said) from None


def _of_earlier_run(path: Path) -> HeadRecord:
    """Tell from `task.json` and from the shapes what earlier versions did not write.

    Raises:
        ValueError: they do not tell.
    """
    beside = path.with_name(re.sub(r"^head(.*)\.safetensors$", r"task\1.json", path.name))
    values = read_json(beside) if beside.is_file() else {}
    shapes = _shapes(tensor_files.load_file(path))
    for record in _guesses(values, shapes):
        if _shapes(_empty(record, task_from_dict(values)).state_dict()) == shapes:
            return record
    raise ValueError(f"weights without a record, and no {beside.name} that fits them")


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}


def _guesses(values: Any, shapes: Mapping[str, Any]) -> Iterator[HeadRecord]:
    widths = {shape[1] for shape in shapes.values() if len(shape) > 1}
    for size in get_args(Size) if isinstance(values, dict) and "task" in values else ():
        for width in sorted(widths):
            yield HeadRecord(task=values, purpose="finetune", size=size, width=width)


def _empty(record: HeadRecord, task: Task) -> nn.Module:
    """Build the head without memory for its weights."""
    from speechft.heads.linear import Probe

    with torch.device("meta"):
        head = task.build_head(record.width, purpose=record.purpose, size=record.size)
        if record.states is None:
            return head
        return Probe(record.states, head, normalize=record.normalize)

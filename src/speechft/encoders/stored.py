"""What checkpoints look like where other tools wrote them: wrapped names, placeholders, pointers.

Nothing here needs torch.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from speechft.core.errors import CheckpointError

T = TypeVar("T")

#: What compiled, parallel, sharded and checkpointed modules put into names, anywhere.
_WRAPPERS: Final = re.compile(
    r"(?:(?<=\.)|^)(?:_orig_mod|module|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
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
_MADE_ANEW: Final = re.compile(
    r"config\.json|preprocessor_config\.json|extras\.safetensors|speechft\.json|begun\.json"
    r"|head(-.+)?\.safetensors|README\.md|heard\.gz|(model|pytorch_model)(-\d+-of-\d+)?"
    r"\.(safetensors|bin)(\.index\.json)?"
)


def plain_names(stored: Mapping[str, T], where: object) -> dict[str, T]:
    """Give tensors under the names that the encoder's own modules give them.

    Args:
        stored: name → tensor, or anything with its `shape`.
        where: the file.

    Raises:
        CheckpointError: the tensors are the empty ones that DeepSpeed leaves in each process.
    """
    empty = [name for name, tensor in stored.items() if tuple(_shape(tensor)) == (0,)]
    if empty:
        raise CheckpointError(
            f"the weights are empty: {len(empty)} of {len(stored)} tensors hold no values",
            where=where,
            found=f"{empty[0]} of shape (0,), as DeepSpeed's ZeRO-3 leaves what is shared out",
            hint="put the parts together with DeepSpeed's zero_to_fp32.py, or save with "
            "stage3_gather_16bit_weights_on_model_save",
        )
    plain = {_WRAPPERS.sub("", name): tensor for name, tensor in stored.items()}
    return plain if len(plain) == len(stored) else dict(stored)


def _shape(tensor: Any) -> tuple[int, ...]:
    return getattr(tensor, "shape", ())


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

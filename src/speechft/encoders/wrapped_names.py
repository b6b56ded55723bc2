"""Names of tensors in checkpoints of wrapped modules, put back to the encoder's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from speechft.core.errors import CheckpointError

T = TypeVar("T")

#: What compiled, parallel, sharded and checkpointed modules put into names, anywhere.
_WRAPPERS: Final = re.compile(
    r"(?:(?<=\.)|^)(?:_orig_mod|module|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
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

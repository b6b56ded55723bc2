"""What a full disk looks like through the libraries that write checkpoints."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

_NUMBER = re.compile(r"os error (\d+)")


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Raise the system's own error where safetensors or torch hide it in theirs.

    Args:
        path: what is being written, for the message.

    Raises:
        OSError: the system refused to write.
    """
    try:
        yield
    except SafetensorError as error:
        number = _NUMBER.search(str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
    except RuntimeError as error:
        # torch closes its archive after a failed write, and fails at that again.
        cause = error.__context__
        if not isinstance(cause, OSError) or cause.errno is None:
            raise
        raise OSError(cause.errno, os.strerror(cause.errno), str(path)) from None

"""Where a benchmark works: a folder that is kept, or a temporary one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def working_folder(keep: Path | None) -> Iterator[Path]:
    """Give a new folder at `keep`, or one that is gone afterwards."""
    if keep is None:
        with tempfile.TemporaryDirectory() as work:
            yield Path(work)
    else:
        keep.mkdir(parents=True)
        yield keep.absolute()

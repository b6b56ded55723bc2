"""A head that the user may not read was "no head: No such file or directory"."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechft.core.errors import CheckpointError
from speechft.tasks.kept_head import read_record


def test_it_is_said_that_it_may_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    head = tmp_path / "head.safetensors"
    head.write_bytes(b"12345678")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(CheckpointError, match="the head cannot be read") as caught:
        read_record(head)
    assert caught.value.found == "Permission denied"

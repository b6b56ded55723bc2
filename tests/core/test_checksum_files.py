"""Seals: a file counts once it is whole, and not if it has changed since."""

import pytest

from speechft.core.checksum_files import break_seal, is_sealed, seal
from speechft.core.errors import CheckpointError


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "state.pt"
    path.write_bytes(bytes(range(256)) * 64)
    seal(path)
    return path


def test_what_is_whole_counts(file):
    assert is_sealed(file, "")
    assert not is_sealed(file.with_name("other.pt"), "")
    break_seal(file)
    assert not is_sealed(file, "")


@pytest.mark.parametrize("how", ["flipped", "zeros", "cut", "gone", "seal cut"])
def test_what_has_changed_is_one_error_with_the_way_out(file, how):
    content = bytearray(file.read_bytes())
    if how == "flipped":
        content[5000] ^= 4
    elif how == "zeros":
        content[4096:8192] = bytes(4096)
    elif how == "cut":
        del content[100:]
    file.write_bytes(content)
    if how == "gone":
        file.unlink()
    elif how == "seal cut":
        file.with_name("state.pt.sha256").write_text("")
    with pytest.raises(CheckpointError, match="not as it was written") as caught:
        is_sealed(file, "remove it")
    assert "state.pt" in str(caught.value)
    assert caught.value.hint == "remove it"

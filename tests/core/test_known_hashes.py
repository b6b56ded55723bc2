from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from speechft.core import known_hashes as module
from speechft.core.files import hash_file, write_json
from speechft.core.known_hashes import known_hash


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPEECHFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "SETTLED_NS", -(10**10))
    path = tmp_path / "file"
    path.write_bytes(b"one")
    return path


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    reads: list[Path] = []

    def counting(path: Path) -> str:
        reads.append(path)
        return hash_file(path)

    monkeypatch.setattr(module, "hash_file", counting)
    return reads


def test_a_file_is_read_once(file: Path, monkeypatch: pytest.MonkeyPatch):
    reads = count_reads(monkeypatch)
    assert known_hash(file) == known_hash(file) == hash_file(file)
    assert len(reads) == 1
    link = file.with_name("link")
    link.symlink_to(file)
    assert known_hash(link) == hash_file(file)
    assert len(reads) == 1


def test_any_change_is_noticed_even_with_the_old_times(file: Path):
    known_hash(file)
    old = file.stat()
    time.sleep(0.02)
    file.write_bytes(b"two")
    os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert file.stat().st_size == old.st_size
    assert known_hash(file) == hash_file(file)


def test_fresh_files_are_not_remembered(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "SETTLED_NS", 2_000_000_000)
    reads = count_reads(monkeypatch)
    assert known_hash(file) == known_hash(file)
    assert len(reads) == 2


def test_a_broken_store_does_no_harm(file: Path):
    store = module._store_of(str(file))
    for content in ("{", "[]", '{"x": 1}'):
        store.parent.mkdir(exist_ok=True, parents=True)
        store.write_text(content)
        assert known_hash(file) == hash_file(file)
    write_json(store, {str(file): ["?"]})
    assert known_hash(file) == hash_file(file)


def test_a_read_only_home_does_no_harm(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SPEECHFT_CACHE", str(file / "not-a-folder"))
    assert known_hash(file) == hash_file(file)


def test_many_files_are_read_once_and_changed_ones_again(
    file: Path, monkeypatch: pytest.MonkeyPatch
):
    paths = [file.with_name(f"{n}.wav") for n in range(5)]
    for path in paths:
        path.write_bytes(path.name.encode())
    names = [str(path) for path in paths]
    reads = count_reads(monkeypatch)
    seen: list[int] = []
    found = module.known_hashes(names, lambda: seen.append(1))
    assert found == {name: hash_file(name) for name in names}
    assert (len(reads), len(seen)) == (5, 5)
    assert module.known_hashes(names[1:]) == {name: found[name] for name in names[1:]}
    assert len(reads) == 5
    paths[3].write_bytes(b"other")
    other = module.known_hashes(names)
    assert len(reads) == 6
    assert [n for n in names if other[n] != found[n]] == [names[3]]
    paths[2].unlink()
    with pytest.raises(FileNotFoundError):
        module.known_hashes(names)


def test_hashes_of_fresh_files_are_not_remembered(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "SETTLED_NS", 10**12)
    reads = count_reads(monkeypatch)
    for _ in range(2):
        module.known_hashes([str(file)])
    assert len(reads) == 2


def test_only_artifacts_ask_for_hashes():
    """What a thing is, is known in one place."""
    sources = Path(module.__file__).parents[1].rglob("*.py")
    asking = {p.name for p in sources if "known_hash" in p.read_text(encoding="utf-8")}
    assert asking == {"artifact.py", "known_hashes.py"}

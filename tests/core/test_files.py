import errno
import json
import os

import pytest

from speechft.core import files
from speechft.core.files import (
    atomic_dir,
    atomic_path,
    hash_json,
    read_jsonl,
    remove_leftovers,
    write_json,
    write_jsonl,
)
from speechft.core.provenance import is_done, write_provenance


class BreakError(Exception):
    pass


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(BreakError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise BreakError
    assert json.loads(path.read_text()) == {"old": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "run"
    with atomic_dir(path) as temporary:
        (temporary / "old").write_text("1")
    with pytest.raises(BreakError), atomic_dir(path) as temporary:
        (temporary / "new").write_text("2")
        raise BreakError
    assert os.listdir(path) == ["old"]
    with atomic_dir(path) as temporary:
        (temporary / "new").write_text("2")
    assert os.listdir(path) == ["new"]
    assert os.listdir(tmp_path) == ["run"]


@pytest.mark.parametrize("make", [files.atomic_path, files.atomic_dir])
@pytest.mark.parametrize(("free", "kind"), [(0, OSError), (1 << 30, RuntimeError)])
def test_a_full_disk_is_called_so_whatever_the_writer_says(tmp_path, monkeypatch, make, free, kind):
    monkeypatch.setattr(files, "_free_bytes", lambda _: free)
    with pytest.raises(kind) as caught, make(tmp_path / "state.pt"):
        raise RuntimeError("unexpected pos 40870016 vs 40869908")  # as torch.save does
    if free == 0:
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.filename == str(tmp_path / "state.pt")
    assert not list(tmp_path.iterdir())


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path):
    (tmp_path / "step" / ".encoder.x1.tmp").mkdir(parents=True)
    (tmp_path / "step" / ".encoder.x1.tmp" / "model").touch()
    for name in (".last.pt.x2.tmp", "kept.tmp", ".lock"):
        (tmp_path / "step" / name).touch()
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path / "step")) == [".lock", "kept.tmp"]


def test_permissions_follow_the_umask(tmp_path):
    write_json(tmp_path / "a.json", 1)
    (tmp_path / "b").write_text("")
    with atomic_dir(tmp_path / "folder") as temporary:
        (temporary / "private").touch(mode=0o600)
    wanted = (tmp_path / "b").stat().st_mode
    assert (tmp_path / "a.json").stat().st_mode == wanted
    assert (tmp_path / "folder" / "private").stat().st_mode == wanted


def test_jsonl_and_hashes(tmp_path):
    write_jsonl(tmp_path / "r.jsonl", [{"a": "é"}, {"b": 2}])
    assert read_jsonl(tmp_path / "r.jsonl") == [{"a": "é"}, {"b": 2}]
    assert hash_json({"a": 1, "b": 2}) == hash_json({"b": 2, "a": 1})
    assert hash_json({"a": 1}) != hash_json({"a": 2})


def test_a_stage_is_done_only_with_the_same_settings(tmp_path):
    assert not is_done(tmp_path, stage="merge", settings={"alpha": 0.25})
    write_provenance(tmp_path, stage="merge", settings={"alpha": 0.25})
    assert is_done(tmp_path, stage="merge", settings={"alpha": 0.25})
    assert not is_done(tmp_path, stage="merge", settings={"alpha": 0.5})
    assert not is_done(tmp_path, stage="finetune", settings={"alpha": 0.25})

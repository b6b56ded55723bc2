import errno
import json
import os
import signal
import subprocess
import sys

import pytest

from speechft.core import files
from speechft.core.errors import SettingsError
from speechft.core.files import (
    atomic_dir,
    atomic_path,
    read_jsonl,
    remove_leftovers,
    write_json,
    write_jsonl,
)


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


def test_a_folder_is_replaced_or_left_as_it_was(tmp_path):
    path = tmp_path / "run"
    with atomic_dir(path) as temporary:
        (temporary / "old").write_text("1")
    with pytest.raises(BreakError), atomic_dir(path, {"old"}) as temporary:
        (temporary / "new").write_text("2")
        raise BreakError
    assert os.listdir(path) == ["old"]
    with atomic_dir(path, {"old"}) as temporary:
        (temporary / "new").write_text("2")
    assert os.listdir(path) == ["new"]
    assert os.listdir(tmp_path) == ["run"]


def test_only_what_is_named_goes_from_a_folder(tmp_path):
    theirs = ["notes.txt", ".env.old", "sub/x.tmp", ".x.tmp", "kept/mine"]
    for name in ["weights", "kept/old", "gone/old", *theirs]:
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_text("before")
    with atomic_dir(tmp_path / "out", {"weights", "kept/old", "gone/old"}) as temporary:
        (temporary / "weights").write_text("after")
        (temporary / "deep").mkdir()
        (temporary / "deep" / "file").write_text("after")
    remove_leftovers(tmp_path)
    found = {p.relative_to(tmp_path / "out").as_posix() for p in below(tmp_path / "out")}
    assert found == {"weights", "deep/file", *theirs}
    assert (tmp_path / "out" / "weights").read_text() == "after"
    assert not (tmp_path / "out" / "gone").exists()


def test_a_file_of_the_user_is_never_written_over(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text("mine")
    with pytest.raises(SettingsError, match=r"config\.json"), atomic_dir(tmp_path / "out") as place:
        (place / "config.json").write_text("ours")
        (place / "model").write_text("ours")
    assert [(p.name, p.read_text()) for p in below(tmp_path)] == [("config.json", "mine")]


def test_a_link_to_a_folder_is_followed(tmp_path):
    (tmp_path / "disk").mkdir()
    for name, target in (("a", "disk"), ("b", "new")):
        (tmp_path / name).symlink_to(tmp_path / target)
        with atomic_dir(tmp_path / name) as temporary:
            (temporary / "file").touch()
        assert (tmp_path / name).is_symlink()
        assert os.listdir(tmp_path / target) == ["file"]


KILLED = """
import os, pathlib, signal, sys
from speechft.core import files
from speechft.core.errors import SettingsError

moments, last, out = 0, int(sys.argv[1]), pathlib.Path(sys.argv[2])

def watch(owner, name):
    function = getattr(owner, name)
    def watched(*args, **named):
        global moments
        found = function(*args, **named)
        moments += 1
        if moments == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return found
    setattr(owner, name, watched)

for owner, name in [
    (files.tempfile, "mkdtemp"), (files.tempfile, "mkstemp"), (files, "flush"),
    (pathlib.Path, "replace"), (pathlib.Path, "unlink"), (pathlib.Path, "rmdir"),
    (files.shutil, "rmtree"), (os, "chmod"),
]:
    watch(owner, name)
with files.atomic_dir(out, {"a", "sub/b", "speechft.json"}) as folder:
    for name in ("a", "c", "speechft.json"):
        (folder / name).write_text("new")
files.write_text(out.parent / "after", "")
sys.exit(moments)
"""


def test_a_killed_replacement_is_undone_or_ended_by_the_next_call(tmp_path):
    old = {"a": "old", "sub/b": "old", "speechft.json": "old", "notes.txt": "mine"}
    new = {"a": "new", "c": "new", "speechft.json": "new", "notes.txt": "mine"}

    def run(last):
        out = tmp_path / str(last) / "out"
        for name, text in old.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_text(text)
        code = subprocess.run([sys.executable, "-c", KILLED, str(last), out], check=False)
        seen = content(out)
        remove_leftovers(out)
        return code.returncode, seen, content(out), out

    moments, seen, after, _ = run(0)
    assert moments > 15
    assert seen == after == new
    ends = []
    for last in range(1, moments + 1):
        code, seen, after, out = run(last)
        assert code == -signal.SIGKILL
        done = {text for name, text in seen.items() if name == "speechft.json"}
        assert after in (old, new)
        assert not done or {n: seen[n] for n in old | new if n in seen} in (old, new)
        assert len({seen.get(name) for name in ("a", "sub/b", "c")} - {None}) < 2  # no mixture
        ends.append(after == new)
        remove_leftovers(out.parent)
        assert {p.name for p in out.parent.iterdir()} <= {"out", "after"}
    assert ends == sorted(ends)
    assert 0 < sum(ends) < moments


def content(folder):
    found = {p.relative_to(folder).as_posix(): p for p in below(folder)}
    return {n: p.read_text() for n, p in found.items() if ".speechft-" not in n}


def below(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file())


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
    step = tmp_path / "step"
    step.mkdir()
    for name in (".last.pt.x2.tmp", "kept.tmp", ".lock", ".env.old"):
        (step / name).touch()
    before = sorted(os.listdir(step))
    code = (
        "import os, pathlib, sys\nfrom speechft.core.files import atomic_dir, atomic_path\n"
        "out = pathlib.Path(sys.argv[1])\n"
        "with atomic_path(out / 'a'), atomic_dir(out / 'b') as b:\n"
        "    (b / 'c').touch()\n    os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(step)], check=True)
    assert len(os.listdir(step)) == len(before) + 2
    with atomic_path(step / "alive") as alive, atomic_dir(step / "living") as living:
        remove_leftovers(tmp_path)
        assert sorted(os.listdir(step)) == sorted([*before, alive.name, living.name])
    assert sorted(os.listdir(step)) == sorted([*before, "alive", "living"])


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

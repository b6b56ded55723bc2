from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated, Any

import pytest

from speechft.core import artifact
from speechft.core.artifact import (
    BEGUN,
    RECORD,
    Artifact,
    FileInput,
    Input,
    Neutral,
    Seen,
    content_id,
    dependencies,
    hash_values,
    looking_once,
    products_of,
)
from speechft.core.errors import SettingsError
from speechft.core.settings import Settings

Thing = Annotated[str, Input(lambda name: f"id of {name}")]


class Inner(Settings):
    teacher: Thing | None = None
    rounds: int = 1


class Example(Settings):
    encoder: Thing
    rate: float = 0.1
    workers: Annotated[int, Neutral] = 0
    out: Annotated[Path, Neutral] = Path("x")
    lexicon: FileInput | None = None
    many: tuple[Thing, ...] = ()
    by_task: dict[str, Thing] | Thing | None = None
    inner: tuple[Inner, ...] = ()


def test_a_result_depends_on_settings_by_value_and_on_inputs_by_content(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("go")
    given = Example(
        encoder="a",
        rate=0.2,
        workers=3,
        lexicon=tmp_path / "words",
        many=("b", "c"),
        by_task={"pr": "d"},
        inner=(Inner(teacher="e", rounds=2),),
    )
    before = dependencies(given)
    assert before == {
        "encoder": "id of a",
        "rate": 0.2,
        "lexicon": content_id(tmp_path / "words"),
        "many": ["id of b", "id of c"],
        "by_task": {"pr": "id of d"},
        "inner": [{"teacher": "id of e", "rounds": 2}],
    }
    (tmp_path / "words").write_text("no")
    assert dependencies(given)["lexicon"] != before["lexicon"]
    assert dependencies(Example(encoder="a", by_task="d")) == {
        "encoder": "id of a",
        "by_task": "id of d",
    }


def test_what_is_still_to_be_made_has_the_identity_that_is_known_of_it() -> None:
    assert dependencies(Example(encoder="a"), {"a": "job 1"}) == {"encoder": "job 1"}


def test_content_decides_and_names_of_folders_do_not(tmp_path: Path) -> None:
    for name, text in (("x", "one"), ("y", "two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "t.csv").write_text(text)
    shutil.copytree(tmp_path / "x", tmp_path / "copy")
    ids = {n: content_id(tmp_path / n) for n in ("x", "y", "copy")}
    assert ids["x"] == ids["copy"] != ids["y"]
    assert content_id({"a": tmp_path / "x", "n": 1}) != content_id({"a": tmp_path / "y", "n": 1})
    assert content_id(tmp_path / "x" / "t.csv") != content_id(tmp_path / "y" / "t.csv")


def test_numbers_count_with_all_their_digits() -> None:
    assert hash_values({"alpha": 0.1234567}) != hash_values({"alpha": 0.12345671})
    assert hash_values({"a": 1, "b": 2}) == hash_values({"b": 2, "a": 1})


def made(folder: Path, **depends: Any) -> Artifact:
    one = Artifact(folder, "finetune", depends)
    one.begin()
    (folder / "encoder").mkdir(exist_ok=True)
    (folder / "encoder" / "model.safetensors").write_bytes(b"weights")
    (folder / "head.bin").write_bytes(b"head")
    one.end(["encoder", "head.bin"], hours=1.0)
    return one


def test_done_is_the_same_record_and_its_products(tmp_path: Path) -> None:
    one = made(tmp_path / "run", steps=3)
    assert one.done
    assert not Artifact(one.folder, "finetune", {"steps": 4}).done
    assert not Artifact(one.folder, "finetune", {"steps": 3}, version=2).done
    assert not Artifact(one.folder, "merge", {"steps": 3}).done
    assert json.loads((one.folder / RECORD).read_text())["hours"] == 1.0
    assert products_of(one.folder) == {"encoder/model.safetensors", "head.bin", RECORD}


@pytest.mark.parametrize("how", ["gone", "cut", "flipped", "folder gone"])
def test_a_result_whose_products_are_not_as_written_is_not_done(tmp_path: Path, how: str) -> None:
    one = made(tmp_path / "run", steps=3)
    weights = one.folder / "encoder" / "model.safetensors"
    if how == "gone":
        weights.unlink()
    elif how == "folder gone":
        shutil.rmtree(weights.parent)
    else:
        weights.write_bytes(b"weight" if how == "cut" else b"weightt")
    assert not one.done


@pytest.mark.parametrize("text", ["", "[]", "null", "3", '{"stage": "finetune"}', "[" * 5000])
def test_a_record_that_says_nothing_is_no_result(tmp_path: Path, text: str) -> None:
    one = made(tmp_path / "run", steps=3)
    (one.folder / RECORD).write_text(text)
    assert not one.done


def test_the_record_goes_before_work_begins(tmp_path: Path) -> None:
    one = made(tmp_path / "run", steps=3)
    (one.folder / "head.bin").unlink()
    assert not one.begin()
    assert not (one.folder / RECORD).exists()
    assert one.begun
    assert one.begin()  # begun before: its states may be gone on with


def test_other_settings_are_refused_unless_they_may_replace(tmp_path: Path) -> None:
    one = made(tmp_path / "run", steps=3, encoder="ab" * 32)
    other = Artifact(one.folder, "finetune", {"steps": 4, "encoder": "ab" * 32})
    with pytest.raises(SettingsError) as error:
        other.begin()
    assert (error.value.expected, error.value.found) == ("steps 3", "steps 4")
    assert one.done
    assert other.changes() == ["steps: 3 → 4"]
    assert not other.begin(replace=True)
    with pytest.raises(SettingsError, match="other settings"):
        one.begin()
    with pytest.raises(SettingsError, match="'finetune' has made"):
        made_by_another(tmp_path)


def made_by_another(tmp_path: Path) -> None:
    made(tmp_path / "other", steps=3)
    Artifact(tmp_path / "other", "merge", {}).begin()


def test_where_nothing_was_before_nothing_has_changed(tmp_path: Path) -> None:
    assert Artifact(tmp_path / "new", "merge", {"alpha": 0.5}).changes() == []


def test_a_file_in_the_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="the output is a file"):
        Artifact(tmp_path / "file", "merge", {}).begin()


def test_what_a_new_result_removes_is_its_own(tmp_path: Path) -> None:
    one = made(tmp_path / "run", steps=3)
    for name in ("notes.txt", ".env.old", "encoder/mine.txt", "checkpoints/step-1.pt"):
        (one.folder / name).parent.mkdir(exist_ok=True)
        (one.folder / name).write_text("")
    one.clear("checkpoints")
    left = sorted(p.relative_to(one.folder).as_posix() for p in one.folder.rglob("*"))
    assert left == [".env.old", "encoder", "encoder/mine.txt", "notes.txt"]
    assert artifact.read_record(one.folder) is None
    assert not (one.folder / BEGUN).exists()


looked: list[str] = []


def look(name: str) -> str:
    looked.append(name)
    if name == "gone":
        raise SettingsError("no such thing")
    return f"id of {name}"


class Planned(Settings):
    one: Annotated[str, Input(look)]


def test_a_plan_looks_at_every_input_once_and_bears_what_is_not_there() -> None:
    seen = Seen()
    for name in ("a", "gone", "a", "gone"):
        with looking_once(seen):
            found = dependencies(Planned(one=name))
        assert found == {"one": "id of a" if name == "a" else "not known: gone"}
    assert looked == ["a", "gone"]
    assert [(name, type(error)) for (_, name), error in seen.errors.items()] == [
        ("gone", SettingsError)
    ]
    with pytest.raises(SettingsError):
        dependencies(Planned(one="gone"))


def test_what_was_begun_and_made_nothing_is_in_nobodys_way(tmp_path: Path) -> None:
    one, other = (Artifact(tmp_path, "merge", {"alpha": alpha}) for alpha in (1, 2))
    one.begin()
    assert one.empty
    assert not other.begin()
    (tmp_path / "state").touch()
    with pytest.raises(SettingsError, match="alpha"):
        one.begin()


def test_what_differs_is_named_as_people_know_it(tmp_path: Path) -> None:
    """An input by its name, a default by its value; none by hashes, or as `None`."""
    (tmp_path / "words").write_text("go")

    def of(text: str = "go", **values: Any) -> Artifact:
        (tmp_path / "words").write_text(text)
        given = Example(**{"encoder": "a", "lexicon": tmp_path / "words", **values})
        return Artifact(tmp_path / "run", "finetune", dependencies(given), settings=given)

    of().begin()
    words = tmp_path / "words"
    assert of("stop").changes() == [f"lexicon: {words} as it was → {words} with other content"]
    assert of(rate=0.5).changes() == ["rate: 0.1 (the default) → 0.5"]
    assert of(lexicon=None).changes() == [f"lexicon: {words} → none"]
    assert of(inner=(Inner(rounds=3),)).changes() == ["inner.0.rounds: none → 3"]
    (tmp_path / "other").write_text("left")
    assert of(lexicon=tmp_path / "other").changes() == [f"lexicon: {words} → {tmp_path / 'other'}"]


def test_a_product_that_is_gone_is_said_before_it_is_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = made(tmp_path / "run", steps=3)
    (one.folder / "head.bin").unlink()
    one.begin()
    assert "finetune: missing, or changed since" in caplog.text
    assert "head.bin" in caplog.text

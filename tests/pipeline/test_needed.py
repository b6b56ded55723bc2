"""What a run needs is looked for at once: corpora as their readers look, encoders, files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from corpus_trees import MAKERS, Speech

from speechft.cli.app import main
from speechft.core.errors import CheckpointError, SettingsError
from speechft.pipeline.recipe.check_inputs import needed, refuse_missing
from speechft.pipeline.recipe.settings import load_recipe

PARTS = ("train-clean-100", "dev-clean", "test-clean")


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Gives the code of a dry run, what it shows, and its message."""

    def call(recipe: str, *overrides: str) -> tuple[int, str, str]:
        changes = [part for one in overrides for part in ("--set", one)]
        try:
            ended = main(["run", recipe, "--dry-run", "--out", str(tmp_path / "out"), *changes])
        except SystemExit as end:
            ended = int(end.code or 0)
        shown = capsys.readouterr()
        return int(ended or 0), " ".join(shown.out.split()), shown.err

    return call


def test_an_encoder_that_is_not_there_is_in_the_one_message(said: Any, tmp_path: Path) -> None:
    root = f"data_root={tmp_path}"
    code, shown, message = said("paper/decoar2", root)
    checkpoint = f"{tmp_path}/checkpoint_decoar2.pt"
    assert code == 3
    assert f"encoder {checkpoint}: missing" in shown
    assert f"{checkpoint}: there is no such encoder" in message
    assert message.count("Error:") == 1
    assert "vox1.html" in message
    Path(checkpoint).touch()
    assert f"{checkpoint}: the file is empty" in said("paper/decoar2", root)[2]
    (tmp_path / "encoder").mkdir()
    message = said("paper/asr", root, f"encoder={tmp_path}/encoder")[2]
    assert f"{tmp_path}/encoder: the folder is empty" in message
    assert "openslr.org/12" in message


def test_half_of_a_download_is_no_encoder(said: Any, tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    folder.mkdir()
    shards = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    (folder / "config.json").write_text('{"model_type": "hubert"}')
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": dict(zip("ab", shards, strict=True))})
    )
    (folder / shards[0]).write_bytes(b"x")
    (folder / "pytorch_model.bin").write_bytes(b"x")  # which nobody reads beside that index
    code, shown, message = said("demo", f"encoder={folder}", "pretrain=null")
    assert code == 4
    assert f"encoder {folder}: missing" in shown
    assert f"without {shards[1]}" in message


@pytest.mark.parametrize(
    ("files", "said_of_it"),
    [
        (["config.json"], "configuration but no weights"),
        (["config.json", "head.safetensors", "adapter.deu.safetensors"], "but no weights"),
        (["readme.txt"], "this folder is no encoder: no such file"),
        (["one.pt", "two.pt"], "this folder is no encoder: no such file; give {}/one.pt or"),
    ],
)
def test_a_folder_that_is_not_all_of_an_encoder_is_none(
    files: list[str], said_of_it: str, said: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "encoder"
    folder.mkdir()
    for name in files:
        (folder / name).write_text('{"model_type": "hubert"}')
    code, shown, message = said("demo", f"encoder={folder}", "pretrain=null")
    assert code == 4
    assert f"encoder {folder}: missing" in shown
    assert said_of_it.partition(":")[0] in message
    code, _, message = said("paper/asr", f"data_root={tmp_path}/none", f"encoder={folder}")
    assert code == 3
    assert f"{folder}: " in message
    assert said_of_it.format(folder) in message


def test_an_encoder_alone_that_is_not_there(tmp_path: Path) -> None:
    recipe = load_recipe("demo", [f"encoder={tmp_path}/none.pt", "pretrain=null"])
    with pytest.raises(CheckpointError, match=r"no such encoder[\s\S]*none\.pt"):
        refuse_missing(recipe)


def test_files_of_later_steps_are_looked_for_too(tmp_path: Path) -> None:
    files = [f"evaluate.asr_{name}={tmp_path}/{name}" for name in ("lm", "lexicon")]
    recipe = load_recipe("demo", ["evaluate.tasks=[asr]", *files])
    with pytest.raises(SettingsError, match=r"is missing[\s\S]*/lm: no such file[\s\S]*/lexicon"):
        refuse_missing(recipe)


def test_empty_folders_are_no_corpus(said: Any, tmp_path: Path) -> None:
    for part in PARTS:
        (tmp_path / "LibriSpeech" / part).mkdir(parents=True)
    code, shown, message = said("paper/asr", f"data_root={tmp_path}", "encoder=tiny-hubert")
    assert code == 3
    assert f"librispeech:{tmp_path}/LibriSpeech: not complete" in shown
    assert "no file train-clean-100/*/*/*.trans.txt" in message


def test_what_tasks_read_is_asked_for_and_no_more(
    said: Any, tmp_path: Path, synthetic_splits: Any
) -> None:
    speech = Speech(synthetic_splits)
    for name in ("librispeech", "voxceleb1", "iemocap"):
        MAKERS[name](tmp_path, speech)
    root = [f"data_root={tmp_path}", "encoder=tiny-hubert"]
    lexicon = tmp_path / "LibriSpeech/librispeech-lexicon-allothers-g2p.txt"
    lexicon.unlink()
    one = [*root, "evaluate.tasks=[asr]"]
    assert said("superb", *one)[0] == 0  # ASR reads no lexicon
    code, _, message = said("superb", *root, "evaluate.tasks=[pr, asr]")
    assert (code, f"there is no {lexicon.name}" in message) == (3, True)
    (tmp_path / "VoxCeleb1/iden_split.txt").unlink()
    assert said("superb", *root, "evaluate.tasks=[asv]")[0] == 0
    code, _, message = said("superb", *root, "evaluate.tasks=[sid]")
    assert (code, "there is no iden_split.txt" in message) == (3, True)
    # Analysis hears LibriSpeech, and reads no phoneme.
    changes = ["evaluate.tasks=[er]", "analyze.data=librispeech:{librispeech}"]
    found = needed(load_recipe("superb", [*root, *changes]))
    assert {Path(one.data).name: one.lacks for one in found} == {
        "IEMOCAP_full_release": "",
        "LibriSpeech": "",
    }


def test_an_override_of_tasks_drops_all_that_is_said_of_others(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        """
name: own
encoder: tiny-hubert
data: synthetic:tiny
finetune: {task: "pr,sid", data: {pr: "synthetic:tiny", sid: nowhere.csv}}
evaluate:
  tasks: [pr, sid, asr]
  data: {pr: "synthetic:tiny", sid: nowhere.csv, default: "synthetic:tiny"}
  steps: {pr: 5, sid: 6}
  learning_rates: {pr: [0.1], sid: [0.2]}
  select: {sid: acc, pr: per}
  sweep: [0.5]
  sweep_tasks: [sid]
  asr_lm: nowhere.bin
  asr_lexicon: nowhere.txt
"""
    )
    recipe = load_recipe(tmp_path / "own.yaml", ["evaluate.tasks=pr", "finetune.task=pr"])
    section = recipe.evaluate
    assert section.steps == {"pr": 5}  # type: ignore[attr-defined]
    assert section.learning_rates == {"pr": (0.1,)}  # type: ignore[attr-defined]
    assert section.select == {"pr": "per"}  # type: ignore[attr-defined]
    assert (section.sweep, section.sweep_tasks) == ((), ())
    assert section.asr_lm is None  # type: ignore[attr-defined]
    assert recipe.finetune[0].data == {"pr": "synthetic:tiny"}
    assert [one.data for one in needed(recipe)] == ["synthetic:tiny"]
    refuse_missing(recipe, least=1)


def test_a_dry_run_ends_as_the_run_where_speech_cannot_be_made(
    said: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPEECHFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    code, shown, message = said("demo")
    assert code == 3
    assert "synthetic:demo: not made yet" in shown
    assert "pip install 'espeakng-loader" in message


def test_data_that_chooses_alpha_is_needed(tmp_path: Path) -> None:
    changes = ["merge.alpha=auto", f"merge.data=timit:{tmp_path}/TIMIT"]
    found = [one.data for one in needed(load_recipe("paper/sid", changes)) if one.lacks]
    assert f"timit:{tmp_path}/TIMIT" in found


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("evaluate.tasks=[pr, sidd]", "unknown task 'sidd' next: did you mean 'sid'"),
        ("evaluate.tasks=[pr, ks]", "data names none for the task 'ks'"),
        ("places.snipz=/elsewhere", "the recipe has no such place where: --set places.snipz"),
    ],
)
def test_a_task_or_a_place_that_the_recipe_does_not_have(
    override: str, says: str, said: Any, tmp_path: Path
) -> None:
    """A task was a KeyError; what was said of a place counted for nothing, in silence."""
    code, _, message = said("paper/asr", f"data_root={tmp_path}", "encoder=tiny-hubert", override)
    assert code == 2
    assert says in " ".join(message.split())

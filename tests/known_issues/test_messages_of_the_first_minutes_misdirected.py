"""Messages that a newcomer met first and that led astray.

Encoders of two families were said to be one in fairseq's names, and every tensor was listed, 300
lines of them; an unknown task was refused after the data was hashed and read; who asked a finished
run for more updates was told only that other settings had made it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from speechft.core.errors import IncompatibleModelsError, SettingsError
from speechft.merging.settings import MergeSettings
from speechft.merging.stage import merge
from speechft.training.finetune.settings import FinetuneSettings
from speechft.training.finetune.stage import finetune
from speechft.training.run_folder import begin, run_artifact


def test_two_families_are_called_so_in_few_lines(tmp_path: Path):
    with pytest.raises(IncompatibleModelsError) as caught:
        merge(MergeSettings(base="tiny-hubert", tuned=("tiny-decoar2",), out=tmp_path / "m"))
    assert "decoar2, BASE of hubert" in str(caught.value)
    assert "fairseq" not in str(caught.value)
    assert len(str(caught.value).splitlines()) < 20


def test_an_unknown_task_is_refused_before_data_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def read(*_: object) -> None:
        raise AssertionError("the data was looked at")

    monkeypatch.setattr("speechft.training.finetune.stage.run_artifact", read)
    with pytest.raises(SettingsError, match="did you mean 'sid'"):
        finetune(
            FinetuneSettings(
                encoder="tiny-hubert", task="sidd", data="synthetic:demo", out=tmp_path / "f"
            )
        )


def test_a_run_that_should_be_longer_says_how_to_go_on(tmp_path: Path):
    def artifact(**values: int):
        settings = FinetuneSettings(
            encoder="tiny-hubert", task="sid", data="synthetic:tiny", out=tmp_path, **values
        )
        return run_artifact(tmp_path, "finetune", settings)

    first = artifact(steps=100)
    begin(first)
    (tmp_path / "product").write_text("x")
    first.end(["product"])
    with pytest.raises(SettingsError, match=rf"(?s)steps 200.*--continue {tmp_path}"):
        begin(artifact(steps=200))
    with pytest.raises(SettingsError, match="with other settings"):
        begin(artifact(steps=200, seed=1))

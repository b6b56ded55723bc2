"""Who does the jobs, as a command line says it."""

from __future__ import annotations

import pytest

from speechft.core.errors import SettingsError
from speechft.core.launch_settings import read_launch


def test_the_launch_is_taken_out_of_the_overrides() -> None:
    given = ["slurm.partition=gpu", "finetune.steps=3", "dask.address=tcp://here:8786"]
    launch, rest = read_launch(given, launcher="slurm", workers=2)
    assert rest == ["finetune.steps=3"]
    assert launch.slurm == {"partition": "gpu"}
    assert (launch.dask.address, launch.workers) == ("tcp://here:8786", 2)


@pytest.mark.parametrize("wrong", [["dask.adress=x"], ["slurm=gpu"]])
def test_mistakes_are_named(wrong: list[str]) -> None:
    with pytest.raises(SettingsError):
        read_launch(wrong)
    with pytest.raises(SettingsError, match="launcher"):
        read_launch([], launcher="pbs")
    with pytest.raises(SettingsError) as caught:
        read_launch([], launcher="pbs")
    assert caught.value.where == "launcher"

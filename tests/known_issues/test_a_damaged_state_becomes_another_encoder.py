"""A run went on from a state with a flipped bit, and from states of a run that nothing names."""

import pytest
import torch
from finetune_fixture import settings
from pretrain_fixture import stopped_at

from speechft.core.checksum_files import seal
from speechft.core.errors import CheckpointError
from speechft.encoders import build_encoder
from speechft.training.finetune.stage import finetune
from speechft.training.pretrain.settings import PretrainSettings
from speechft.training.pretrain.stage import pretrain
from speechft.training.resume_state import load_state


@pytest.fixture
def base(tmp_path, tiny_config):
    return build_encoder(tiny_config, seed=0).save(tmp_path / "base")


@pytest.fixture(params=["finetune", "pretrain"])
def run(request, base, tmp_path):
    """A run that was stopped: how to call it again, and the folder of its states."""
    out = tmp_path / "run"
    if request.param == "finetune":
        given = settings(base, out, steps=6, save_every=2, threads=1)
        with stopped_at(4):
            finetune(given)
        return lambda: finetune(given), out, out / "checkpoints"
    units = {"steps": 6, "clusters": 6, "layer": 1}
    given = PretrainSettings(
        init=str(base),
        out=out,
        data="synthetic:tiny",
        iterations=[units],
        seconds=10,
        save_every=2,
        threads=1,
    )
    with stopped_at(4):
        pretrain(given)
    return lambda: pretrain(given), out, out / "iteration-1" / "checkpoints"


@pytest.mark.parametrize("how", ["flipped", "zeros", "cut", "NaN"])
def test_a_damaged_state_is_one_error_with_the_way_out(run, how):
    again, _, states = run
    (state,) = states.glob("update-*.pt")
    content = bytearray(state.read_bytes())
    middle = len(content) // 2
    if how == "flipped":
        content[middle] ^= 1
    elif how == "zeros":
        content[middle : middle + 4096] = bytes(4096)
    elif how == "cut":
        del content[middle:]
    state.write_bytes(content)
    if how == "NaN":
        values = torch.load(state, weights_only=True)
        next(iter(values["module"].values())).fill_(float("nan"))
        torch.save(values, state)
        seal(state)
    with pytest.raises(CheckpointError) as caught:
        again()
    assert str(state) in str(caught.value)
    assert f"remove {states}" in str(caught.value)
    for file in states.iterdir():
        file.unlink()
    again()  # from the first update on


@pytest.mark.parametrize("how", ["missing", "cut"])
def test_states_of_a_run_that_nothing_names_are_refused(run, how):
    again, out, _ = run
    begun = out / "begun.json"
    begun.unlink() if how == "missing" else begun.write_text(begun.read_text()[:40])
    for _ in range(2):  # it stays refused
        with pytest.raises(CheckpointError, match="nothing says of which") as caught:
            again()
    assert f"remove {out}" in str(caught.value)


def test_units_that_changed_since_are_refused(run):
    again, out, _ = run
    for file in out.rglob("units.npz"):
        content = bytearray(file.read_bytes())
        content[60] ^= 1
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match="not as it was written"):
            again()


@pytest.mark.parametrize("held", [3, [], {}, {"module": 3}, {"module": {"x": "y"}}])
def test_a_file_of_something_else_under_a_seal_is_one_error(tmp_path, held):
    torch.save(held, tmp_path / "update-3.pt")
    seal(tmp_path / "update-3.pt")
    with pytest.raises(CheckpointError, match=r"cannot read the state[\s\S]*remove .* to train"):
        load_state(tmp_path)

"""The check of one's own encoder: what it passes, and five faults that it finds."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from speechft.cli.app import main
from speechft.core.errors import CheckpointError, SettingsError
from speechft.encoders.check import check, check_encoder

HOP = 320


class Mine(nn.Module):
    """Frames of 320 samples, projected; no frame knows of another."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(HOP, 8), nn.Linear(8, 8)])

    def frames(self, waves: list[Tensor]) -> tuple[Tensor, Tensor]:
        lengths = torch.tensor([len(wave) // HOP for wave in waves])
        cut = [wave[: len(wave) // HOP * HOP].view(-1, HOP) for wave in waves]
        return nn.utils.rnn.pad_sequence(cut, batch_first=True), lengths

    def forward(self, waves: list[Tensor]) -> Any:
        frames, lengths = self.frames(waves)
        first = self.layers[0](frames)
        return SimpleNamespace(hidden_states=(first, self.layers[1](first)), lengths=lengths)


class SeesPadding(Mine):
    def frames(self, waves: list[Tensor]) -> tuple[Tensor, Tensor]:
        frames, lengths = super().frames(waves)
        return frames - frames.mean(dim=(1, 2), keepdim=True), lengths


class WrongLengths(Mine):
    def frames(self, waves: list[Tensor]) -> tuple[Tensor, Tensor]:
        frames, lengths = super().frames(waves)
        return frames, torch.full_like(lengths, frames.shape[1])


class OneState(Mine):
    def forward(self, waves: list[Tensor]) -> Any:
        return SimpleNamespace(hidden_states=super().forward(waves).hidden_states[:1], lengths=None)


class Random(Mine):
    def frames(self, waves: list[Tensor]) -> tuple[Tensor, Tensor]:
        frames, lengths = super().frames(waves)
        return frames + 1e-6 * torch.randn_like(frames), lengths


class Frozen(Mine):
    def forward(self, waves: list[Tensor]) -> Any:
        with torch.no_grad():
            return super().forward(waves)


class NaNs(Mine):
    def frames(self, waves: list[Tensor]) -> tuple[Tensor, Tensor]:
        frames, lengths = super().frames(waves)
        return frames / 0 * 0, lengths


def failed(encoder: nn.Module) -> list[str]:
    torch.manual_seed(0)
    return [finding.name for finding in check_encoder(encoder) if not finding.passed]


def test_one_that_holds() -> None:
    assert failed(Mine()) == []


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (SeesPadding, ["padding changes nothing"]),
        (WrongLengths, ["lengths"]),
        (OneState, ["shapes"]),
        (Random, ["the same twice"]),
        (Frozen, ["gradients"]),
    ],
)
def test_faults_are_found(kind: type[nn.Module], names: list[str]) -> None:
    assert failed(kind()) == names


def test_values_that_are_not_finite() -> None:
    assert "finite" in failed(NaNs())


def test_our_own_encoders_hold(tiny_encoder: Any) -> None:
    assert failed(tiny_encoder) == []


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own_encoder.py").write_text(
        f"import sys\nsys.path.append({str(Path(__file__).parent)!r})\n"
        "from test_check import Mine, Frozen\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name, code in (("Mine", 0), ("Frozen", 4)):
        with pytest.raises(SystemExit) as ended:
            main(["check", "encoder", f"own_encoder:{name}"])
        assert (ended.value.code or 0) == code
    assert "FAILED" in capsys.readouterr().out


def test_what_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be made"):
        check("no_such_module_at_all:Encoder")
    with pytest.raises(SettingsError, match="cannot be made"):
        check("pathlib:NoSuch")


def test_what_cannot_encode() -> None:
    with pytest.raises(CheckpointError, match="cannot encode"):
        check("collections:OrderedDict")

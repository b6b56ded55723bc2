"""The encoders that come with the package: whole, described, and as their recipes say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

import speechft
from speechft.core.files import read_json
from speechft.core.settings import parse_settings
from speechft.encoders.identity import packaged_names
from speechft.training.pretrain.settings import PretrainSettings

SOURCE = Path(speechft.__file__).parent
ASSETS, RECIPES = SOURCE / "assets", SOURCE / "recipes"
NAMES = [name for name in packaged_names() if name != "fbank"]  # which was never trained
BYTES = 7_500_000
WHEEL = 40_000_000


def test_tiny_hubert_is_there() -> None:
    assert "tiny-hubert" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_an_encoder_loads_and_tells_sounds_apart(name: str) -> None:
    encoder = speechft.load_encoder(name)
    assert name == f"tiny-{encoder.family}"
    torch.manual_seed(0)
    time = torch.arange(16000) / 16000
    waves = [
        0.1 * torch.sin(2 * torch.pi * f * time) + torch.randn(16000) / 1000 for f in (150, 900)
    ]
    with torch.inference_mode():
        output = encoder(waves)
    assert len(output.hidden_states) == encoder.num_layers + 1
    for state in output.hidden_states:
        assert state.dtype == torch.float32
        assert bool(state.isfinite().all())
        low, high = state.mean(dim=1)
        assert float((low - high).norm() / low.norm()) > 0.05


@pytest.mark.parametrize("name", NAMES)
def test_its_recipe_is_the_packaged_one_and_made_it(name: str) -> None:
    recipe = (ASSETS / name / "recipe.yaml").read_text()
    assert recipe == (RECIPES / f"{name}.yaml").read_text()
    settings = parse_settings(PretrainSettings, {**yaml.safe_load(recipe), "out": "x"}, name)
    made = read_json(ASSETS / name / "speechft.json")["settings"]
    assert made["init"] == settings.init
    for key in ("data", "seed", "seconds", "mask_share", "mask_span"):
        assert made[key] == getattr(settings, key)
    assert [one["steps"] for one in made["iterations"]] == [o.steps for o in settings.iterations]
    assert made.get("steps") == settings.steps


@pytest.mark.parametrize("name", NAMES)
def test_its_card_says_how_good_it_is(name: str) -> None:
    card = (ASSETS / name / "README.md").read_text()
    assert f"# {name}\n" in card
    layers = read_json(SOURCE.parent.parent / "results" / "layers.json")["layers"]
    assert f"| {name} | {' | '.join(f'{value:.1f}' for value in layers[name])} |" in card
    assert (ASSETS / name / "loss.png").stat().st_size > 1000
    assert len((ASSETS / name / "metrics.jsonl").read_text().splitlines()) > 20


@pytest.mark.parametrize("name", NAMES)
def test_it_is_small_and_of_half_precision(name: str) -> None:
    files = list((ASSETS / name).glob("*"))
    assert sum(file.stat().st_size for file in files if file.suffix == ".safetensors") < BYTES
    for path in (ASSETS / name).glob("*.safetensors"):
        assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}


def test_the_wheel_stays_small() -> None:
    size = sum(
        p.stat().st_size for p in SOURCE.rglob("*") if p.is_file() and "__pycache__" not in p.parts
    )
    assert size < WHEEL

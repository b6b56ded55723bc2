"""The README's blocks, run in an empty folder on tiny sizes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechft.encoders import build_encoder

README = Path(__file__).parent.parent / "README.md"
CONFIG = {
    "model_type": "hubert",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
# What makes the blocks quick; each must be found, so that no block runs at full size unnoticed.
SMALLER = {
    r"--steps 600": "--steps 2",
    r"steps=600": "steps=2",
    r"synthetic:demo": "synthetic:tiny",
    r"--tasks pr,sid,er,sf": "--tasks sid,er --steps 2 --workers 1",
    r"speechft run demo": (
        "speechft run demo --set data=synthetic:tiny --set finetune.steps=2 --set evaluate.steps=2"
        " --set evaluate.tasks=[sid] --set evaluate.sweep_tasks=[] --set evaluate.sweep=[0.5]"
        " --set evaluate.workers=1 --set encoder=./tiny-hubert"
    ),
    r"(?<![\w./])tiny-hubert(?=[ \",])": "./tiny-hubert",
}


def blocks(language: str) -> list[str]:
    text = README.read_text()
    found = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for pattern, smaller in SMALLER.items():
        found = [re.sub(pattern, smaller, block) for block in found]
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder with a stand-in for the packaged encoder, and the table of the README."""
    home = tmp_path_factory.mktemp("readme")
    build_encoder(CONFIG, seed=0).save(home / "tiny-hubert")
    (table,) = blocks("csv")
    (home / "my.csv").write_text(table)
    noise = np.random.default_rng(0)
    for name in re.findall(r"^(clips/[^,]+)", table, re.MULTILINE):
        (home / name).parent.mkdir(exist_ok=True)
        soundfile.write(home / name, 0.1 * noise.standard_normal(24000), 16000)
    return home


def execute(command: list[str], folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_shrinking_is_of_use() -> None:
    for pattern in SMALLER:
        assert re.search(pattern, README.read_text()), pattern


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(blocks("bash"))))
def test_shell_block(folder: Path, number: int) -> None:
    execute(["bash", "-euc", blocks("bash")[number]], folder)
    made = {
        0: "runs/report/report.html",
        1: "runs/demo/report.html",
        2: "runs/asr/encoder/config.json",
    }
    assert (folder / made[number]).is_file()


@pytest.mark.slow
def test_python_block(folder: Path) -> None:
    (block,) = blocks("python")
    said = execute([sys.executable, "-c", block], folder)
    layers, shape, lengths = re.fullmatch(r"(\d+) (.*\]\)) (.*)\n(?s:.*)", said).groups()  # type: ignore[union-attr]
    assert int(layers) == CONFIG["num_hidden_layers"] + 1
    assert shape == "torch.Size([2, 74, 16])"
    assert lengths == "tensor([49, 74])"
    assert (folder / "runs/sid-merged/model.safetensors").is_file()

"""Blocks of code of the pages, made small, and the folder that they run in."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import soundfile
from tiny_configs import TWO_LAYERS as CONFIG

from speechft.encoders import build_encoder

ROOT = Path(__file__).parents[2]
# What makes the blocks quick; each must be found, so that no block runs at full size unnoticed.
SMALLER = {
    r"--steps \d{3,}": "--steps 2",
    r"steps=600": "steps=2",
    r"synthetic:(demo|study)": "synthetic:tiny",
    r"synthetic:languages@es": "synthetic:tiny@es",
    r"--tasks pr,sid,er,sf(?!,)": "--tasks sid,er --steps 2 --workers 1",
    r"--tasks pr,sid,(er,sf,)?asr": "--tasks sid,asr --steps 2 --workers 1",
    r"speechft run demo": (
        "speechft run demo --set data=synthetic:tiny --set finetune.steps=2 --set evaluate.steps=2"
        " --set evaluate.tasks=[sid] --set evaluate.sweep_tasks=[] --set evaluate.sweep=[0.5]"
        " --set evaluate.workers=1 --set encoder=./tiny-hubert"
    ),
    r"(?<![\w./])tiny-hubert(?=[ \",])": "./tiny-hubert",
}


def blocks(page: Path, language: str) -> list[str]:
    """Give the page's blocks of a language, as they stand."""
    pattern = rf"^( *)```{language}\n(.*?)^\1```"
    found = re.findall(pattern, page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [block for _, block in found]


def smaller(block: str) -> str:
    """Give a block with tiny sizes."""
    for pattern, less in SMALLER.items():
        block = re.sub(pattern, less, block)
    return block


def fill(home: Path, table: str) -> Path:
    """Put a stand-in for the packaged encoder, and a table with its audio, into a folder."""
    build_encoder(CONFIG, seed=0).save(home / "tiny-hubert")
    (home / "my.csv").write_text(table)
    noise = np.random.default_rng(0)
    for name in ["meeting.wav", *re.findall(r"^(clips/[^,]+)", table, re.MULTILINE)]:
        (home / name).parent.mkdir(exist_ok=True)
        soundfile.write(home / name, 0.1 * noise.standard_normal(24000), 16000)
    return home

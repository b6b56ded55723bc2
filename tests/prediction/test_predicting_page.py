"""The commands and the code of docs/predicting.md, run in a folder of their own on tiny sizes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile
from evaluate_fixture import CONFIG

from speechft.cli.app import main
from speechft.encoders import build_encoder

PAGE = Path(__file__).parent.parent.parent / "docs" / "predicting.md"
SMALLER = {
    "--steps 600": "--steps 2",
    "synthetic:demo": "synthetic:tiny",
    "tiny-hubert": "./tiny-hubert",
    "--tasks sid": "--tasks sid --steps 2 --workers 1",
}


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    for pattern, smaller in SMALLER.items():
        found = [block.replace(pattern, smaller) for block in found]
    return found


def test_the_page_runs(tmp_path, monkeypatch, capsys):
    assert all(pattern in PAGE.read_text() for pattern in SMALLER)
    monkeypatch.chdir(tmp_path)
    build_encoder(CONFIG, seed=0).save("tiny-hubert")
    Path("clips").mkdir()
    noise = np.random.default_rng(0)
    for name in ("clips/a.wav", "meeting.wav"):
        soundfile.write(name, 0.1 * noise.standard_normal(16000), 16000)
    Path("my.csv").write_text("audio,split\nclips/a.wav,test\n")
    for line in "".join(blocks("bash")).splitlines():
        with pytest.raises(SystemExit) as ended:
            main(shlex.split(line)[1:])
        assert ended.value.code == 0, line
    assert len(Path("texts.jsonl").read_text().splitlines()) == 1
    capsys.readouterr()
    in_transformers, ours = blocks("python")
    exec(in_transformers, {})
    assert "'text'" in capsys.readouterr().out
    exec(ours, {})
    assert capsys.readouterr().out.startswith("clips/a.wav ")

"""An encoder that gives NaN was compared, heard, clustered and merged by, with exit code 0.

Its weights are finite, so that it loads. An analysis said CKA 100: the mean over the layers that
were still finite.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from speechft import analyze, embed, finetune, merge, predict
from speechft.core.errors import DataError
from speechft.encoders import SpeechEncoder, build_encoder
from speechft.tasks.kept_head import read_head, write_head
from speechft.training.pretrain.units import hidden_features

DATA = "data.csv"


@pytest.fixture
def encoders(
    tmp_path: Path, tiny_config: dict[str, Any], tone: Any, monkeypatch: pytest.MonkeyPatch
) -> SpeechEncoder:
    """θ0 in `base`, and in `huge` one whose states overflow from the second layer on."""
    monkeypatch.chdir(tmp_path)
    rows = ["audio,label,split"]
    for number in range(12):
        tone(f"{number}.wav", 0.5)
        split = "train" if number < 8 else "dev" if number < 10 else "test"
        rows.append(f"{number}.wav,c{number % 2},{split}")
    Path(DATA).write_text("\n".join(rows))
    build_encoder(tiny_config, seed=0).save("base")
    huge = build_encoder(tiny_config, seed=0)
    with torch.no_grad():
        huge.model.encoder.layers[0].final_layer_norm.weight.fill_(3e38)
    huge.save("huge")
    return huge.eval()


WORDS = "hidden states of an utterance are not finite"


def test_an_analysis_is_refused(encoders: SpeechEncoder) -> None:
    with pytest.raises(DataError, match=WORDS):
        analyze(base="base", encoders=["huge"], data=DATA, out="analysis")


def test_alpha_from_data_is_refused(encoders: SpeechEncoder) -> None:
    with pytest.raises(DataError, match=WORDS):
        merge(base="base", tuned=["huge"], alpha=["auto"], data=DATA, dtype="float32", out="merged")


def test_statistics_for_a_merge_are_refused(encoders: SpeechEncoder) -> None:
    with pytest.raises(DataError, match="not finite"):
        merge(base="base", tuned=["huge"], method="regmean", gram_data=[DATA], out="merged")


def test_units_are_refused(encoders: SpeechEncoder) -> None:
    with pytest.raises(DataError, match=WORDS):
        hidden_features(encoders, 2)([torch.randn(16000)])


def test_embed_says_what_to_look_at(encoders: SpeechEncoder) -> None:
    with pytest.raises(DataError, match=WORDS + r"[\s\S]*look at the encoder's weights"):
        embed(encoder="huge", audio=["0.wav"], out="states.npz")


def test_a_head_says_nothing_of_them(encoders: SpeechEncoder) -> None:
    finetune(encoder="base", task="classify:label", data=DATA, steps=1, out="run")
    head = Path("run/encoder/head.safetensors")
    with torch.no_grad():
        for parameter in (task_head := read_head(head)).module.parameters():
            parameter.fill_(3e38)
    write_head(head, task_head.module.state_dict(), task_head.record)
    Path("run/speechft.json").unlink()
    with pytest.raises(DataError, match=WORDS):
        predict(encoder="run", audio=["0.wav"])

"""docs/settings.md says something about every setting."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from speechft.analysis.settings import AnalyzeSettings
from speechft.merging.settings import MergeSettings
from speechft.probing.settings import EncoderSpec, EvaluateSettings
from speechft.reporting.settings import ReportSettings
from speechft.training.finetune.settings import FinetuneSettings
from speechft.training.pretrain.settings import (
    ContrastiveSettings,
    Guide,
    Iteration,
    PretrainSettings,
    Quantiser,
)

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
KINDS = {
    "pretrain": PretrainSettings,
    "iterations.N": Iteration,
    "iterations.N.guide": Guide,
    "quantiser": Quantiser,
    "contrastive": ContrastiveSettings,
    "finetune": FinetuneSettings,
    "merge": MergeSettings,
    "evaluate": EvaluateSettings,
    "encoders.N (`EncoderSpec`)": EncoderSpec,
    "analyze": AnalyzeSettings,
    "report": ReportSettings,
}


@pytest.mark.parametrize("title", KINDS)
def test_every_setting_is_described(title):
    text = PAGE.read_text(encoding="utf-8")
    (part,) = re.findall(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| `(\w+)` \| (.*?) ?\| (.*) \|$", part, re.MULTILINE)
    assert [name for name, _, _ in rows] == list(KINDS[title].model_fields)
    assert not [name for name, _, meaning in rows if len(meaning) < 5]


def test_no_section_is_left_out():
    titles = re.findall(r"^##+ (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert titles == list(KINDS)

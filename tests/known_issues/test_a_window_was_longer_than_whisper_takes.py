"""The last window of a long recording could be up to half a frame longer than the others.

Whisper's encoder takes 30 s and not a sample more, so that `predict` ended there, with all other
recordings unsaid.
"""

from __future__ import annotations

import numpy as np
import pytest
from family_configs import config_of

from speechft.core.settings import parse_settings
from speechft.encoders import build_encoder
from speechft.prediction.embed import embed
from speechft.prediction.predict import predict, windows
from speechft.prediction.settings import EmbedSettings, PredictSettings
from speechft.tasks import task_from_dict
from speechft.tasks.kept_head import HeadRecord, write_head

LONGEST = 320 * 320  # samples that the tiny Whisper takes
TASK = {"task": "sid", "groups": {"speaker": ["ann", "ben"]}}


@pytest.mark.parametrize("more", [1, 100, 160, 161, 319, 320, 321, 100_100])
def test_no_window_exceeds_its_size(more):
    spans = windows(LONGEST + more, LONGEST, 32_000, 320)
    assert max(end - begin for begin, end in spans) == LONGEST
    assert spans[-1][1] == LONGEST + more


@pytest.fixture
def hear(tmp_path, tone):
    encoder = build_encoder(config_of("whisper"), seed=0)
    encoder.save(tmp_path / "e")
    width = encoder.hidden_size
    head = task_from_dict(TASK).build_head(width, purpose="finetune", size="mini")
    record = HeadRecord(task=TASK, purpose="finetune", size="mini", width=width)
    write_head(tmp_path / "e" / "head.safetensors", head.state_dict(), record)
    files = [str(tone("a.wav")), str(tone("b.wav", (LONGEST + 100) / 16_000))]

    def hear(window: float | None):
        if window is None:
            values = {"encoder": tmp_path / "e", "audio": files, "out": tmp_path / "s.npz"}
            found = embed(parse_settings(EmbedSettings, values | {"skip_bad": True}, where="test"))
            return np.load(found).files
        values = {"encoder": tmp_path / "e", "audio": files, "window": window, "overlap": 2}
        return predict(parse_settings(PredictSettings, values, where="test"))

    return hear


def test_whisper_hears_a_recording_that_is_longer_than_a_window(hear):
    assert all("label" in record for record in hear(LONGEST / 16_000))


def test_a_window_that_it_does_not_take_stops_no_other_recording(hear):
    short, long = hear(30)
    assert "label" in short
    assert "longer than Whisper's encoder takes" in long["error"]


def test_skip_bad_skips_what_the_encoder_does_not_take(hear):
    (name,) = hear(None)
    assert name.endswith("a.wav")

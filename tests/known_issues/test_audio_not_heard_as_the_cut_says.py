"""Audio was heard otherwise than its cut says, under an identity that said that it was as it says.

The channel of a cut was hashed and not used: all channels were averaged. `perturb_speed`,
`resample` and volume were ignored, by the audio and by its identity. A folder whose first cut is
mixed lost the whole split without a word. A cut with a supervision for a part of it was heard
whole: six seconds for two seconds of text.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from lhotse import CutSet, MonoCut, MultiCut, Recording, SupervisionSegment

from speechft.core.errors import DataError
from speechft.data.audio import load_waveform
from speechft.data.identity import data_id
from speechft.data.load import load_data

RATE = 16000


@pytest.fixture
def cut(tmp_path) -> MonoCut:
    """Six seconds of two channels: noise, and a tone."""
    noise = 0.1 * np.random.default_rng(0).normal(size=6 * RATE)
    tone = 0.3 * np.sin(2 * np.pi * 300 * np.arange(6 * RATE) / RATE)
    soundfile.write(tmp_path / "a.wav", np.stack([noise, tone], axis=1), RATE, subtype="FLOAT")
    recording = Recording.from_file(tmp_path / "a.wav")
    whole = SupervisionSegment("a", "a", 0.0, 6.0, text="yes")
    return MonoCut("a", 0.0, 6.0, 1, supervisions=[whole], recording=recording)


def read(cut, folder):
    path = folder / "cuts.jsonl.gz"
    CutSet.from_cuts([cut]).to_file(path)
    (found,) = load_data(str(path))["train"]
    return found, data_id(str(path))


def as_lhotse(cut) -> torch.Tensor:
    heard = np.atleast_2d(cut.load_audio()).mean(axis=0, dtype=np.float32)
    return torch.from_numpy(np.clip(heard, -1, 1))


def test_one_channel_all_channels(cut, tmp_path):
    second, second_id = read(cut, tmp_path)
    first, first_id = read(replace(cut, channel=0), tmp_path)
    both = MultiCut("a", 0.0, 6.0, [0, 1], supervisions=cut.supervisions, recording=cut.recording)
    mean, mean_id = read(both, tmp_path)
    samples = torch.from_numpy(soundfile.read(tmp_path / "a.wav", dtype="float32")[0])
    assert load_waveform(first).equal(samples[:, 0])
    assert load_waveform(second).equal(samples[:, 1])
    assert load_waveform(mean).equal(as_lhotse(both))
    assert len({first_id, second_id, mean_id}) == 3
    with pytest.raises(DataError, match="its recording has no channel 2"):
        read(replace(cut, channel=2), tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda cut: cut.perturb_speed(1.1, affix_id=False),
        lambda cut: cut.perturb_volume(0.5, affix_id=False),
        lambda cut: cut.resample(8000).resample(RATE),
        lambda cut: cut.perturb_speed(0.9, affix_id=False).truncate(
            offset=1.5, duration=2.0, preserve_id=True
        ),
    ],
)
def test_what_is_done_to_a_recording_is_heard_and_counts(cut, tmp_path, change):
    plain, plain_id = read(cut, tmp_path)
    changed, changed_id = read(change(cut).drop_supervisions(), tmp_path)
    assert load_waveform(changed).equal(as_lhotse(change(cut)))
    assert not torch.equal(load_waveform(changed), load_waveform(plain))
    assert changed_id != plain_id


def test_what_cannot_be_heard_is_refused_by_name(cut, tmp_path):
    other = replace(cut, id="b")
    CutSet.from_cuts([cut.pad(duration=8.0), other]).to_file(tmp_path / "train.jsonl.gz")
    CutSet.from_cuts([other]).to_file(tmp_path / "dev.jsonl.gz")
    with pytest.raises(DataError, match=r"train.jsonl.gz, line 1[\s\S]*MixedCut[\s\S]*save_audios"):
        load_data(str(tmp_path))
    changed = cut.recording.compress("mp3", 0.5)
    with pytest.raises(DataError, match="a: its recording is changed by Compress"):
        read(replace(cut, recording=changed), tmp_path)


def test_the_span_of_a_supervision_is_heard(cut, tmp_path):
    part = replace(cut.supervisions[0], start=1.0, duration=2.0)
    found, _ = read(replace(cut, supervisions=[part]), tmp_path)
    assert (found.id, found.start, found.duration) == ("a", 1.0, 2.0)
    assert load_waveform(found).equal(load_waveform(cut)[RATE : 3 * RATE])
    beyond = replace(cut.supervisions[0], duration=7.0)
    with pytest.raises(DataError, match=r"cut a: its supervision goes beyond it \(0 to 7 of 6 s\)"):
        read(replace(cut, supervisions=[beyond]), tmp_path)


def test_all_bad_cuts_are_said_at_once(cut, tmp_path):
    path = tmp_path / "cuts.jsonl"
    bad = [replace(cut, id=str(n), channel=5 + n) for n in range(3)]
    CutSet.from_cuts([cut, *bad]).to_file(path)
    with pytest.raises(DataError, match=r"3 problems[\s\S]*line 2, cut 0[\s\S]*line 4, cut 2"):
        load_data(str(path))

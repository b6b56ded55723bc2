"""Speed and noise in fine-tuning: what is heard, also after a stop, and that dev is as it is."""

import json
import signal
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from evaluate_fixture import write_tones
from family_configs import config_of
from finetune_fixture import kill_at, moved, settings
from kills import faults

from speechft.core.errors import DataError
from speechft.data.audio import load_waveform
from speechft.data.augmentation import Noise, at_speed
from speechft.data.batching import DurationBatches, VariedBatches
from speechft.data.cuts import heard_samples
from speechft.data.load import load_data
from speechft.encoders import build_encoder
from speechft.hidden.decode_ahead import Waveforms
from speechft.tasks import TASKS
from speechft.tasks.speaker_turns import frame_labels, frames_of, turns_of
from speechft.training.batch_stream import BatchStream, Position
from speechft.training.finetune.batch_order import updates_of
from speechft.training.finetune.data import Chosen, NoisyWaveforms, read_task
from speechft.training.finetune.objective import FineTuning
from speechft.training.finetune.stage import finetune


@pytest.fixture
def base(tmp_path, tiny_config):
    return build_encoder(tiny_config, seed=0).save(tmp_path / "base")


@pytest.fixture
def noise(tmp_path):
    """Three recordings: a short one, a long one, and one of another rate."""
    folder = tmp_path / "noise"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, samples, rate in (("a", 3000, 16000), ("b", 80000, 16000), ("c", 20000, 8000)):
        soundfile.write(folder / f"{name}.wav", 0.1 * random.normal(size=samples), rate)
    return folder


@pytest.fixture
def cuts(tmp_path):
    return list(load_data(str(write_tones(tmp_path / "tones")))["train"])


def ratio(wave, mixed):
    """Signal to noise in dB, of a sum that was not made quieter."""
    noise = (mixed - wave).double()
    return float(10 * torch.log10((wave.double() ** 2).mean() / (noise**2).mean()))


def test_speed_shortens_speech_and_moves_its_labels(cuts):
    for factor in (0.9, 1.1):
        changed = at_speed(cuts[0], factor)
        wave = load_waveform(changed)
        assert len(wave) == pytest.approx(heard_samples(cuts[0]) / factor, abs=2)
        assert abs(len(wave) - heard_samples(changed)) <= 1
        before, after = (
            torch.fft.rfft(one).abs().argmax() / len(one) for one in (load_waveform(cuts[0]), wave)
        )
        assert float(after / before) == pytest.approx(factor, rel=0.02)  # the pitch
    assert at_speed(cuts[0], 1.0) is cuts[0]


def test_labels_by_frame_move_with_the_speed(cuts):
    """Phonemes with times, and the turns of several speakers."""
    data = read_task(TASKS["pc"], load_data("synthetic:tiny"), "synthetic:tiny")
    data.task.hop = 320
    one = cuts[0].supervisions[0]
    turns = [replace(one, start=0.1, duration=0.2), replace(one, speaker="x", start=0.3)]
    mixture = replace(cuts[0], supervisions=[replace(s, duration=0.2) for s in turns])
    pairs = [(data.task.target, cut) for cut in data.cuts[:4]]
    pairs.append((lambda cut: frame_labels(turns_of(cut), frames_of(cut), 2), mixture))
    for target, cut in pairs:
        whole, faster = target(cut), target(at_speed(cut, 1.25))
        assert len(faster) == pytest.approx(len(whole) / 1.25, abs=2)
        same = [
            torch.equal(whole[min(round(n * 1.25), len(whole) - 1)], row)
            for n, row in enumerate(faster)
        ]
        assert np.mean(same) > 0.8
        still = [torch.equal(whole[n], row) for n, row in enumerate(faster)]
        assert np.mean(still) < np.mean(same)


def test_every_utterance_comes_once_in_an_epoch_at_a_speed_drawn_anew():
    seconds = [1.0, 2.0, 3.0, 4.0]
    durations = [s / factor for factor in (0.8, 1.0, 1.25) for s in seconds]
    order = VariedBatches(durations, 3, lambda costs: DurationBatches(costs, 5.0, 0), 7)
    heard = []
    for number in range(30):
        batches = order.epoch(number)
        assert batches == order.epoch(number)
        assert sorted(i % 4 for batch in batches for i in batch) == [0, 1, 2, 3]
        for batch in batches:
            assert len(batch) == 1 or len(batch) * max(durations[i] for i in batch) <= 5
        heard += [i // 4 for batch in batches for i in batch]
    assert all(25 < heard.count(variant) < 55 for variant in range(3))


def test_the_ratio_is_what_was_asked_for(noise, cuts):
    added = Noise(str(noise))
    loud = load_waveform(cuts[0])
    wave = 0.05 * loud
    random = np.random.default_rng(1)
    for wanted in (20.0, 3.0, -10.0):
        for _ in range(6):  # every recording
            mixed = added.added_to(wave, [wanted], random)
            assert mixed.shape == wave.shape
            assert ratio(wave, mixed) == pytest.approx(wanted, abs=0.01)
    found = [ratio(wave, added.added_to(wave, [5.0, 15.0], random)) for _ in range(40)]
    assert 5 <= min(found) < 8 < 12 < max(found) <= 15
    states = [np.random.default_rng(2) for _ in range(2)]
    quiet, limited = (
        added.added_to(w, [0.0], r) for w, r in zip((wave, loud * 2.5), states, strict=True)
    )
    assert float(limited.abs().max()) == 1.0  # made quieter, not cut off
    torch.testing.assert_close(limited, quiet / quiet.abs().max())


def test_noise_is_that_of_its_place_whoever_loads_it(noise, cuts):
    def source(share=0.5, seed=0):
        noisy = NoisyWaveforms(Waveforms(cuts), Noise(str(noise)), share, [10.0], seed)
        return Chosen(Waveforms(cuts), range(len(cuts)), noisy, 8)

    def heard(one, count=8, **more):
        stream = iter(BatchStream(DurationBatches([1.0] * 8, 3, 0), one, **more))
        return [next(stream) for _ in range(count)]

    first, again = heard(source()), heard(source())
    later = heard(source(), 5, position=Position(0, 3))
    halves = [heard(source(), 4, rank=rank, world=2) for rank in (0, 1)]
    for n, (indices, waves) in enumerate(first):
        assert again[n][0] == halves[n % 2][n // 2][0] == indices
        for others in (
            again[n][1],
            halves[n % 2][n // 2][1],
            *([later[n - 3][1]] if n > 2 else []),
        ):
            assert all(map(torch.equal, waves, others))
    clean = [load_waveform(cuts[i]) for indices, _ in first for i in indices]
    given = [wave for _, waves in first for wave in waves]
    noisy = sum(not torch.equal(a, b) for a, b in zip(clean, given, strict=True))
    assert 0.2 < noisy / len(given) < 0.8
    other = [wave for _, waves in heard(source(seed=1)) for wave in waves]
    assert not all(map(torch.equal, given, other))
    assert torch.equal(source(1.0).load([2])[0], load_waveform(cuts[2]))  # dev, and rehearsal
    assert torch.equal(source(1.0).load_at([9], Position())[0], load_waveform(cuts[9]))


def test_dev_is_heard_as_it_is(base, noise, tmp_path, monkeypatch):
    """With weights that stand still, dev figures are those of a run without either."""
    heard = []
    real = FineTuning.encode

    def noted(self, items):
        heard.append((self.module.training, sorted(len(item) for item in items)))
        return real(self, items)

    monkeypatch.setattr(FineTuning, "encode", noted)
    more = {"steps": 4, "learning_rate": 1e-12}
    found = []
    for name, own in (("plain", {}), ("run", {"speed": "0.8,1.2", "noise": str(noise)})):
        heard.clear()
        out = finetune(settings(base, tmp_path / name, **more, **own))
        dev = [sizes for training, sizes in heard if not training]
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        found.append((dev, [r["dev_acc"] for r in lines if "dev_acc" in r]))
    assert found[0] == found[1]
    assert len(found[0][0]) > 0


@pytest.mark.parametrize("task", [pytest.param("sid", marks=faults), "pr,sid"])
def test_a_run_that_was_killed_hears_the_same(base, noise, tmp_path, task):
    more = {"task": task, "speed": "0.9,1.0,1.1", "noise": str(noise), "noise_snr": "5,10"}
    whole = finetune(settings(base, tmp_path / "whole", **more, steps=12))
    stopped = settings(base, tmp_path / "stopped", **more, steps=12)
    assert kill_at(stopped, 7) == -signal.SIGKILL
    finetune(stopped)
    assert not moved(stopped.out / "encoder", whole / "encoder")
    for other in ({"speed": ()}, {"noise": None, "noise_snr": (10, 20)}, {"noise_snr": (5, 11)}):
        name = "-".join(other)
        apart = finetune(settings(base, tmp_path / name, **{**more, **other}, steps=12))
        assert moved(apart / "encoder", whole / "encoder")


def test_an_epoch_is_as_long_as_its_speeds_make_it(base, tiny_config):
    encoder = build_encoder(tiny_config, seed=0)
    data = {"sid": read_task(TASKS["sid"], load_data("synthetic:tiny"), "synthetic:tiny")}
    plain, fast = (
        updates_of(1, settings(base, base.parent / "run", speed=speed), encoder, data)
        for speed in ((), (2.0,))
    )
    assert fast == pytest.approx(plain / 2, abs=2)


def test_noise_that_cannot_be_used_is_one_clear_error(base, noise, tmp_path):
    def said(spec):
        with pytest.raises(DataError) as error:
            finetune(settings(base, tmp_path / "run", noise=str(spec)))
        assert not (tmp_path / "run" / "metrics.jsonl").exists()
        return str(error.value)

    assert "no such data" in said(tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no audio in the folder" in said(empty)
    for name, samples in (("n", [0.1, np.nan] * 4000), ("s", [0.0] * 8000), ("t", [0.1] * 20)):
        soundfile.write(noise / f"{name}.wav", samples, 16000, subtype="FLOAT")
    (noise / "u.wav").write_text("no audio")
    text = said(noise)
    for name, fault in (("n", "not finite"), ("s", "silent"), ("t", "too short"), ("u", "")):
        lines = [line for line in text.splitlines() if f"{name}.wav" in line]
        assert len(lines) <= 1
        assert not lines or fault in lines[0]
    assert "u.wav" in text
    (noise / "u.wav").unlink()
    text = said(noise)
    assert "3 problems" in text
    assert all(fault in text for fault in ("not finite", "silent", "too short"))


def test_what_a_speed_makes_too_long_for_the_encoder_is_said_before_training(tmp_path):
    data = load_data("synthetic:tiny")
    longest = max(heard_samples(cut) for part in ("train", "dev") for cut in data[f"sid_{part}"])
    config = {**config_of("whisper"), "max_source_positions": longest // 320 + 1}
    base = build_encoder(config, seed=0).save(tmp_path / "base")
    finetune(settings(base, tmp_path / "fits", speed="1.0,1.25", steps=1))
    with pytest.raises(DataError, match=r"longer than Whisper(.|\n)*at speed 0.8"):
        finetune(settings(base, tmp_path / "run", speed="1.0,0.8", steps=1))
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_settings_that_make_no_sense(base, tmp_path):
    for wrong in ({"speed": "1.0,1.0"}, {"speed": "3"}, {"speed": "0.975"}, {"noise_snr": "5"}):
        with pytest.raises(ValueError, match=r"speed|noise_snr"):
            settings(base, tmp_path / "run", **wrong)
    with pytest.raises(ValueError, match="noise_snr"):
        settings(base, tmp_path / "run", noise="x", noise_snr="1,2,3")

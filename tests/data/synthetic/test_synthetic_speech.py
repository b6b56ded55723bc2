"""What is spoken: repeatable, aligned, different between speakers, wide in vocabulary."""

from __future__ import annotations

import re
import sys
from dataclasses import replace

import numpy as np
import pytest

from speechft.core.errors import DataError, SettingsError
from speechft.data.synthetic import grammar, utterance_plan
from speechft.data.synthetic.espeak import speak
from speechft.data.synthetic.render import ENGLISH, Job, Prosody, Speaker, normalise, render
from speechft.data.synthetic.rooms_and_noise import RATE, make_noise
from speechft.data.synthetic.settings import PRESETS, SyntheticSettings
from speechft.data.synthetic.utterance_plan import make_plan
from speechft.data.synthetic.voices import VOICES

QUIET = Job(
    id="a-1", text="the quiet farmer carried seven yellow boxes.", language="en",
    speaker=Speaker("a", "en-us+m3", 50, 50, 160, 1.0, 0.0, 1000.0, 0.0), prosody=Prosody(),
    lead=0.1, trail=0.1, rt60=0.0, direct_db=10.0, noise="white", snr_db=50.0, level_db=-25.0,
    seed=3,
)  # fmt: skip
VOWELS = {"@", "I", "i:", "E", "a", "aI", "oU", "A@", "3"}
VOICELESS = {"k", "t", "s", "f"}


def spoken_with(**changes: float) -> Job:
    """The quiet job of another speaker."""
    return replace(QUIET, speaker=replace(QUIET.speaker, **changes))


def heard_as(planned: utterance_plan.Planned) -> tuple[str, float, float]:
    speaker = planned.job.speaker
    return speaker.voice, speaker.pitch + planned.job.prosody.pitch, speaker.warp


def energies(job: Job, shift: float = 0.0) -> tuple[float, float]:
    """Mean level in dB below 1 kHz at the middle of vowels and of voiceless consonants."""
    utterance = render(job)
    wave = utterance.samples / 32768
    levels: dict[bool, list[float]] = {True: [], False: []}
    for symbol, start, duration in utterance.phones:
        middle = round((start + duration / 2 + shift) * RATE)
        window = wave[max(0, middle - 160) : middle + 160]
        if symbol in VOWELS | VOICELESS and len(window) == 320:
            power = np.abs(np.fft.rfft(window * np.hanning(320)))[2:20] ** 2
            levels[symbol in VOWELS].append(10 * np.log10(power.mean() + 1e-9))
    return float(np.mean(levels[True])), float(np.mean(levels[False]))


@pytest.mark.parametrize("warp", [0.88, 1.0, 1.14])
def test_alignment_points_at_the_phonemes(warp):
    job = spoken_with(warp=warp)
    vowels, voiceless = energies(job)
    assert vowels - voiceless > 12
    off_vowels, off_voiceless = energies(job, shift=0.09)
    assert off_vowels - off_voiceless < (vowels - voiceless) / 2


def test_alignment_scales_with_the_warp():
    def spans(job: Job) -> np.ndarray:
        return np.array([(start, duration) for _, start, duration in render(job).phones])

    # The rate is divided by the warp before speaking, so the same speech needs the same quotient.
    slow = spans(spoken_with(warp=0.9, rate=144))
    fast = spans(spoken_with(warp=1.1, rate=176))
    np.testing.assert_allclose((slow[:, 0] - 0.1) * 0.9, (fast[:, 0] - 0.1) * 1.1, atol=3e-4)
    np.testing.assert_allclose(slow[:, 1] * 0.9, fast[:, 1] * 1.1, atol=3e-4)


def test_utterance_does_not_depend_on_what_was_said_before():
    for voice in ("en-us+m1", "en+f1", "es+Andrea"):

        def say(text, voice=voice):
            return speak(text, voice, rate=150, pitch=50, pitch_range=50, seed=1)

        first = say("a small boat")
        speak("something else altogether", "de+m7", rate=200, pitch=10, pitch_range=90, seed=9)
        second = say("a small boat")
        assert np.array_equal(first.samples, second.samples)
        assert first.phones == second.phones


@pytest.mark.parametrize("voice", ["en-gb+m3", "xx", "en-us+nobody"])
def test_unknown_voice_is_refused(voice):
    with pytest.raises(DataError, match="does not know this voice"):
        speak("hello", voice, rate=150, pitch=50, pitch_range=50)


def test_every_voice_speaks_in_its_own_way():
    spectra = []
    for voice in VOICES:
        samples = speak("we were away", f"en+{voice}", rate=150, pitch=50, pitch_range=50).samples
        power = np.abs(np.fft.rfft(samples / 32768, 2**17))[:41000] ** 2
        spectra.append(np.log(power.reshape(41, 1000).mean(axis=1) + 1e-3))
    table = np.array(spectra)
    distances = np.sqrt(((table[:, None] - table[None]) ** 2).mean(axis=2))
    distances[np.diag_indices(len(table))] = np.inf
    assert distances.min() > 0.05


def test_long_and_short_sentences_are_kept_within_limits():
    long = " ".join(["yesterday"] * 14)
    usual, slow = QUIET, spoken_with(rate=90)
    for job in (usual, slow):
        seconds = len(render(replace(job, text=long)).samples) / RATE
        assert 5.0 <= seconds <= 6.1
    assert (
        len(render(replace(spoken_with(rate=400), text="turn off the light.")).samples) / RATE
        >= 1.4
    )


def test_noise_changes_the_signal_to_noise_ratio():
    clean = render(replace(QUIET, snr_db=80)).samples.astype(float)
    noisy = render(replace(QUIET, snr_db=10)).samples.astype(float)
    gain = (clean @ noisy) / (clean @ clean)
    ratio = 10 * np.log10(np.sum((gain * clean) ** 2) / np.sum((noisy - gain * clean) ** 2))
    assert abs(ratio - 10) < 0.5


def test_noise_colours():
    random = np.random.default_rng(0)
    slopes = {}
    for kind in ("white", "pink", "brown"):
        power = np.abs(np.fft.rfft(make_noise(kind, 2**16, random))) ** 2
        low, high = power[1000:2000].mean(), power[8000:16000].mean()
        slopes[kind] = 10 * np.log10(low / high) / 3
    assert abs(slopes["white"]) < 0.3
    assert abs(slopes["pink"] - 3) < 0.3
    assert abs(slopes["brown"] - 6) < 0.3


def test_grammar_is_wide():
    values = grammar.values_of("en")
    assert len(grammar.tables()["commands"]) >= 8
    assert len({word for group in values.values() for word in group}) > 400


@pytest.mark.parametrize("language", ["en", *grammar.OTHER_LANGUAGES])
def test_every_field_has_values_and_a_template(language):
    texts = [grammar.tables()["open"][language]]
    texts += grammar.tables()["commands"].values() if language == "en" else []
    assert set(re.findall(r"\{(\w+)\}", " ".join(texts))) == set(grammar.values_of(language))


def test_phonemes_are_a_stable_set():
    assert 35 <= len(ENGLISH) <= 55
    assert len(set(ENGLISH)) == len(ENGLISH)
    assert normalise("'aI") == ["aI"]
    assert normalise("@L") == ["@", "l"]
    assert normalise("_:") == []
    assert normalise(",o@") == ["O@"]


def test_presets_share_nothing_with_pretraining():
    """Planned alone, without sound: parts of the data stay apart across presets and seeds."""
    pretraining = make_plan(
        SyntheticSettings(pretrain=2000, pretrain_speakers=50, pretrain_dev=100, other_pretrain=150)
    )
    said = {p.sentence.text for part in pretraining.values() for p in part}
    by = {p.speaker for part in pretraining.values() for p in part}
    for settings in (PRESETS["demo"], PRESETS["demo"].model_copy(update={"seed": 5})):
        for part in make_plan(settings).values():
            assert not said & {p.sentence.text for p in part}
            assert not by & {p.speaker for p in part}


def test_elsewhere_shares_no_voice_with_the_study_and_no_sentence_with_its_test():
    study, elsewhere = (make_plan(PRESETS[name]) for name in ("study", "elsewhere"))
    voices = {heard_as(p) for part in study.values() for p in part}
    held_out = {p.sentence.text for name in ("dev", "test") for p in study[name]}
    for planned in (p for part in elsewhere.values() for p in part):
        assert heard_as(planned) not in voices
    assert not held_out & {p.sentence.text for p in elsewhere["train"]}


def test_rehearsal_is_the_beginning_of_pretraining():
    begin = make_plan(PRESETS["rehearsal"])
    longer = make_plan(PRESETS["rehearsal"].model_copy(update={"pretrain": 3000}))
    assert longer["pretrain"][:2400] == begin["pretrain"]
    assert PRESETS["rehearsal"].pretrain_speakers == PRESETS["pretrain"].pretrain_speakers


def test_preset_sizes():
    sizes = {
        name: sum(len(part) for part in make_plan(PRESETS[name]).values())
        for name in ("tiny", "demo", "study")
    }
    assert sizes == {"tiny": 88, "demo": 864, "study": 3240}
    assert PRESETS["study"].sid_speakers == 50
    assert PRESETS["pretrain"].pretrain_speakers >= 300


def test_a_grammar_that_has_no_more_sentences_ends(monkeypatch):
    monkeypatch.setattr(
        utterance_plan, "draw_command", lambda _: grammar.Sentence("always the same words")
    )
    monkeypatch.setattr(utterance_plan, "_BUCKETS", {"train": range(100)})
    assert len(make_plan(SyntheticSettings(train=1))["train"]) == 1
    with pytest.raises(SettingsError, match="no more new sentences for the split 'train'"):
        make_plan(SyntheticSettings(train=2))


def test_missing_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(DataError, match=r"pip install 'espeakng-loader>=0\.2\.4'"):
        speak("hello", "en", rate=150, pitch=50, pitch_range=50)

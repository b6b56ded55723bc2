"""The synthetic corpus on disk: labels, splits, repeatability, and a cache that is never half."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from worker_jobs import die

from speechft.core.errors import DataError, SettingsError
from speechft.data.synthetic import speaking
from speechft.data.synthetic.corpus import corpus_folder, make_corpus, synthetic_cuts
from speechft.data.synthetic.render import ENGLISH
from speechft.data.synthetic.settings import SyntheticSettings

SMALL = SyntheticSettings(train=5, dev=2, train_speakers=2, sid_speakers=2, sid_train=1)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file that matters, manifests unpacked (gzip notes the time)."""
    files = sorted(p for p in folder.rglob("*") if p.suffix in (".flac", ".gz"))
    return {
        str(p.relative_to(folder)): gzip.decompress(p.read_bytes())
        if p.suffix == ".gz"
        else p.read_bytes()
        for p in files
    }


def texts(cuts) -> set[str]:
    return {cut.supervisions[0].text for cut in cuts}


def speakers(cuts) -> set[str]:
    return {cut.supervisions[0].speaker for cut in cuts}


def test_same_bits_for_any_number_of_processes(tmp_path):
    one = contents(make_corpus(SMALL, tmp_path / "one", processes=1))
    two = contents(make_corpus(SMALL, tmp_path / "two", processes=2))
    assert len(one) == 9 + 3
    assert one == two
    other = contents(make_corpus(SMALL.model_copy(update={"seed": 1}), tmp_path, processes=1))
    assert all(other[name] != one[name] for name in one)


def test_audio_is_sound(tiny):
    for cuts in tiny.values():
        for cut in cuts:
            wave, rate = soundfile.read(cut.recording.sources[0].source)
            assert rate == 16000
            assert wave.ndim == 1
            assert len(wave) == cut.recording.num_samples
            assert 1.4 <= cut.duration <= 6.1
            assert np.abs(wave).max() < 0.95
            level = 10 * np.log10(np.mean(wave**2))
            assert -40 < level < -19


def test_every_cut_is_labelled(tiny):
    for name, cuts in tiny.items():
        for cut in cuts:
            (supervision,) = cut.supervisions
            assert cut.custom["synthetic"] is True
            assert supervision.speaker
            assert supervision.text == supervision.text.lower()
            assert supervision.custom["emotion"] in {"neutral", "happy", "sad", "angry"}
            phones = supervision.alignment["phone"]
            assert [phone.symbol for phone in phones] == supervision.custom["phonemes"]
            if supervision.language == "en":
                assert set(supervision.custom["phonemes"]) <= set(ENGLISH)
            ends = [phone.end for phone in phones]
            starts = [phone.start for phone in phones]
            assert all(e <= s + 2e-4 for e, s in zip(ends, starts[1:], strict=False))
            assert starts[0] > 0.04
            assert ends[-1] <= cut.duration
            if name in ("train", "dev", "test"):
                tags = supervision.custom["words_tags"]
                assert " ".join(word for word, _ in tags) == supervision.text
                assert supervision.custom["intent"]
                assert supervision.custom["slots"]
                assert all(value in supervision.text for _, value in supervision.custom["slots"])
    assert {c.supervisions[0].language for cuts in tiny.values() for c in cuts} == {
        "en",
        "es",
        "de",
    }


def test_splits_are_apart(tiny):
    closed = ("sid_train", "sid_dev", "sid_test")
    names = list(tiny)
    for index, first in enumerate(names):
        for second in names[index + 1 :]:
            assert not texts(tiny[first]) & texts(tiny[second]), (first, second)
            if first in closed and second in closed:
                assert speakers(tiny[first]) == speakers(tiny[second])
            else:
                assert not speakers(tiny[first]) & speakers(tiny[second]), (first, second)


def test_second_call_reads_the_cache(tmp_path, monkeypatch):
    first = synthetic_cuts(SMALL, tmp_path)
    monkeypatch.setattr(speaking, "speak_jobs", lambda *_: pytest.fail("built again"))
    second = synthetic_cuts(SMALL, tmp_path)
    assert [c.to_dict() for c in first["train"]] == [c.to_dict() for c in second["train"]]


def test_cache_can_be_moved(tmp_path):
    make_corpus(SMALL, tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    for cut in synthetic_cuts(SMALL, tmp_path / "new")["train"]:
        assert Path(cut.recording.sources[0].source).is_file()


def test_failed_build_leaves_nothing(tmp_path, monkeypatch):
    def fail(jobs, folder):
        yield from speak_jobs(list(jobs)[:2], folder)
        raise KeyboardInterrupt

    speak_jobs = speaking.speak_jobs
    monkeypatch.setattr(speaking, "speak_jobs", fail)
    with pytest.raises(KeyboardInterrupt):
        make_corpus(SMALL, tmp_path)
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == []
    monkeypatch.undo()
    assert len(contents(make_corpus(SMALL, tmp_path))) == 12


def test_killed_build_is_made_again(tmp_path):
    settings = SyntheticSettings(train=40, train_speakers=3)
    code = (
        "import sys; from pathlib import Path\n"
        "from speechft.data.synthetic.corpus import make_corpus\n"
        "from speechft.data.synthetic.settings import SyntheticSettings\n"
        "make_corpus(SyntheticSettings(train=40, train_speakers=3), Path(sys.argv[1]), processes=2)"
    )
    build = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("*.flac")) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(build.pid, signal.SIGKILL)
    build.wait()
    folder = corpus_folder(settings, tmp_path)
    assert not folder.exists()
    assert list(tmp_path.glob(".*.tmp"))
    made = contents(make_corpus(settings, tmp_path, processes=1))
    assert len(made) == 41
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [folder.name]


def test_failing_process_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(speaking, "speak_some", die)
    with pytest.raises(DataError, match="process that makes synthetic speech failed"):
        make_corpus(SMALL, tmp_path, processes=2)
    assert not corpus_folder(SMALL, tmp_path).exists()


def test_unknown_preset_names_the_nearest(tmp_path):
    with pytest.raises(SettingsError, match="study"):
        synthetic_cuts("studdy", tmp_path)
    with pytest.raises(ValueError, match="extra"):
        SyntheticSettings(trian=3)


def test_cache_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SPEECHFT_CACHE", str(tmp_path))
    assert corpus_folder(SMALL).parent == tmp_path / "synthetic"


def test_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="SPEECHFT_CACHE"):
        make_corpus(SMALL, tmp_path / "file" / "cache")

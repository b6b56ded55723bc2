"""A damaged cache of synthetic speech never healed: whatever used it failed, with "Stopped."."""

from __future__ import annotations

import pytest

from speechft.data.audio import load_waveform
from speechft.data.synthetic.corpus import synthetic_cuts
from speechft.data.synthetic.settings import SyntheticSettings

SMALL = SyntheticSettings(pretrain=3)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["audio/**/*.flac", "cuts/*.jsonl.gz", "splits.json"])
@pytest.mark.parametrize("harm", [flip, lambda p: p.write_bytes(b""), lambda p: p.unlink()])
def test_it_is_made_again(tmp_path, caplog, name, harm):
    first = [load_waveform(cut) for cut in synthetic_cuts(SMALL, tmp_path)["pretrain"]]
    (folder,) = [p for p in tmp_path.iterdir() if not p.name.startswith(".")]
    harm(sorted(folder.glob(name))[0])
    again = [load_waveform(cut) for cut in synthetic_cuts(SMALL, tmp_path)["pretrain"]]
    assert len(first) == len(again) == 3
    assert all(a.equal(b) for a, b in zip(first, again, strict=True))
    assert "damaged" in caplog.text
    caplog.clear()
    synthetic_cuts(SMALL, tmp_path)
    assert not caplog.text

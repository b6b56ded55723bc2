from __future__ import annotations

import pytest

from speechft.core.errors import DataError
from speechft.data.load import find_data, load_data


def test_reads_the_tree(corpus_tree):
    root = corpus_tree("crema_d")
    data = load_data(f"crema_d:{root}")
    assert set(data) == {"train", "dev", "test"}
    assert sum(map(len, data.values())) == 60
    speakers = [{c.supervisions[0].speaker for c in cuts} for cuts in data.values()]
    assert sum(map(len, speakers)) == len(set.union(*speakers)) == 10
    for cuts in data.values():
        emotions = {cut.supervisions[0].custom["emotion"] for cut in cuts}
        assert emotions == {"anger", "disgust", "fear", "happy", "neutral", "sad"}
    assert {c.supervisions[0].text for c in data["dev"]} == {"it's eleven o'clock"}
    assert find_data(f"crema_d:{root}").notes == ["61 clips, the whole corpus has 7442"]


def test_names_what_is_missing(corpus_tree, tmp_path):
    with pytest.raises(DataError, match=r"no AudioWAV[\s\S]*git-lfs"):
        load_data(f"crema_d:{tmp_path}")
    root = corpus_tree("crema_d")
    pointer = root / "AudioWAV" / "1001_IEO_SAD_HI.wav"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    (root / "AudioWAV" / "1001.wav").touch()
    with pytest.raises(DataError, match=r"ACTOR_SENTENCE[\s\S]*run: git lfs pull"):
        load_data(f"crema_d:{root}")
    for path in (root / "AudioWAV").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"no file AudioWAV/\*\.wav"):
        load_data(f"crema_d:{root}")

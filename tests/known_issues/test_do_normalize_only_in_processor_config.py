"""transformers 5 writes only `processor_config.json`, and `do_normalize` was lost.

A wav2vec 2.0 fine-tuned and saved with its processor was given waveforms as they are, under a
warning about a missing file, where it had been trained on normalised ones. A merge of two such
folders wrote no preprocessor at all.
"""

from __future__ import annotations

import json
import logging

from evaluate_fixture import CONFIG

import speechft
from speechft.encoders import build_encoder, load_encoder


def _save_as_transformers_5_does(folder, seed):
    encoder = build_encoder({**CONFIG, "do_normalize": True}, seed)
    encoder.save(folder)
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    content = {"feature_extractor": settings, "processor_class": "Wav2Vec2Processor"}
    (folder / "processor_config.json").write_text(json.dumps(content))
    return folder


def test_the_processor_s_feature_extractor_is_read(tmp_path, caplog):
    folder = _save_as_transformers_5_does(tmp_path / "one", 0)
    with caplog.at_level(logging.WARNING):
        assert load_encoder(folder).normalize
    assert not caplog.records


def test_a_merge_writes_what_it_took(tmp_path):
    one, two = (_save_as_transformers_5_does(tmp_path / str(n), n) for n in (1, 2))
    out = speechft.merge(base=one, tuned=[two], alpha=0.5, out=tmp_path / "merged")
    assert load_encoder(out).normalize


def test_a_first_place_that_does_not_say_it_is_filled_from_the_second(tmp_path, caplog):
    folder = _save_as_transformers_5_does(tmp_path / "one", 0)
    (folder / "preprocessor_config.json").write_text('{"sampling_rate": 16000}')
    assert load_encoder(folder).normalize
    (folder / "processor_config.json").unlink()
    with caplog.at_level(logging.WARNING):
        assert not load_encoder(folder).normalize
    assert "no file says do_normalize" in caplog.text

"""`fbank`: SUPERB's zero point as an encoder."""

from __future__ import annotations

import evaluate_fixture
import finetune_fixture
import pytest
import torch
from lhotse.features.kaldi.layers import Wav2LogFilterBank
from transformers import AutoModel

from speechft.core.errors import IncompatibleModelsError, SettingsError
from speechft.core.files import read_jsonl
from speechft.encoders import load_encoder
from speechft.encoders.inspect import inspect
from speechft.encoders.settings import InspectSettings
from speechft.merging.settings import MergeSettings
from speechft.merging.stage import merge
from speechft.probing.evaluate import evaluate
from speechft.training.finetune.stage import finetune


def test_its_state_is_kaldi_s_with_differences(waveforms):
    encoder, wave = load_encoder("fbank"), waveforms[0]
    assert (encoder.hop, encoder.hidden_size, encoder.num_layers) == (160, 240, 0)
    (state,), lengths = encoder([wave])
    assert lengths.tolist() == [1 + (len(wave) - 400) // 160]
    bank = Wav2LogFilterBank(
        sampling_rate=16000, window_type="povey", dither=0.0, num_filters=80, snip_edges=True,
        energy_floor=0.0, low_freq=20.0, high_freq=8000.0,
    )(wave[None])[0]  # fmt: skip
    slow = torch.empty(len(bank), 160)
    padded = torch.cat([bank[:1], bank[:1], bank, bank[-1:], bank[-1:]])
    for t in range(len(bank)):
        slow[t, :80] = sum(n * (padded[t + 2 + n] - padded[t + 2 - n]) for n in (1, 2)) / 10
    first = slow[:, :80]
    padded = torch.cat([first[:1], first[:1], first, first[-1:], first[-1:]])
    for t in range(len(bank)):
        slow[t, 80:] = sum(n * (padded[t + 2 + n] - padded[t + 2 - n]) for n in (1, 2)) / 10
    wanted = torch.cat([bank, slow], dim=1)
    wanted = (wanted - wanted.mean(0)) / (wanted.std(0) + 1e-10)
    loud = bank.min(dim=0).values > -14.0  # bins that never come to the floor
    assert int(loud.sum()) > 20
    for part in range(3):
        found, own = (x[:, 80 * part : 80 * part + 80][:, loud] for x in (state[0], wanted))
        torch.testing.assert_close(found, own, atol=2e-2, rtol=0)


def test_it_does_not_depend_on_the_batch_and_loads_elsewhere(waveforms, offset, tmp_path):
    encoder = load_encoder("fbank")
    output = encoder(waveforms[:3])
    for i, wave in enumerate(waveforms[:3]):
        (alone,), lengths = encoder([wave])
        assert offset(output.hidden_states[0][i, : int(lengths)], alone[0]) < 1e-4
    folder = encoder.save(tmp_path / "copy")
    assert load_encoder(folder).content_id() == encoder.content_id()
    plain = AutoModel.from_pretrained(folder)(waveforms[0][None]).last_hidden_state
    assert torch.equal(plain, encoder([waveforms[0]]).hidden_states[0])
    found = inspect(InspectSettings(path="fbank"))
    assert (found.parameters, found.layers, found.hop) == (0, 0, 160)


def test_it_is_probed_and_neither_tuned_nor_merged(tmp_path):
    evaluate_fixture.write_tones(tmp_path / "data")
    out = tmp_path / "out"
    wanted = {"encoders": (("fbank", "fbank"),), "tasks": ["sid", "pr"], "context": "utterance"}
    evaluate(evaluate_fixture.evaluation(tmp_path, out, **wanted))
    assert {row["task"] for row in read_jsonl(out / "results.jsonl")} == {"sid", "pr"}
    wanted |= {"tasks": ["sid"], "protocol": "s3prl"}
    published = evaluate_fixture.evaluation(tmp_path, tmp_path / "p", **wanted)
    with pytest.raises(SettingsError, match="a frame has 160"):
        evaluate(published)
    with pytest.raises(SettingsError, match="no weights to train"):
        finetune(finetune_fixture.settings("fbank", tmp_path / "tuned"))
    for names in (("fbank", "tiny-hubert"), ("tiny-hubert", "fbank"), ("fbank", "fbank")):
        chosen = MergeSettings(base=names[0], tuned=(names[1],), out=tmp_path / "m", alpha="0.5")
        with pytest.raises(IncompatibleModelsError, match="no weights, so there is nothing"):
            merge(chosen)

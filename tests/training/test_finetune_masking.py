"""Masked inputs in fine-tuning: what is masked, when, and for which encoders."""

import pytest
import torch
from finetune_fixture import moved, settings

from speechft.core.errors import SettingsError
from speechft.encoders import SpeechEncoder, build_encoder
from speechft.training.finetune.masking import InputMask
from speechft.training.finetune.stage import finetune


@pytest.fixture
def base(tmp_path, tiny_config):
    return build_encoder(tiny_config, seed=0).save(tmp_path / "base")


def test_frames_and_channels_are_masked_as_often_as_said():
    torch.manual_seed(0)
    features, lengths = torch.ones(200, 100, 64), torch.full((200,), 100)
    lengths[0] = 40
    changed, same, frames = InputMask(0.3, 10, 0.25)(features, lengths)
    assert torch.equal(same, lengths)
    assert float(frames[1:].float().mean()) == pytest.approx(0.26, abs=0.03)  # 0.3, overlaps aside
    assert not frames[0, 40:].any()
    silent = changed == 0
    assert torch.equal(silent.all(1), silent.any(1))  # a channel is masked throughout
    assert float(silent[:, 0].float().mean()) == pytest.approx(0.23, abs=0.03)
    assert bool((features == 1).all())  # what a cache holds stays as it is
    untouched, _, none = InputMask(0.0, 10, 0.0)(features, lengths)
    assert untouched is features
    assert none is None


@pytest.mark.parametrize("frozen", [True, False])
def test_training_is_masked_and_evaluation_is_not(base, tmp_path, monkeypatch, frozen):
    """The mask embedding learns, and dev figures are of whole utterances."""
    masked = {True: 0, False: 0}
    real = SpeechEncoder.mask

    def noted(self, hidden, mask_time):
        masked[self.training] += mask_time is not None
        return real(self, hidden, mask_time)

    monkeypatch.setattr(SpeechEncoder, "mask", noted)
    more = {"steps": 4, "evaluate_every": 2, "freeze_front_end": frozen, "head_warmup": 0}
    plain = finetune(settings(base, tmp_path / "plain", **more))
    assert masked == {True: 0, False: 0}
    assert "masked_spec_embed" not in moved(plain / "encoder", base)
    out = finetune(settings(base, tmp_path / "run", mask_share=0.2, mask_channels=0.1, **more))
    assert masked == {True: 4, False: 0}
    assert "masked_spec_embed" in moved(out / "encoder", base)


def test_a_family_without_a_mask_embedding_is_refused(tmp_path, tiny_config):
    bare = build_encoder({**tiny_config, "mask_time_prob": 0.0}, seed=0).save(tmp_path / "bare")
    with pytest.raises(SettingsError, match="no mask embedding"):
        finetune(settings(bare, tmp_path / "run", mask_share=0.2))
    finetune(settings(bare, tmp_path / "channels", mask_channels=0.2, steps=2))
    with pytest.raises(ValueError, match="read only with mask_share"):
        settings(bare, tmp_path / "run", mask_span=5)

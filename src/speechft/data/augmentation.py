"""Speech at another speed, and with noise: what training hears besides the utterances themselves.

Both are lhotse's: `Cut.perturb_speed`, and `AudioMixer` for a ratio of signal to noise.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lhotse.audio.mixer import AudioMixer
from lhotse.cut import Cut
from torch import Tensor

from speechft.core.errors import DataError
from speechft.core.lengths import SAMPLE_RATE
from speechft.data.audio import load_waveform
from speechft.data.cuts import effects_of, heard_samples, piece, said_cut
from speechft.data.data_names import noise_data
from speechft.data.load import load_data
from speechft.data.utterances import in_threads, problems_error
from speechft.data.waveform_effects import GAIN


def at_speed(cut: Cut, factor: float) -> Cut:
    """Give a cut at another speed (tempo and pitch), the times of its labels moved with it.

    Raises:
        DataError: what is cut out of its audio is said in samples, which would be others then.
    """
    if factor == 1:
        return cut
    if set(effects_of(cut)) - {GAIN}:
        raise DataError(
            "the speed of what is cut out of a recording cannot be changed",
            where=said_cut(cut),
            found=", ".join(effects_of(cut)),
            hint="leave speed out",
        )
    changed: Cut = cut.perturb_speed(factor, affix_id=False)
    return changed


class Noise:
    """Recordings of noise, of which a piece is drawn and added to an utterance.

    Args:
        spec: a folder of audio files, or DATA.

    Raises:
        DataError: there is none, or some of it cannot be used; all of it is listed.
    """

    def __init__(self, spec: str) -> None:
        found = load_data(noise_data(spec))
        self.cuts: list[Cut] = [cut for cuts in found.values() for cut in cuts]
        faults = in_threads(_fault, self.cuts, "reading noise", min(8, os.cpu_count() or 1))
        problems = [fault for fault in faults if fault]
        if problems:
            raise problems_error(problems, spec, "mend these files, or leave them out", "noise has")

    def added_to(
        self, wave: Tensor, ratios: Sequence[float], random: np.random.Generator
    ) -> Tensor:
        """Give a waveform (S,) with noise: one recording's, from a drawn sample on, repeated.

        The sum is made quieter where it would leave [-1, 1], so that the ratio is kept.

        Args:
            wave: 1-D, 16 kHz.
            ratios: least and greatest ratio of signal to noise, in dB.
            random: draws.
        """
        cut = self.cuts[int(random.integers(len(self.cuts)))]
        total, wanted = heard_samples(cut), len(wave)
        start = int(random.integers(max(1, total - wanted + 1)))
        heard = load_waveform(piece(cut, start, wanted) if total > wanted else cut).numpy()
        if len(heard) < wanted:
            heard = np.resize(np.roll(heard, -int(random.integers(len(heard)))), wanted)
        mixer: Any = AudioMixer(wave.numpy()[None], SAMPLE_RATE)
        mixer.add_to_mix(heard[None, :wanted], snr=float(random.uniform(min(ratios), max(ratios))))
        mixed = torch.from_numpy(mixer.mixed_audio[0]).to(wave.dtype)
        return mixed / max(1.0, float(mixed.abs().max()))


def _fault(cut: Cut) -> str:
    """Say why a cut is no noise; empty where it is."""
    try:
        silent = not bool(load_waveform(cut).any())
    except DataError as error:
        return f"{said_cut(cut)}: {error.what}" + (f" ({error.found})" if error.found else "")
    return f"{said_cut(cut)}: it is silent" if silent else ""

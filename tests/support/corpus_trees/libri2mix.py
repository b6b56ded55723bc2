from __future__ import annotations

import numpy as np

from corpus_trees.speech import write

PARTS = {"train": ("train-100", 3), "dev": ("dev", 2), "test": ("test", 2)}
LEAD = 4800  # samples of silence before every utterance


def lay_out(root, speech, each=1):
    """Mixtures of two voices, and the Kaldi folders that SUPERB's fork writes about them.

    `each` times two or three per split.
    """
    data = root / "data"
    for split, (part, count) in PARTS.items():
        files = {name: [] for name in ("wav.scp", "utt2spk", "segments", "reco2dur", "rttm")}
        heard = {}
        for number in range(each * count):
            voices = (2 * number, 2 * number + 1)
            speakers = [f"{100 + voice}" for voice in voices]
            name = "_".join(f"{speaker}-1-{number:04d}" for speaker in speakers)
            path = root / "Libri2Mix" / "wav16k" / "max" / part / "mix_both" / f"{name}.wav"
            waves = [np.concatenate([np.zeros(LEAD), speech.take(voice)[0]]) for voice in voices]
            mixture = np.zeros(max(map(len, waves)))
            for wave in waves:
                mixture[: len(wave)] += 0.5 * wave
            write(path, mixture)
            files["wav.scp"].append(f"{name} {path}\n")
            files["reco2dur"].append(f"{name} {len(mixture) / 16000}\n")
            for speaker, wave in zip(speakers, waves, strict=True):
                start, end = LEAD / 16000, len(wave) / 16000
                segment = f"{name}_{int(1000 * start):06d}_{int(1000 * end):06d}"
                files["segments"].append(f"{segment} {name} {start} {end}\n")
                files["utt2spk"].append(f"{segment} {speaker}\n")
                fields = ("SPEAKER", name, 1, start, end - start, "<NA>", "<NA>", speaker, "<NA>")
                files["rttm"].append("\t".join(map(str, fields)) + "\n")
                heard.setdefault(speaker, []).append(name)
        files["spk2utt"] = [f"{speaker} {' '.join(names)}\n" for speaker, names in heard.items()]
        (data / split).mkdir(parents=True)
        for name, lines in files.items():
            (data / split / name).write_text("".join(lines))
    return data

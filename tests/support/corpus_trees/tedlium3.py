from __future__ import annotations

import numpy as np

from corpus_trees.speech import write

TALKS = {"train": ("AaronHuey_2010X", "AalaElKhani_2016X"), "dev": ("AlGore_2009",), "test": ("A",)}
GAP = 0.5


def lay_out(root, speech, each=3):
    """Talks in NIST's format with a transcript of their stretches, some of no use."""
    base = root / "TEDLIUM_release-3"
    for split, talks in TALKS.items():
        for voice, talk in enumerate(talks):
            waves, lines, now = [], [], 0.0
            for _ in range(each):
                wave, said = speech.take(voice)
                waves += [wave, np.zeros(int(GAP * 16000))]
                end = now + len(wave) / 16000
                lines.append(stm(talk, now, end, said.text))
                now = end + GAP
            lines.append(stm(talk, 0.0, 0.9, "too short"))
            lines.append(stm(talk, 0.0, 1.5, "not <unk> known"))
            lines.append(stm(talk, 0.5, 1.5, "ignore_time_segment_in_scoring"))
            folder = base / "legacy" / split
            write(folder / "sph" / f"{talk}.sph", np.concatenate(waves))
            (folder / "stm").mkdir(exist_ok=True)
            (folder / "stm" / f"{talk}.stm").write_text(";; a remark\n" + "".join(lines))
    return base


def stm(talk, start, end, text):
    return f"{talk} 1 {talk} {start:.2f} {end:.2f} <o,f0,female> {text}\n"

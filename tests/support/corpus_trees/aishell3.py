from __future__ import annotations

# SSB0062 is one of the speakers whom the hash puts into dev.
SPEAKERS = {"train": ("SSB0005", "SSB0009", "SSB0062"), "test": ("SSB0011",)}


def lay_out(root, speech, each=2):
    """Both parts at 48 kHz, with characters and syllables in turn."""
    base = root / "data_aishell3"
    for part, speakers in SPEAKERS.items():
        lines = []
        for voice, speaker in enumerate(speakers):
            for index in range(1, each + 1):
                file = f"{speaker}{index:04d}.wav"
                speech.lay(base / part / "wav" / speaker / file, voice, rate=48000)
                lines.append(f"{file}\t广 guang3 州 zhou1 女 nv3 大 da4 学 xue2 生 sheng1\n")
        (base / part / "content.txt").write_text("".join(lines))
    lines = [f"{speaker}\tA\tfemale\tnorth\n" for part in SPEAKERS.values() for speaker in part]
    (base / "spk-info.txt").write_text("".join(["# speaker\tage\tgender\taccent\n", *lines]))
    (base / "train" / "label_train-set.txt").write_text("# file|pinyin|characters\n")
    return base

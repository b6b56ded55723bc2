from __future__ import annotations

from itertools import combinations

SPEAKERS = {"dev": ("id10001", "id10002", "id10003"), "test": ("id10270", "id10271")}


def lay_out(root, speech):
    """Both parts, the list of splits for identification, the list of trials for verification."""
    base = root / "VoxCeleb1"
    lines = []
    tests = []
    for part, speakers in SPEAKERS.items():
        for speaker in speakers:
            for split in (1, 2, 3):
                name = f"{speaker}/video{split}/00001.wav"
                speech.lay(base / part / "wav" / name, int(speaker[2:]))
                lines.append(f"{split} {name}\n")
                if part == "test":
                    tests.append(name)
    trials = [f"{int(a[:7] == b[:7])} {a} {b}\n" for a, b in combinations(tests[:5], 2)]
    (base / "iden_split.txt").write_text("".join(lines))
    (base / "voxceleb1_test_v2.txt").write_text("".join(trials))
    return base

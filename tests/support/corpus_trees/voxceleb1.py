from __future__ import annotations

from itertools import combinations, product

TEST = ("id10270", "id10271")


def lay_out(root, speech, each=1, speakers=3):
    """Both parts, the list of splits for identification, the list of trials for verification.

    `each` utterances per speaker in each split; `speakers` in dev, two in test.
    """
    base = root / "VoxCeleb1"
    lines = []
    tests = []
    names = {"dev": [f"id{10001 + n}" for n in range(speakers)], "test": TEST}
    for part, own in names.items():
        for speaker, split, index in product(own, (1, 2, 3), range(1, each + 1)):
            name = f"{speaker}/video{split}/{index:05d}.wav"
            speech.lay(base / part / "wav" / name, int(speaker[2:]))
            lines.append(f"{split} {name}\n")
            if part == "test":
                tests.append(name)
    trials = [f"{int(a[:7] == b[:7])} {a} {b}\n" for a, b in combinations(tests[: 5 * each], 2)]
    (base / "iden_split.txt").write_text("".join(lines))
    (base / "voxceleb1_test_v2.txt").write_text("".join(trials))
    return base

from __future__ import annotations

SPEAKERS = {"train": ("Ivy", "Joey", "Brian"), "valid": ("Amy",), "test": ("Brian", "Emma")}


def lay_out(root, speech, each=2, plain=False):
    """Audio, the lines of text with their tags, the list of slots; one speaker belongs elsewhere.

    Words and slots are those that are said. `plain`: words in capitals and tags without B- and I-,
    as S3PRL wants them.
    """
    base = root / "SNIPS"
    lines = []
    slots = {}
    for split, names in SPEAKERS.items():
        for voice, name in enumerate(names):
            for index in range(each):
                uid = f"{name}-snips-{split}-{index}"
                said = speech.lay(base / split / f"{uid}.wav", voice)
                words, tags, last = [], [], "O"
                for word, tag in said.custom["words_tags"]:
                    words.append(word.upper() if plain else word)
                    begun = "" if plain or tag == "O" else "I-" if tag == last else "B-"
                    tags.append(begun + tag)
                    last = tag
                    slots[tag] = slots.get(tag, 0) + 1
                left, right = " ".join(words), " ".join(["O", *tags, said.custom["intent"]])
                lines.append(f"{uid} BOS {left} EOS\t{right}\n")
    (base / "all.iob.snips.txt").write_text("".join(lines))
    order = sorted(slots, key=lambda tag: (tag != "O", -slots[tag]))
    (base / "slots.txt").write_text("".join(f"{tag}\n" for tag in order))
    return base

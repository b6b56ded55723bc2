from __future__ import annotations

PARTS = {"train-clean-100": (19, 26), "dev-clean": (84,), "test-clean": (61,)}
LEXICONS = ("librispeech-lexicon-200k-g2p.txt", "librispeech-lexicon-allothers-g2p.txt")
# A made-up pronunciation per letter: the phones are LibriSpeech's, the words' own do not matter.
VOWELS = {"A": "AE1", "E": "EH1", "I": "IH1", "O": "AA1", "U": "AH0", "Y": "IY0"}
CONSONANTS = {letter: letter for letter in "BDFGKLMNPRSTVWZ"}
PHONES = {**VOWELS, **CONSONANTS, "C": "K", "H": "HH", "J": "JH", "Q": "K", "X": "S"}


def lay_out(root, speech, per_chapter=2):
    """Parts, speakers, chapters, transcripts; lexicons beside the parts."""
    words = set()
    for part, speakers in PARTS.items():
        for speaker in speakers:
            for chapter in (198, 227):
                folder = root / "LibriSpeech" / part / str(speaker) / str(chapter)
                lines = []
                for index in range(per_chapter):
                    name = f"{speaker}-{chapter}-{index:04d}"
                    said = speech.lay(folder / f"{name}.flac", speaker)
                    lines.append(f"{name} {said.text.upper()}\n")
                    words |= set(said.text.upper().split())
                (folder / f"{speaker}-{chapter}.trans.txt").write_text("".join(lines))
    lay_lexicons(root / "LibriSpeech", sorted(words))
    return root / "LibriSpeech"


def lay_lexicons(folder, words):
    """The second lexicon says something else about words of the first, which must not count."""
    lines = [f"{word}\t{' '.join(PHONES[c] for c in word if c in PHONES)}\n" for word in words]
    (folder / LEXICONS[0]).write_text("".join(lines[::2]))
    wrong = [f"{line.split()[0]}\tZH\n" for line in lines[::2]]
    (folder / LEXICONS[1]).write_text("".join([*lines[1::2], *wrong]))

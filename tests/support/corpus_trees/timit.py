from __future__ import annotations

from corpus_trees.speech import write

# A speaker of dev (FADG0), one of the core test set (MDAB0), one of neither (FASW0).
SPEAKERS = {"TRAIN/DR1": ("FCJF0", "MDAC0"), "TEST/DR1": ("MDAB0", "FASW0"), "TEST/DR4": ("FADG0",)}
SENTENCES = ("SA1", "SI1027", "SX37")
PHONES = ("h#", "sh", "ix", "hv", "eh", "dcl", "jh", "ih", "d", "ah", "kcl", "k", "s", "ux", "q")
PHONES += ("en", "gcl", "g", "r", "iy", "w", "ao", "sh", "epi", "ax-h", "zh", "h#")


def lay_out(root, speech):
    """Regions, speakers, sentences, each with audio in NIST's format, phones, words and text."""
    base = root / "TIMIT"
    for region, speakers in SPEAKERS.items():
        for voice, speaker in enumerate(speakers):
            for sentence in SENTENCES:
                wave, said = speech.take(voice)
                stem = base / region / speaker / sentence
                write(stem.with_suffix(".WAV"), wave)
                edges = [len(wave) * i // len(PHONES) for i in range(len(PHONES) + 1)]
                rows = zip(edges, edges[1:], PHONES, strict=False)
                lay_text(stem, ".PHN", "".join(f"{a} {b} {p}\n" for a, b, p in rows))
                lay_text(stem, ".TXT", f"0 {len(wave)} {said.text.capitalize()}.\n")
                words = said.text.split()
                marks = [len(wave) * i // len(words) for i in range(len(words) + 1)]
                rows = zip(marks, marks[1:], words, strict=False)
                lay_text(stem, ".WRD", "".join(f"{a} {b} {w}\n" for a, b, w in rows))
    return base


def lay_text(stem, suffix, text):
    stem.with_suffix(suffix).write_text(text)

from __future__ import annotations

EMOTIONS = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")


def lay_out(root, speech, actors=10):
    """One sentence in every emotion by every actor, and a clip that is known to be broken."""
    base = root / "CREMA-D"
    for actor in range(1001, 1001 + actors):
        for emotion in EMOTIONS:
            speech.lay(base / "AudioWAV" / f"{actor}_IEO_{emotion}_HI.wav", actor)
    (base / "AudioWAV" / "1076_MTI_SAD_XX.wav").write_bytes(b"")
    return base

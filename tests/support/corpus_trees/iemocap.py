from __future__ import annotations

EMOTIONS = ("neu", "exc", "ang", "sad", "hap", "fru", "xxx")
DIALOGUES = ("F_impro01", "M_script01_1")


def lay_out(root, speech, each=1):
    """Five sessions with two dialogues each, and in each dialogue all emotions `each` times."""
    base = root / "IEMOCAP_full_release"
    for session in range(1, 6):
        folder = base / f"Session{session}"
        for short in DIALOGUES:
            dialogue = f"Ses{session:02d}{short}"
            lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n", "\n"]
            for index, emotion in enumerate(EMOTIONS * each):
                name = f"{dialogue}_{'FM'[index % 2]}{index:03d}"
                speech.lay(folder / "sentences" / "wav" / dialogue / f"{name}.wav", index)
                lines.append(f"[6.2901 - 8.2357]\t{name}\t{emotion}\t[2.5000, 2.5000, 2.5000]\n")
                lines.append("C-E2:\tNeutral;\t()\n")
            labels = folder / "dialog" / "EmoEvaluation" / f"{dialogue}.txt"
            labels.parent.mkdir(parents=True, exist_ok=True)
            labels.write_text("".join(lines))
    return base

from __future__ import annotations

COLUMNS = ("client_id", "path", "sentence", "up_votes", "down_votes", "age", "gender", "accents")
HEADER = "\t".join([*COLUMNS, "variant", "locale", "segment"]) + "\n"
LANGUAGES = ("cy", "eo")


def lay_out(root, speech, each=2):
    """Two languages with their tables and clips, and a table of no split."""
    base = root / "cv-corpus-17.0-2024-03-15"
    for language in LANGUAGES:
        for split in ("train", "dev", "test", "other"):
            rows = []
            for index in range(each):
                name = f"common_voice_{language}_{split}{index}.mp3"
                said = speech.lay(base / language / "clips" / name, index)
                rows.append(f'c{index}\t{name}\t"{said.text}\t2\t0\t\t\t\t\t{language}\t\n')
            (base / language / f"{split}.tsv").write_text(HEADER + "".join(rows))
    return base

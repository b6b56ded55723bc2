from __future__ import annotations

LEVELS = 20
LINES = {
    "cs": ("Co je to za divnou loď, {}?", "To je vrak číslo {}.", "Voda!"),
    "nl": ("Wat is dat voor een schip, {}?", "Dat is wrak nummer {}.", "Water!"),
}
NUMBERS = ("jeden", "dva", "tři", "čtyři", "pět", "šest", "sedm", "osm", "devět", "deset")


def lay_out(root, speech, levels=LEVELS):
    """Levels with two voices each, a line that every level repeats, and one without words."""
    base = root / "usr" / "share" / "games" / "fillets-ng"
    for level in range(levels):
        name = f"level{level:02}"
        for language, lines in LINES.items():
            number = NUMBERS[level % 10] + (" a půl" if level >= 10 else "")
            script = [
                f'\ndialogId("{key}", "font_{font}", "In English: \\"{key}\\"")\n'
                f'dialogStr("{line.format(number)}")\n'
                for key, font, line in zip(
                    ("v-co", "m-vrak", "v-voda"), ("big", "small", "big"), lines, strict=True
                )
            ]
            script.append('\ndialogId("hudba", "", "")\ndialogStr("")\n')
            path = base / "script" / name / f"dialogs_{language}.lua"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(script), encoding="utf-8")
            for voice, key in enumerate(("v-co", "m-vrak", "v-voda", "hudba")):
                speech.lay(base / "sound" / name / language / f"{key}.ogg", voice % 2)
    return base

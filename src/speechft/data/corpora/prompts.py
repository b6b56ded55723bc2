"""Telephone prompts: which language is spoken, by voices that training has not heard.

The prompts of the telephone exchange Asterisk, as Debian packages them: one speaker per language at
16 kHz (CC BY-SA 3.0, Digium and the speakers; Russian CC BY 3.0), and a second one for Spanish
(GPL 2), French (BSD) and Italian (CC BY-SA 3.0 IT) at 8 kHz. Czech and Dutch come from `fillets`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from speechft.core.errors import DataError
from speechft.data.corpora import Corpus, register
from speechft.data.corpora.fillets import ASIDE, LANGUAGES, level_of, split_levels, spoken, swapped
from speechft.data.corpora.fillets import PACKAGES as FILLETS
from speechft.data.corpus_tree import tree
from speechft.data.decoding import HEADERLESS, audio_seconds
from speechft.data.external_programs import unpacking
from speechft.data.utterances import Loaded, Utterance, load_splits
from speechft.data.waveform_effects import TELEPHONE

# Language → the folder of the voice that is trained on, and of the one that is tested on.
VOICES: Final = {
    "es": ("es_MX_f_Allison", "es"),
    "fr": ("fr_CA_f_June", "fr"),
    "it": ("it_IT_m_Carlo", "it_IT_f_Menardi"),
}
ALONE: Final = ("en_US_f_Allison", "ru_RU_f_IvrvoiceRU")  # a language with one voice
SHORTEST: Final = 1.0  # seconds: digits and letters say little of a language
LONGEST: Final = 30.0  # what Whisper takes; a dozen of the voices' longest speeches is left out
PACKAGES: Final = (
    *FILLETS,
    *(f"asterisk-core-sounds-{language}-g722" for language in ("en", "es", "fr", "it", "ru")),
    *("asterisk-prompt-es-co", "asterisk-prompt-fr-armelle", "asterisk-prompt-it-menardi-alaw"),
)
_FOLDER: Final = ("usr/share/asterisk/sounds", "share/asterisk/sounds", "asterisk/sounds")
_NO_SPEECH: Final = ("beep", "tone", "silence", "ascending", "descending")


_FOLDERS: Final = [folder for pair in VOICES.values() for folder in pair]


@register(
    "prompts",
    partial(
        Corpus,
        find=tree(_FOLDER, _FOLDERS, [f"{folder}/**/*.*" for folder in _FOLDERS]),
        source=unpacking(PACKAGES),
        counts={"train": 1247, "dev": 210, "test": 582, "pretrain": 662},
        variants={ASIDE: "Czech and Dutch tested on what fillets keeps aside"},
        packages=PACKAGES,
    ),
)
def prompts(base: Path, variant: str) -> Loaded:
    """Read the prompts, and the Czech and Dutch of `fillets` where it lies in the same root.

    `train`, `dev` and `test` hold cs, nl, es, fr and it, `language` in each cut. One voice of each
    language trains and chooses, another one tests, and no prompt, level or text is in two splits:
    what is told apart is no voice and no text. All are brought to 8 kHz and back, as some were
    recorded so; what their codings left (Vorbis, G.722, GSM, A-law) stays. Czech and Dutch are
    acted, the rest is read.

    `pretrain` holds speech without any label at 16 kHz: English and Russian, one voice each.

    Args:
        base: the folder of the sounds.
        variant: "aside" tests Czech and Dutch on the levels that `fillets` keeps aside.

    Raises:
        DataError: a voice is missing.
    """
    parts: dict[str, list[Utterance]] = {name: [] for name in ("train", "dev", "test", "pretrain")}
    notes = []
    for language, folders in VOICES.items():
        keys = {key for folder in folders for key, _ in _prompts(base / folder)}
        homes = {key: "test" if h == "aside" else h for key, h in split_levels(keys).items()}
        for folder, wanted in zip(folders, (("train", "dev"), ("test",)), strict=True):
            for key, audio in _prompts(base / folder):
                if homes[key] in wanted:
                    parts[homes[key]].append(_labelled(audio, f"{folder}-{key}", folder, language))
    try:
        found, levels, _ = spoken(base.parents[1] / "games" / "fillets-ng", list(LANGUAGES), False)
    except DataError:
        found, levels = [], {}
        notes.append("no Czech and no Dutch: the packages of fillets are not in the same folder")
    if variant:
        levels = swapped(levels)
    for u in found:
        home, voice = levels[level_of(u)], str(u.speaker).partition("-")[2]
        if home in {"big": ("train", "dev"), "small": ("test",)}.get(voice, ()):
            parts[home].append(_labelled(u.audio, u.id, str(u.speaker), str(u.language)))
    for folder in ALONE:
        spoken_ = _prompts(base / folder)
        parts["pretrain"] += [Utterance(f"{folder}-{k}", a, a.name) for k, a in spoken_]
    return load_splits({name: part for name, part in parts.items() if part}, notes=notes)


def _labelled(audio: Path, name: str, voice: str, language: str) -> Utterance:
    custom = {"effects": [TELEPHONE]}
    return Utterance(name, audio, audio.name, None, voice, language, custom)


def _prompts(folder: Path) -> Iterator[tuple[str, Path]]:
    """Give key and file of a voice's prompts from which a language can be told, in their length."""
    for audio in sorted(folder.rglob("*")):
        key = audio.relative_to(folder).with_suffix("").as_posix().replace("/", "-")
        spoken_ = audio.suffix in HEADERLESS and not any(word in key for word in _NO_SPEECH)
        there = spoken_ and not audio.name.startswith(".") and audio.stat().st_size
        if there and SHORTEST <= audio_seconds(audio) <= LONGEST:
            yield key, audio

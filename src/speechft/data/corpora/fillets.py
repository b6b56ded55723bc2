"""Fish Fillets: acted dialogue of a game in Czech and Dutch, human voices with exact transcripts.

The game and its data are under the GNU General Public License, version 2 or later (ALTAR
interactive, 2004, and the translators); https://fillets.sourceforge.net. Debian packages its data
as `fillets-ng-data` (scripts), `fillets-ng-data-cs` and `fillets-ng-data-nl` (speech).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from speechft.core.artifact import file_hashes, hash_values
from speechft.core.errors import DataError
from speechft.core.extras import pip_install
from speechft.data.corpora import Corpus, register
from speechft.data.corpus_tree import find_root, read_lines, tree
from speechft.data.external_programs import unpacking
from speechft.data.synthetic.espeak import is_installed, phonemes_of
from speechft.data.utterances import Loaded, Utterance, load_splits

LANGUAGES: Final = {"cs": "Czech", "nl": "Dutch"}
# Of the levels, in the order of a hash of their names: what is kept for later questions, then test
# and dev; the rest is for training.
SHARES: Final = {"aside": 0.2, "test": 0.2, "dev": 0.1}
FEWEST: Final = 18  # utterances of a voice that counts as a speaker
SILENT: Final = {"elevator1/nl/zd1-m-cesta", "gems/nl/zav-v-sto"}  # files without a sample
TOO_LONG: Final = {"bathyscaph/cs/bat-p-zhov1"}  # 30.1 s, and Whisper takes 30
ASIDE: Final = "aside"
BY_RULE: Final = "eSpeak NG"
_FOLDER: Final = ("usr/share/games/fillets-ng", "games/fillets-ng", "fillets-ng")
_PARTS: Final = ("script", "sound")
_DIALOG: Final = re.compile(
    r'dialogId\(\s*"([^"]+)"\s*,\s*"([^"]*)"\s*,\s*"(?:[^"\\]|\\.)*"\s*\)\s*'
    r'dialogStr\(\s*"((?:[^"\\]|\\.)*)"\s*\)'
)
_LETTERS: Final = re.compile(r"[\W_]+")
PACKAGES: Final = ("fillets-ng-data", "fillets-ng-data-cs", "fillets-ng-data-nl")
_HINT: Final = unpacking(PACKAGES)


@register(
    "fillets",
    partial(
        Corpus,
        find=tree(_FOLDER, _PARTS, ("script/*/dialogs_*.lua", "sound/*/*/*.ogg")),
        source=_HINT,
        counts={"train": 1640, "dev": 235, "test": 581, "aside": 734},
        variants={k: f"{v} alone" for k, v in LANGUAGES.items()}
        | {f"{k}-{ASIDE}": f"{v}, tested on what is kept aside" for k, v in LANGUAGES.items()},
        packages=PACKAGES,
    ),
)
def fillets(base: Path, variant: str) -> Loaded:
    """Read `sound/LEVEL/LANGUAGE/KEY.ogg` and `script/LEVEL/dialogs_LANGUAGE.lua`.

    The splits are made of whole levels, the same for both languages: `train`, `dev`, `test`, and
    `aside`, a fifth of the levels that nothing is scored on by mistake: they are the test splits of
    the variants that say so, in the place of the usual ones. No audio and no text is in two
    of them: what occurs again stays in the first of aside, test, dev, train. `sid_train`,
    `sid_dev` and `sid_test` hold those utterances whose voice has 18 or more.

    `custom["phonemes"]` is made by rule from the text (eSpeak NG, the extra `synthetic`), as
    `custom["phonemes_by"]` says; without that package there are none.

    Args:
        base: the game's folder.
        variant: "cs" or "nl", or one of these with "-aside"; both languages if empty.

    Raises:
        DataError: the folder is missing or holds no speech.
    """
    language, _, tested = variant.partition("-")
    kept, homes, again = spoken(base, [language] if language else list(LANGUAGES))
    voices = Counter(u.speaker for u in kept)
    parts: dict[str, list[Utterance]] = {name: [] for name in ("train", "dev", "test", ASIDE)}
    if tested:
        homes = swapped(homes)
    for utterance in kept:
        home = homes[level_of(utterance)]
        parts[home].append(utterance)
        if voices[utterance.speaker] >= FEWEST and home != ASIDE:
            parts.setdefault(f"sid_{home}", []).append(utterance)
    if tested:
        del parts[ASIDE]
    # Two voices speak in levels aside alone.
    heard = {u.speaker for u in parts.get("sid_train", ())}
    parts |= {n: [u for u in parts[n] if u.speaker in heard] for n in parts if n.startswith("sid_")}
    notes = [f"{again} utterances repeat the audio or the text of another and are left out"]
    if not is_installed():
        notes.append(f"no phonemes: they need eSpeak NG ({pip_install('espeakng-loader')})")
    return load_splits({n: part for n, part in parts.items() if part}, notes=notes)


def spoken(
    root: Path, languages: Sequence[str], phonemes: bool = True
) -> tuple[list[Utterance], dict[str, str], int]:
    """Give the utterances, level → split, and how many repeat another and are left out.

    Raises:
        DataError: the folder is missing or holds no speech.
    """
    base = find_root(root, _FOLDER, _PARTS)
    found = [u for language in languages for u in _utterances(base, language, phonemes)]
    if not found:
        wanted = " and ".join(f"sound/LEVEL/{language}/KEY.ogg" for language in languages)
        raise DataError("there is no speech", where=base, expected=wanted)
    homes = split_levels({level_of(u) for u in found})
    kept, again = _without_repeats(found, homes)
    return kept, homes, again


def split_levels(levels: set[str]) -> dict[str, str]:
    """Give level → split, by a hash of the levels' names: the same on every machine."""
    order = sorted(levels, key=hash_values)
    homes = dict.fromkeys(order, "train")
    start = 0
    for name, share in SHARES.items():
        count = round(share * len(order))
        homes |= dict.fromkeys(order[start : start + count], name)
        start += count
    return homes


def swapped(homes: dict[str, str]) -> dict[str, str]:
    """Let what is kept aside and the test split change places."""
    other = {"test": ASIDE, ASIDE: "test"}
    return {level: other.get(home, home) for level, home in homes.items()}


def _utterances(base: Path, language: str, phonemes: bool) -> Iterator[Utterance]:
    """Read one language, level by level; recordings without a text of their own are left out."""
    for script in sorted((base / "script").glob(f"*/dialogs_{language}.lua")):
        level = script.parent.name
        text = "\n".join(line for _, line in read_lines(script))
        lines = [(k, f, t) for k, f, t in _DIALOG.findall(text) if f and t and "%" not in t]
        lines = [one for one in lines if _audio(base, level, language, one[0]).is_file()]
        texts = [" ".join(re.sub(r"\\(.)", r"\1", t).split()) for _, _, t in lines]
        known = phonemes and is_installed()
        symbolised = phonemes_of(texts, language) if known else [[] for _ in texts]
        for (key, font, _), words, symbols in zip(lines, texts, symbolised, strict=True):
            if f"{level}/{language}/{key}" in SILENT | TOO_LONG:
                continue
            name, where = f"{language}-{level}-{key}", f"{level}/{language}/{key}"
            speaker = f"{language}-{font.removeprefix('font_')}"
            rule = {"phonemes": symbols, "phonemes_by": BY_RULE} if symbols else {}
            audio = _audio(base, level, language, key)
            yield Utterance(name, audio, where, words, speaker, language, rule)


def _audio(base: Path, level: str, language: str, key: str) -> Path:
    return base / "sound" / level / language / f"{key}.ogg"


def level_of(utterance: Utterance) -> str:
    """Give the level that an utterance belongs to."""
    return utterance.audio.parent.parent.name


def _without_repeats(found: list[Utterance], homes: dict[str, str]) -> tuple[list[Utterance], int]:
    """Leave out what repeats the audio, or in another split the text, of an utterance before it."""
    order = [*SHARES, "train"]
    hashes = file_hashes(str(utterance.audio) for utterance in found)
    first: dict[tuple[str, str], str] = {}
    kept = set()
    for utterance in sorted(found, key=lambda u: (order.index(homes[level_of(u)]), u.id)):
        home = homes[level_of(utterance)]
        audio = ("audio", hashes[str(utterance.audio)])
        text = (str(utterance.language), _LETTERS.sub("", str(utterance.text)).casefold())
        if audio in first or first.get(text, home) != home:
            continue
        first |= {audio: home, text: home}
        kept.add(utterance.id)
    return [u for u in found if u.id in kept], len(found) - len(kept)

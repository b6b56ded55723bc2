"""PRESET@LANGUAGE: the splits of one language under the usual names."""

from __future__ import annotations

from collections.abc import Mapping

from lhotse import CutSet

from speechft.core.errors import DataError, SettingsError
from speechft.core.nearest import nearest
from speechft.data.synthetic.languages import OTHER_LANGUAGES

LANGUAGES: tuple[str, ...] = ("en", *OTHER_LANGUAGES)


def parse_preset(text: str) -> tuple[str, str | None]:
    """Split `PRESET@LANGUAGE` into its parts; no language means the preset's splits as they are.

    Raises:
        SettingsError: there is no synthetic speech in this language.
    """
    preset, sign, language = text.partition("@")
    if not sign:
        return preset, None
    if language not in LANGUAGES:
        close = nearest(language, LANGUAGES)
        raise SettingsError(
            f"no synthetic speech in the language {language!r}",
            where=f"synthetic:{text}",
            expected=", ".join(LANGUAGES),
            hint=f"did you mean {close[0]!r}?" if close else None,
        )
    return preset, language


def of_language(splits: Mapping[str, CutSet], language: str, where: str) -> dict[str, CutSet]:
    """Give the splits of a language without its prefix: `es_train` as `train`.

    Raises:
        DataError: the corpus holds none.
    """
    own = {name: _bare(name, language) for name in splits if _language(name) == language}
    if not own:
        found = ", ".join(dict.fromkeys(_language(name) for name in splits))
        raise DataError(
            f"this preset holds no speech in the language {language!r}", where=where, found=found
        )
    return {bare: splits[name] for name, bare in own.items()}


def _language(split: str) -> str:
    prefix = split.partition("_")[0]
    return prefix if prefix in OTHER_LANGUAGES else "en"


def _bare(split: str, language: str) -> str:
    return split if language == "en" else split.removeprefix(f"{language}_")

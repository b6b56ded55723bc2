"""Sizes of the synthetic corpora, and their names: PRESET or PRESET@LANGUAGE."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from speechft.core.errors import SettingsError
from speechft.core.nearest_names import nearest
from speechft.core.registry import Registry
from speechft.core.settings import Settings
from speechft.data.synthetic.grammar import OTHER_LANGUAGES

Count = Annotated[int, Field(ge=0)]
Speakers = Annotated[int, Field(ge=1)]


class SyntheticSettings(Settings):
    """Sizes, in utterances unless a name says otherwise; a split of size 0 is left out.

    Attributes:
        seed: everything that is drawn depends on it.
        train: utterances of `train`; `dev` and `test` likewise. The three share no speaker and
            no sentence.
        train_speakers: speakers of `train`; the others likewise.
        sid_speakers: speakers of `sid_train`, `sid_dev` and `sid_test`, the same in all three.
        sid_train: utterances per speaker in `sid_train`; the others likewise.
        pretrain: utterances of `pretrain`, English, which shares no speaker and no sentence with
            any other split of any preset.
        other_train: utterances per further language in `es_train`, `de_train`; the others likewise.
        other_pretrain: utterances per further language in `es_pretrain`, `de_pretrain`.
    """

    seed: int = 0
    train: Count = 0
    dev: Count = 0
    test: Count = 0
    train_speakers: Speakers = 1
    dev_speakers: Speakers = 1
    test_speakers: Speakers = 1
    sid_speakers: Count = 0
    sid_train: Count = 0
    sid_dev: Count = 0
    sid_test: Count = 0
    pretrain: Count = 0
    pretrain_speakers: Speakers = 1
    pretrain_dev: Count = 0
    pretrain_dev_speakers: Speakers = 1
    other_train: Count = 0
    other_dev: Count = 0
    other_test: Count = 0
    other_speakers: Speakers = 1
    other_pretrain: Count = 0
    other_pretrain_speakers: Speakers = 1


PRESETS: Registry[SyntheticSettings] = Registry("preset of synthetic speech")
_SIZES: dict[str, dict[str, int]] = {
    "tiny": dict(
        train=12, dev=8, test=8, train_speakers=4, dev_speakers=2, test_speakers=2,
        sid_speakers=3, sid_train=4, sid_dev=2, sid_test=2,
        pretrain=12, pretrain_speakers=6, pretrain_dev=4, pretrain_dev_speakers=2,
        other_train=4, other_dev=2, other_test=2, other_speakers=2,
        other_pretrain=2, other_pretrain_speakers=2,
    ),
    "demo": dict(
        train=340, dev=50, test=110, train_speakers=34, dev_speakers=8, test_speakers=10,
        sid_speakers=16, sid_train=8, sid_dev=3, sid_test=8,
        other_train=16, other_dev=6, other_test=8, other_speakers=4,
    ),
    "study": dict(
        train=900, dev=200, test=500, train_speakers=80, dev_speakers=20, test_speakers=40,
        sid_speakers=50, sid_train=12, sid_dev=4, sid_test=8,
        other_train=120, other_dev=40, other_test=60, other_speakers=10,
    ),
    "pretrain": dict(
        pretrain=21500, pretrain_speakers=360, pretrain_dev=300, pretrain_dev_speakers=20,
        other_pretrain=1600, other_pretrain_speakers=40,
    ),
    # Speakers and utterances that no other preset has: a corpus to fine-tune on that no probe sees.
    "elsewhere": dict(seed=1, train=900, dev=60, train_speakers=80, dev_speakers=20),
    # The first of `pretrain`'s utterances, to go on with what an encoder has heard.
    "rehearsal": dict(pretrain=2400, pretrain_speakers=360),
    "languages": dict(
        other_train=900, other_dev=150, other_test=300, other_speakers=40,
        other_pretrain=2400, other_pretrain_speakers=60,
    ),
}  # fmt: skip
for _name, _given in _SIZES.items():
    PRESETS.register(_name)(SyntheticSettings(**_given))


def parse_preset(text: str) -> tuple[str, str | None]:
    """Split `PRESET@LANGUAGE` into its parts; no language means the preset's splits as they are.

    Raises:
        SettingsError: there is no synthetic speech in this language.
    """
    preset, sign, language = text.partition("@")
    if sign and language not in ("en", *OTHER_LANGUAGES):
        close = nearest(language, ("en", *OTHER_LANGUAGES))
        raise SettingsError(
            f"no synthetic speech in the language {language!r}",
            where=f"synthetic:{text}",
            expected=", ".join(("en", *OTHER_LANGUAGES)),
            hint=f"did you mean {close[0]!r}?" if close else None,
        )
    return preset, language if sign else None

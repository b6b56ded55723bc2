"""What data is, by what is in it: ids, times, labels, and the audio as it will be heard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from speechft.core.artifact import Input, content_id, hash_values
from speechft.core.settings import PathText

if TYPE_CHECKING:
    from lhotse.cut import Cut


def data_id(spec: str) -> str:
    """Give the identity of DATA: of every split the ids, times, labels and the bytes of its audio.

    Paths do not matter, so that the same data has the same identity on every machine. Synthetic
    speech follows from its settings, so it need not be made for this.

    Args:
        spec: DATA.

    Raises:
        DataError: the data cannot be read.
        SettingsError: an unknown corpus or preset.
    """
    from speechft.data.sources import is_synthetic, load_data

    if is_synthetic(spec):
        return _synthetic_id(spec)
    splits = {name: list(cuts) for name, cuts in load_data(spec).items()}
    return content_id(split_ids(splits))


def audio_id(spec: str) -> str:
    """Give the identity of the audio of DATA, whatever its labels are.

    Args:
        spec: DATA.

    Raises:
        DataError: the data cannot be read.
        SettingsError: an unknown corpus or preset.
    """
    from speechft.data.content import audio_keys
    from speechft.data.sources import is_synthetic, load_data

    if is_synthetic(spec):
        return _synthetic_id(spec)
    return content_id({name: audio_keys(cuts) for name, cuts in load_data(spec).items()})


def _synthetic_id(spec: str) -> str:
    from speechft.data.synthetic.corpus import corpus_folder
    from speechft.data.synthetic.selection import parse_preset
    from speechft.data.synthetic.settings import PRESETS

    preset, language = parse_preset(spec.partition(":")[2] or "demo")
    made = corpus_folder(PRESETS[preset]).name
    return content_id({"synthetic": made, "language": language})


def split_ids(splits: Mapping[str, Sequence[Cut]]) -> dict[str, str]:
    """Give the identity of every split.

    Raises:
        DataError: an audio file cannot be read.
    """
    from speechft.data.content import audio_hashes

    content = audio_hashes(cut for cuts in splits.values() for cut in cuts)
    return {name: cuts_id(cuts, content) for name, cuts in splits.items()}


def cuts_id(cuts: Iterable[Cut], content: Mapping[str, str]) -> str:
    """Give the identity of cuts: ids, times, labels and audio.

    Args:
        cuts: in an order that counts.
        content: audio file → hash, as `audio_hashes` gives it.
    """
    from speechft.data.content import audio_key

    return hash_values(
        [[cut.id, [s.to_dict() for s in cut.supervisions], audio_key(cut, content)] for cut in cuts]
    )


DataName = Annotated[PathText, Input(data_id)]
"""A settings field that names DATA."""
AudioName = Annotated[PathText, Input(audio_id)]
"""A settings field that names DATA of which the audio alone counts."""

"""What data is, by what is in it: ids, times, labels, and the audio as it will be heard.

Paths do not matter. What is heard of it are stretches of its audio and its speakers, as keys.
Nothing heavy is imported before it is needed: settings name their data by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

from speechft.core.artifact import Input, content_id, file_hashes, hash_values
from speechft.core.errors import DataError
from speechft.core.heard import ANY, Heard, Speaker, Stretch, key_of
from speechft.core.progress import progress_bar
from speechft.core.settings import PathText
from speechft.data.data_names import is_synthetic, noise_data, refuse_absent_data

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
    return _identity(spec, split_ids)


def audio_id(spec: str) -> str:
    """Give the identity of the audio of DATA, whatever its labels are.

    Args:
        spec: DATA.

    Raises:
        DataError: the data cannot be read.
        SettingsError: an unknown corpus or preset.
    """
    return _identity(spec, lambda data: {name: audio_keys(cuts) for name, cuts in data.items()})


def _identity(spec: str, ids: Callable[[Mapping[str, Sequence[Cut]]], dict[str, Any]]) -> str:
    """Give the identity of DATA by what `ids` tells of its splits, or by what makes it."""
    if is_synthetic(spec):
        from speechft.data.synthetic.corpus import corpus_folder
        from speechft.data.synthetic.settings import PRESETS, parse_preset

        preset, language = parse_preset(spec.partition(":")[2] or "demo")
        made = corpus_folder(PRESETS[preset]).name
        return content_id({"synthetic": made, "language": language})
    from speechft.data.load import load_data

    return content_id(ids({name: list(cuts) for name, cuts in load_data(spec).items()}))


def split_ids(splits: Mapping[str, Sequence[Cut]]) -> dict[str, str]:
    """Give the identity of every split.

    Raises:
        DataError: an audio file cannot be read.
    """
    content = audio_hashes(cut for cuts in splits.values() for cut in cuts)
    return {name: cuts_id(cuts, content) for name, cuts in splits.items()}


def cuts_id(cuts: Iterable[Cut], content: Mapping[str, str]) -> str:
    """Give the identity of cuts: ids, times, labels and audio.

    Args:
        cuts: in an order that counts.
        content: audio file → hash, as `audio_hashes` gives it.
    """
    return hash_values([[cut.id, *_labels(cut), audio_key(cut, content)] for cut in cuts])


def _labels(cut: Cut) -> list[Any]:
    """Give what is said of an utterance: in supervisions, and where there is some, beside them."""
    from speechft.data.utterances import MARKS

    beside = {name: value for name, value in (cut.custom or {}).items() if name not in MARKS}
    return [[s.to_dict() for s in cut.supervisions], *([beside] if beside else [])]


def audio_keys(cuts: Sequence[Cut]) -> list[str]:
    """Give `audio_key` of every cut.

    Raises:
        DataError: a file cannot be read.
    """
    hashes = audio_hashes(cuts)
    return [audio_key(cut, hashes) for cut in cuts]


def audio_key(cut: Cut, content: Mapping[str, str]) -> str:
    """Give the identity of what is heard of a cut.

    That is the bytes of its files, the channels and the part of them, and all that is done to them.

    Args:
        cut: the cut.
        content: audio file → hash, as `audio_hashes` gives it.
    """
    from speechft.data.audio import transforms_of
    from speechft.data.cuts import channels_of, effects_of

    recording: Any = getattr(cut, "recording", None)
    files = [[s.channels, content[str(s.source)]] for s in getattr(recording, "sources", ())]
    part = [cut.start, cut.duration, channels_of(cut)]
    done = [transforms_of(cut), effects_of(cut)]
    rate = recording.sampling_rate if done[0] else None
    return hash_values([files, part, done, rate])


def audio_hashes(cuts: Iterable[Cut]) -> dict[str, str]:
    """Give a hash per audio file; files that nothing has touched since are not read again.

    Raises:
        DataError: a file cannot be read.
    """
    from speechft.data.cuts import audio_files

    files = {source for cut in cuts for source in audio_files(cut)}
    with progress_bar() as bar:
        task = bar.add_task("hashing audio", total=len(files), note="")
        try:
            return file_hashes(files, lambda: bar.advance(task))
        except OSError as error:
            raise DataError(
                "cannot read an audio file",
                where=error.filename,
                found=error.strerror,
                hint="check the data's paths",
            ) from None


DataName = Annotated[PathText, Input(data_id, refuse_absent_data)]
"""A settings field that names DATA."""
AudioName = Annotated[PathText, Input(audio_id)]
"""A settings field that names DATA of which the audio alone counts."""


def noise_id(spec: str) -> str:
    """Give the identity of the noise in a folder of audio files, or in DATA."""
    return audio_id(noise_data(spec))


NoiseName = Annotated[PathText, Input(noise_id, refuse_absent_data)]
"""A settings field that names a folder of noise, or DATA whose audio is noise."""


DATA_IDS: Final = (data_id, audio_id, noise_id)
"""What identifies DATA, by which fields that name some are told."""

# Corpora whose speakers have the names of another one.
_SPEAKERS_OF: Final = {"libri2mix": "librispeech"}


def heard_in(cuts: Sequence[Cut], spec: str, content: Mapping[str, str] | None = None) -> Heard:
    """Give what an encoder hears of cuts that it is trained on with labels.

    Args:
        cuts: of one DATA.
        spec: the DATA, which says whose names its speakers have.
        content: audio file → hash; found out if not given.

    Raises:
        DataError: an audio file cannot be read.
    """
    known = audio_hashes(cuts) if content is None else content
    stretches = frozenset(one for cut in cuts for one in stretches_of(cut, known))
    return Heard(stretches, frozenset(speakers_of(cuts, spec)))


def stretches_of(cut: Cut, content: Mapping[str, str]) -> list[Stretch]:
    """Give the stretches of audio that a cut is made of, whatever is done to them."""
    from speechft.data.cuts import audio_files, channels_of

    begin, end = round(1000 * cut.start), round(1000 * (cut.start + cut.duration))
    files = [content[file] for file in audio_files(cut)]
    return [(key_of(f, channel), begin, end) for f in files for channel in channels_of(cut)]


def speakers_of(cuts: Iterable[Cut], spec: str) -> set[Speaker]:
    """Give the speakers of cuts."""
    names = {str(s.speaker) for cut in cuts for s in cut.supervisions if s.speaker}
    corpus = corpus_of(spec)
    return {(corpus and key_of(corpus), key_of(name)) for name in names}


def corpus_of(spec: str) -> str:
    """Give the corpus whose names the speakers of a DATA have; `ANY` where nothing says it."""
    from speechft.data.corpora import corpora

    name = spec.partition(":")[0]
    if is_synthetic(spec):
        return spec.partition("@")[0] if ":" in spec else f"{name}:demo"
    return _SPEAKERS_OF.get(name, name) if ":" in spec and name in corpora() else ANY

"""What is heard of data: the stretches of its audio and its speakers, as keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from lhotse.cut import Cut

from speechft.core.heard import ANY, Heard, Speaker, Stretch, key_of
from speechft.data.audio import audio_files, channels_of
from speechft.data.corpora import corpora
from speechft.data.identity import audio_hashes
from speechft.data.sources import is_synthetic

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
    name = spec.partition(":")[0]
    if is_synthetic(spec):
        return spec.partition("@")[0] if ":" in spec else f"{name}:demo"
    return _SPEAKERS_OF.get(name, name) if ":" in spec and name in corpora() else ANY

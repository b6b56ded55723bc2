"""Names of the columns of a user's table: ours, and what others call them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

COLUMNS: Final[Mapping[str, str]] = {
    "audio": "path of the audio file, relative to the table",
    "text": "words",
    "label": "class of a task of one's own",
    "speaker": "name of the speaker",
    "emotion": "class of the emotion",
    "intent": "class of the intent",
    "phonemes": "phonemes, separated by spaces",
    "tags": "one slot name or O for every word of the text, separated by spaces",
    "language": "code such as en",
    "start": "seconds where the utterance begins",
    "end": "seconds where it ends",
    "duration": "seconds that it lasts, in place of end",
    "split": "train, dev or test",
}
# What NeMo's manifests and the Hub's AudioFolder call them.
ALIASES: Final = {
    "audio_filepath": "audio",
    "file_name": "audio",
    "offset": "start",
    "transcription": "text",
}

"""What an ENCODER has heard with labels, by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from speechft.core.errors import CheckpointError
from speechft.core.heard import Heard, read_heard
from speechft.encoders.identity import locate, packaged_names

# Of the Hub: pre-trained on audio alone, says who made them.
_AUDIO_ALONE: Final = frozenset(
    (
        *("facebook/hubert-base-ls960", "facebook/hubert-large-ll60k"),
        *("facebook/wav2vec2-base", "facebook/wav2vec2-large", "facebook/wav2vec2-large-lv60"),
        *("microsoft/wavlm-base", "microsoft/wavlm-base-plus", "microsoft/wavlm-large"),
    )
)


def is_known(name: str) -> bool:
    """Tell whether a name is one of those that have heard nothing that can be in a test split."""
    own = name in packaged_names() or name.partition("@")[0] in _AUDIO_ALONE
    return own and not Path(name).exists()


def heard_of(name: str | Path) -> Heard:
    """Give what an encoder has heard with labels.

    Packaged encoders, and well-known ones of the Hub, have heard nothing that can be in a test
    split; of all others it is known where a list lies beside them.

    Args:
        name: a folder, a checkpoint file, a packaged name or a Hub id.

    Raises:
        CheckpointError: the list is damaged.
    """
    if is_known(str(name)):
        return Heard()
    try:
        path = locate(name)
    except CheckpointError:  # whoever loads it says so
        return Heard(known=False)
    beside = path if path.is_dir() else path.parent  # a merge writes BASE's format beside its own
    return read_heard(beside) if (beside / "config.json").is_file() else Heard(known=False)

"""Settings of `speechft convert` and `speechft inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from speechft.core.artifact import FileInput, Neutral
from speechft.core.settings import Positional, Settings, Shown
from speechft.encoders.identity import EncoderName


class ConvertSettings(Settings):
    """What to convert, and into what.

    Args:
        source: a folder, a checkpoint file of any supported format, a Hub id or a packaged name.
        target: a folder for `hf`, a file for `s3prl` and `fairseq`; a folder that an earlier
            conversion made is replaced.
        to: `hf`, `s3prl` or `fairseq`; `hf-head` writes the encoder with its linear head as
            transformers' `…ForCTC` or `…ForSequenceClassification`.
        base: an encoder whose configuration is used where the file holds none, or that an
            adapter is merged into.
        head: for hf-head: file of a head that was trained on this very encoder, or a folder with
            one, such as an evaluation's; the one beside the encoder if not given.
        task: which head, where there are several.
        overwrite: replace any encoder that is there, also one that may be the only copy.
    """

    source: Annotated[EncoderName, Positional]
    target: Annotated[Path, Neutral, Positional]
    to: Annotated[str, Shown]
    base: Annotated[EncoderName | None, Shown] = None
    head: Annotated[FileInput | None, Shown] = None
    task: Annotated[str | None, Shown] = None
    overwrite: Annotated[bool, Neutral, Shown] = False


class InspectSettings(Settings):
    """What to look at.

    Args:
        path: a folder, a checkpoint file of any supported format, a Hub id or a packaged name.
        base: an encoder whose configuration is used where the file holds none.
    """

    path: Annotated[EncoderName, Positional]
    base: Annotated[EncoderName | None, Shown] = None

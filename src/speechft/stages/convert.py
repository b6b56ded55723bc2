"""`speechft convert`: an encoder in another format, tensors bit for bit the same."""

from __future__ import annotations

from pathlib import Path

from speechft.core.logging import get_logger
from speechft.core.provenance import write_provenance
from speechft.core.settings import Settings
from speechft.encoders.checkpoints import fingerprint, read_checkpoint, write_checkpoint

log = get_logger(__name__)


class ConvertSettings(Settings):
    """What to convert, and into what.

    Attributes:
        source: a folder, a checkpoint file of any supported format, a Hub id or a packaged name.
        target: a folder for `hf`, a file for `s3prl` and `fairseq`.
        to: hf, s3prl or fairseq.
        base: an encoder whose configuration is used where the file holds none, or that an
            adapter is merged into.
    """

    source: str
    target: Path
    to: str
    base: str | None = None


def convert(settings: ConvertSettings) -> Path:
    """Write an encoder in another format.

    Parts of pre-training (final_proj, label embeddings, quantizer) go along: in place where the
    format has one, else in `extras.safetensors`.

    Returns:
        The file or folder that was written.

    Raises:
        CheckpointError: the source is no complete encoder, or the format has no place for it.
        SettingsError: the format is not known, or the target holds something else.
    """
    checkpoint = read_checkpoint(settings.source, base=settings.base)
    target = write_checkpoint(checkpoint, settings.target, settings.to)
    if checkpoint.dropped:
        log.info("left out, not part of the encoder: %s", ", ".join(checkpoint.dropped))
    if target.is_dir():
        parents = {settings.source: fingerprint(checkpoint.tensors)}
        values = settings.model_dump(mode="json")
        write_provenance(target, stage="convert", settings=values, parents=parents)
    return target

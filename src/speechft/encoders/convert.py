"""`speechft convert`: an encoder in another format, tensors bit for bit the same."""

from __future__ import annotations

import errno
from contextlib import AbstractContextManager
from pathlib import Path

from speechft.core.artifact import RECORD, Artifact, dependencies, stage_of
from speechft.core.errors import SettingsError
from speechft.core.files import atomic_dir, remove_leftovers
from speechft.core.heard import write_heard
from speechft.core.logging import get_logger
from speechft.core.paths import first_of, home_expanded, in_the_way, said_place
from speechft.encoders.checkpoint import Checkpoint, check_complete, not_finite
from speechft.encoders.formats.write import TORCH_SUFFIXES, write_checkpoint
from speechft.encoders.hf_folder import encoder_files
from speechft.encoders.identity import ADAPTER, carry, heard_of, locate
from speechft.encoders.load import encoder_class, read_checkpoint
from speechft.encoders.settings import ConvertSettings

FOLDERS = ("hf", "hf-head")
log = get_logger(__name__)


def convert(settings: ConvertSettings) -> Path:
    """Write an encoder in another format.

    Parts of pre-training (final_proj, label embeddings, quantizer) go along: in place where the
    format has one, else in `extras.safetensors`.

    Returns:
        The file or folder that was written.

    Raises:
        CheckpointError: the source is no complete encoder, or the format has no place for it.
        SettingsError: the format is not known, the target holds something else, is the source
            itself, or cannot be written.
    """
    refuse_target(settings)
    checkpoint = read_checkpoint(settings.source, base=settings.base)
    encoder_class(check_complete(checkpoint), checkpoint.where)
    damaged = not_finite(checkpoint.tensors)
    if damaged:
        log.warning("copied with NaN or infinite values in: %s", ", ".join(damaged))
    with said_target(settings.target):
        if settings.to == "hf":
            _write_folder(checkpoint, settings)
        else:
            heard = heard_of(settings.source)
            write_heard(write_checkpoint(checkpoint, settings.target, settings.to), heard)
    if checkpoint.dropped:
        names = ", ".join(checkpoint.dropped[:8])
        rest = f" and {len(checkpoint.dropped) - 8} more" if len(checkpoint.dropped) > 8 else ""
        log.info("left out, not part of the encoder: %s%s", names, rest)
    return settings.target


def _write_folder(checkpoint: Checkpoint, settings: ConvertSettings) -> None:
    depends = dependencies(settings)
    with atomic_dir(settings.target, encoder_files(settings.target)) as folder:
        write_checkpoint(checkpoint, folder, settings.to)
        source = locate(settings.source)
        left = [] if (source / ADAPTER).is_file() else carry(source, folder)
        if left:
            log.info("convert: left behind of the source's folder: %s", first_of(left, 8))
        write_heard(folder, heard_of(settings.source))
        names = [path.name for path in folder.iterdir()]
        said = settings.model_dump(mode="json", exclude={"overwrite", "target"})
        Artifact(folder, "convert", depends).end(names, settings=said)


def refuse_target(settings: ConvertSettings) -> None:
    """Refuse a target that is the source, or what an earlier conversion has not made.

    Raises:
        SettingsError: says which.
    """
    _refuse_source(settings)
    with said_target(settings.target):
        remove_leftovers(settings.target)
        _refuse_existing(settings)


def _refuse_source(settings: ConvertSettings) -> None:
    """Refuse to write over what is read, or over a folder that it lies in."""
    try:
        source = home_expanded(settings.source).resolve()
        target = settings.target.resolve()
        if not source.exists():
            return
    except (OSError, RuntimeError, ValueError):
        return
    if target == source or (settings.to in FOLDERS and source.is_relative_to(target)):
        raise SettingsError(
            "the target is the source itself, or a folder that it lies in",
            where=settings.target,
            expected="another place",
            hint="convert to a new name, look at it, and remove the old one then",
        )


def _refuse_existing(settings: ConvertSettings) -> None:
    """Refuse to replace what may be the only copy: a file, or a folder of another origin."""
    target, wants_folder = settings.target, settings.to in FOLDERS
    if settings.overwrite or not target.exists():
        return
    if target.is_dir() != wants_folder or not (wants_folder or target.suffix in TORCH_SUFFIXES):
        return  # the format's writer says what is wrong with it
    found = [f"a file of {target.stat().st_size} bytes"]
    if wants_folder:
        names = sorted(path.name for path in target.iterdir())
        made_by = stage_of(target)
        if not names or made_by == "convert":
            return
        found = names
        if made_by is not None:
            found = [f"what {made_by!r} has made, says its {RECORD}"]
    expected = "nothing, an empty folder, or a folder that an earlier conversion made"
    hint = "choose another target, or replace an encoder with --overwrite"
    raise in_the_way(target, found, expected, hint)


def said_target(target: Path) -> AbstractContextManager[None]:
    """Turn a target where nothing can be written into a message."""
    return said_place(target, "choose another target", (errno.EEXIST,))

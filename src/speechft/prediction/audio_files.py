"""The audio files that `embed` and `predict` are given, and which of them can be encoded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from speechft.core.errors import DataError
from speechft.core.lengths import SAMPLE_RATE
from speechft.core.limits import parse_own_json
from speechft.core.logging import get_logger
from speechft.core.paths import first_of, home_expanded
from speechft.data.audio import SHORTEST_SAMPLES, read_audio
from speechft.data.decoding import SUFFIXES, audio_seconds, left_out_of, recordings_in
from speechft.encoders import SpeechEncoder

log = get_logger(__name__)


def find_audio(names: Sequence[str | Path]) -> list[Path]:
    """Give the audio files that are named or lie in a named folder, each once, in order.

    Raises:
        DataError: a name is neither, or a folder holds no audio file.
    """
    found: dict[Path, None] = {}
    for name in names:
        path = _path(name)
        if path.is_dir():
            inside, left_out = recordings_in(path), left_out_of(path)
            if not inside:
                raise DataError(
                    "the folder holds no audio file",
                    where=path,
                    expected=" ".join(SUFFIXES),
                    found=left_out,
                )
            if left_out:
                log.warning("%s: %s", path, left_out)
            found |= dict.fromkeys(inside)
        elif path.is_file():
            found[path] = None
        else:
            raise DataError("no such audio file or folder", where=path, hint="check the path")
    return list(found)


def _path(name: str | Path) -> Path:
    try:
        path = home_expanded(name)
        path.stat()
    except (OSError, RuntimeError, ValueError):
        raise DataError("no such audio file or folder", where=name, hint="check the path") from None
    return path


def duration_of(file: Path, longest: float) -> float:
    """Give a file's duration, and refuse one that cannot be encoded before any work."""
    seconds = audio_seconds(file)
    if seconds * SAMPLE_RATE < SHORTEST_SAMPLES - 1:
        raise DataError(
            "the audio is too short" if seconds else "the audio is empty",
            where=file,
            expected="at least 25 ms",
            found=f"{1000 * seconds:.1f} ms",
        )
    if seconds > longest:
        raise DataError(
            "the audio is longer than one pass should be",
            where=file,
            expected=f"at most {longest:g} s",
            found=f"{seconds:.1f} s",
            hint="cut it into utterances, or raise max_seconds (--max-seconds): memory grows "
            "with the square of the duration",
        )
    return seconds


def durations_of(files: Sequence[Path], longest: float) -> list[float]:
    """Give the files' durations in seconds.

    Raises:
        DataError: one cannot be used, or several; it says which.
    """
    durations: list[float] = []
    wrong: list[DataError] = []
    for file in files:
        try:
            durations.append(duration_of(file, longest))
        except DataError as error:
            wrong.append(error)
    if len(wrong) == 1:
        raise wrong[0]
    if wrong:
        raise DataError(
            f"{len(wrong)} of {len(files)} files cannot be used",
            where=wrong[0].where,
            found=first_of([f"{error.where}: {error.what}" for error in wrong]),
            hint="mend them, or leave them out with skip_bad (--skip-bad), which says why of each",
        )
    return durations


def usable_files(
    files: Sequence[Path], longest: float, encoder: SpeechEncoder
) -> tuple[list[Path], list[float], dict[str, str]]:
    """Give the files that can be encoded, their durations, and why the others cannot.

    Raises:
        DataError: none of them can.
    """
    durations: dict[Path, float] = {}
    skipped: dict[str, str] = {}
    for file in files:
        try:
            seconds = duration_of(file, longest)
            samples = torch.tensor([len(read_audio(file))])
            if int(encoder.frame_lengths(samples)) < 1:
                raise DataError("the audio is too short for one frame", where=file)
            encoder.refuse_long(samples, lambda _: "")
            durations[file] = seconds
        except DataError as error:
            found = "" if error.found is None else f" ({error.found})"
            skipped[str(file)] = f"{error.what}{found}"
            log.warning("embed: skipped %s: %s", file, skipped[str(file)])
    if not durations:
        raise DataError(
            "no file can be used",
            where=files[0],
            found=f"{len(files)} files; {skipped[str(files[0])]}",
        )
    if skipped:
        log.warning("embed: %d of %d files were skipped", len(skipped), len(files))
    return list(durations), list(durations.values()), skipped


def is_of_embed(path: Path) -> bool:
    """Tell whether a file says that `embed` wrote it; of its kinds only .safetensors does."""
    try:
        with safe_open(path, framework="pt") as file:
            about = parse_own_json((file.metadata() or {}).get("about", "null"))
    except (OSError, ValueError, SafetensorError):
        return False
    return isinstance(about, dict) and {"fingerprint", "layers", "hop"} <= set(about)

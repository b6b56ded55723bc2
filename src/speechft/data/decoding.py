"""From an audio file to samples as they are stored: libsndfile, block by block.

Files of telephone exchanges have no header: their names say rate and coding (`HEADERLESS`).

Nothing that a header says is trusted with memory: a stream of unknown length, a format that cannot
be searched and a wrong count of samples are all read to their real end.
"""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

from speechft.core.errors import DataError
from speechft.core.extras import pip_install
from speechft.core.paths import first_of

LOWEST_RATE, HIGHEST_RATE = 4000, 768_000
# What telephone exchanges call files without a header: rate and libsndfile's name of the coding.
HEADERLESS: Final = {
    ".alaw": (8000, "ALAW"),
    ".ulaw": (8000, "ULAW"),
    ".gsm": (8000, "GSM610"),
    ".sln": (8000, "PCM_16"),
    ".g722": (16000, "PCM_16"),  # once the package g722 has decoded it
}
G722: Final = ".g722"
SUFFIXES: Final = (
    *(".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".sph", ".nist", ".wv1", ".wv2"),
    *(".aif", ".aiff", ".au", ".caf", ".w64", *HEADERLESS),
)
"""Endings by which a recording is found in a folder; a file that is named may have any."""
NOT_DECODED: Final = (
    *(".m4a", ".m4b", ".mp4", ".aac", ".webm", ".wma", ".amr", ".3gp", ".ac3", ".ape", ".wv"),
    *(".mka", ".mkv", ".mov"),
)
"""Endings of recordings that are left out of a folder, since they need another program first."""
_BLOCK = 1 << 20
# Headers of compressed files may be off by a few frames.
_COMPLETE = 0.95
# What libsndfile gives where a stream does not say its length.
_UNKNOWN = 1 << 62
# Writers that cannot go back to the header leave the largest numbers of bytes in it.
_PLACEHOLDER = 0x7F000000
_SHORTER = re.compile(r"^\s*(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
_SPHERE_COUNT = re.compile(rb"sample_count -i (\d+)")
_HINTS = {
    b"version https://git-lfs": "it is a pointer of git-lfs; run: git lfs pull",
    b"ajkg": "Sphere files compressed with shorten need `sph2pipe -f wav IN OUT` first",
    b"ftyp": "AAC and ALAC in MP4 need `ffmpeg -i IN OUT.wav` first",
}

Samples = NDArray[np.float32]


class _File(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is searched only where that is exact.

    MP3 frames borrow bits from earlier ones, so the first frames after a jump come out damaged; a
    stream of unknown length cannot be searched at all.
    """

    def seekable(self) -> bool:
        """Tell whether a place in the file can be found without reading all before it."""
        exact = self.format != "MP3" and "MPEG" not in self.subtype
        return exact and self.frames < _UNKNOWN and bool(super().seekable())


def recordings_in(folder: Path) -> list[Path]:
    """Give the audio files in a folder and below, in order; macOS leaves `._NAME` beside NAME."""
    return _files_in(folder, SUFFIXES)


def left_out_of(folder: Path) -> str | None:
    """Say which files of a folder hold sound that is not decoded here; None where there is none."""
    found = _files_in(folder, NOT_DECODED)
    if not found:
        return None
    names = first_of([path.name for path in found])
    count = "a file is" if len(found) == 1 else f"{len(found)} files are"
    return f"{count} left out, as they need `ffmpeg -i IN OUT.wav` first: {names}"


def _files_in(folder: Path, endings: Collection[str]) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in endings)
    return [path for path in found if not (path.name.startswith("._") or path.is_dir())]


def decode(path: Path, start: float = 0.0, duration: float | None = None) -> tuple[Samples, int]:
    """Give samples (S, channels) and their rate.

    Args:
        path: the file.
        start: seconds at which the part begins.
        duration: seconds that it lasts; to the end if not given.

    Raises:
        DataError: there is no such file, it cannot be decoded, it is cut short, it has a sampling
            rate that no speech has, or the part begins after its end.
    """
    with _opened(path) as file:
        rate: int = file.samplerate
        first = _frames(start, rate)
        count = None if duration is None else _frames(duration, rate)
        known = _length(file, path)
        if first and known is not None and first >= known:
            _refuse_start(path, start, known / rate)
        if first and file.seekable():
            file.seek(first)
        elif first:
            first -= sum(len(block) for block in _blocks(file, first))
            if first:
                _refuse_start(path, start, start - first / rate)
        blocks = list(_blocks(file, count))
        samples = np.concatenate(blocks) if len(blocks) > 1 else blocks[0]
    if known is not None:
        wanted = known - first if count is None else min(count, known - first)
        _check_complete(path, len(samples), wanted, rate)
    return samples, rate


class Header(NamedTuple):
    """What a file says of itself, or what was counted where it does not.

    Attributes:
        rate: samples per second.
        frames: samples per channel.
        channels: how many.
    """

    rate: int
    frames: int
    channels: int


def read_header(path: Path) -> Header:
    """Give rate, length and channels of a file; a stream of unknown length is read to its end.

    Raises:
        DataError: see `decode`; or there is nothing in it.
    """
    if path.suffix == G722 and path.is_file() and path.stat().st_size:
        return Header(HEADERLESS[G722][0], 2 * path.stat().st_size, 1)  # without decoding it
    with _opened(path) as file:
        frames = _length(file, path)
        if frames is None:
            frames = sum(len(block) for block in _blocks(file, None))
        elif 0 < file.frames < frames:
            _check_complete(path, file.frames, frames, file.samplerate)
        header = Header(file.samplerate, min(frames, file.frames), file.channels)
    if not header.frames:
        raise DataError("the audio is empty", where=path, found="0 samples")
    return header


def audio_seconds(path: Path) -> float:
    """Give the duration of a file. Errors as `read_header`."""
    header = read_header(path)
    return header.frames / header.rate


def _file(path: Path) -> _File:
    """Open a file; one without a header by what its name says."""
    if path.suffix not in HEADERLESS:
        return _File(path)
    rate, coding = HEADERLESS[path.suffix]
    source = io.BytesIO(_decode_g722(path)) if path.suffix == G722 else path
    order = None if coding == "GSM610" else "LITTLE"
    return _File(source, "r", rate, 1, coding, order, "RAW")


def _decode_g722(path: Path) -> bytes:
    """Give the samples of G.722 at 64 kbit/s, 16 bit."""
    try:
        from G722 import G722 as Decoder
    except ModuleNotFoundError:
        raise DataError(
            "G.722 is read by a package that is not installed",
            where=path,
            expected="the package g722",
            hint=pip_install("g722"),
        ) from None
    samples: bytes = Decoder(HEADERLESS[G722][0], 64000).decode(path.read_bytes()).tobytes()
    return samples


@contextmanager
def _opened(path: Path) -> Iterator[_File]:
    try:
        there = path.is_file()
    except (OSError, ValueError):
        there = False
    if not there:
        hint = _beside(path) or "check the path"
        raise DataError("no such audio file", where=path, hint=hint)
    try:
        with _file(path) as file:
            if not LOWEST_RATE <= file.samplerate <= HIGHEST_RATE:
                raise DataError(
                    "the audio has a sampling rate that no speech has",
                    where=path,
                    expected=f"{LOWEST_RATE} to {HIGHEST_RATE} Hz",
                    found=f"{file.samplerate} Hz",
                )
            yield file
    except (soundfile.SoundFileError, OSError, ValueError, TypeError) as error:
        raise DataError(
            "the audio cannot be decoded",
            where=path,
            expected="WAV, FLAC, MP3, Ogg, Opus or NIST Sphere",
            found=_found(error),
            hint=_hint(path),
        ) from None


def _length(file: _File, path: Path) -> int | None:
    """Give the frames that the header promises, also where the file holds less; None if unknown."""
    if file.frames >= _UNKNOWN or not soundfile.SoundFile.seekable(file):
        return None
    frames = int(file.frames)
    shorter = _SHORTER.search(file.extra_info)
    if shorter and int(shorter[1]) < _PLACEHOLDER and int(shorter[2]):
        frames = max(frames, frames * int(shorter[1]) // int(shorter[2]))
    if file.format == "NIST":
        with path.open("rb") as raw:
            count = _SPHERE_COUNT.search(raw.read(1024))
        frames = max(frames, int(count[1])) if count else frames
    return frames


def _blocks(file: _File, count: int | None) -> Iterator[Samples]:
    """Give `count` frames, or all that are left, in blocks; one empty block if there are none."""
    left = _UNKNOWN if count is None else count
    read = 0
    while True:
        size = min(left, _BLOCK)
        block: Samples = file.read(size, dtype="float32", always_2d=True)
        left -= len(block)
        if len(block) or not read:
            yield block
        read += len(block)
        if not left or len(block) < size:
            return


def _frames(seconds: float, rate: int) -> int:
    return max(0, round(min(seconds, 1e9) * rate)) if seconds == seconds else 0


def _hint(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(2048)
    if not head:
        return "the file is empty"
    return next((hint for mark, hint in _HINTS.items() if mark in head), None)


def _found(error: Exception) -> str:
    """Give what libsndfile says; of MPEG without a frame it says that there is no file."""
    said = str(error).rpartition("': ")[2]
    return "no frame of MPEG audio" if said.startswith("File does not exist") else said.rstrip(".")


def _beside(path: Path) -> str | None:
    """Name the file beside that differs in case or ending alone, such as a.WAV for a.wav."""
    found = _stems(path.parent).get(path.stem.lower())
    return f"did you mean {found!r}?" if found else None


@lru_cache(maxsize=8)
def _stems(folder: Path) -> dict[str, str]:
    try:
        return {entry.stem.lower(): entry.name for entry in folder.iterdir() if entry.is_file()}
    except (OSError, ValueError):
        return {}


def _refuse_start(path: Path, start: float, seconds: float) -> None:
    raise DataError(
        "the part begins after the end of the audio",
        where=path,
        expected=f"a start before {seconds:.2f} s",
        found=f"{start:.2f} s",
    )


def _check_complete(path: Path, found: int, wanted: int, rate: int) -> None:
    if found < _COMPLETE * wanted:
        raise DataError(
            "the audio is cut short",
            where=path,
            expected=f"{wanted / rate:.2f} s, as its header says",
            found=f"{found / rate:.2f} s",
            hint="get the file again",
        )

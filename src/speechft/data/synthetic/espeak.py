"""eSpeak NG through ctypes: text in, samples and timed phonemes out.

The library and its voices come from the PyPI package `espeakng-loader` (the extra `synthetic`).
eSpeak NG is licensed under the GPL, version 3 or later; it is loaded at run time and no part of it
is copied here.

The library keeps global state (random numbers, phases of the pitch flutter), so an utterance would
depend on what was spoken before. `speak` therefore loads the library anew for every utterance and
seeds the C library's random numbers, which costs about 4 ms and makes an utterance a function of
its arguments alone. Voices with echo and breath read memory that is never set and stay
unpredictable; `speakers.VOICES` leaves them out. Use processes, not threads.
"""

from __future__ import annotations

import ctypes
import importlib.util
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes import c_char_p, c_int, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechft.core.errors import DataError
from speechft.core.extras import pip_install

SAMPLE_RATE = 22050
_OUTPUT_SYNCHRONOUS = 2
_PHONEME_EVENTS, _DO_NOT_EXIT = 1, 0x8000
_UTF8 = 1
_RATE, _PITCH, _RANGE, _WORD_GAP = 1, 3, 4, 7
_EVENT_END_OF_LIST, _EVENT_PHONEME = 0, 7
_BETWEEN = "_"
_IPA = 2
_STRESS = "ˈˌ"


@dataclass(frozen=True)
class Spoken:
    """One spoken utterance.

    Attributes:
        samples: int16 samples (S,) at 22,050 Hz.
        phones: (mnemonic of eSpeak, first sample) in the order spoken, pauses included.
    """

    samples: NDArray[np.int16]
    phones: list[tuple[str, int]]


class _Identifier(ctypes.Union):
    _fields_ = (("number", c_int), ("name", c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", c_int), ("unique_identifier", ctypes.c_uint), ("text_position", c_int),
        ("length", c_int), ("audio_position", c_int), ("sample", c_int),
        ("user_data", c_void_p), ("id", _Identifier),
    )  # fmt: skip


_Callback = ctypes.CFUNCTYPE(c_int, ctypes.POINTER(ctypes.c_short), c_int, ctypes.POINTER(_Event))


def speak(
    text: str,
    voice: str,
    *,
    rate: int,
    pitch: int,
    pitch_range: int,
    word_gap: int = 0,
    seed: int = 0,
) -> Spoken:
    """Speak one sentence.

    Args:
        text: the sentence.
        voice: language and voice variant, such as "en-us+m3".
        rate: words per minute, 80 to 450.
        pitch: 0 to 100, 50 is the voice's own pitch.
        pitch_range: 0 (monotone) to 100.
        word_gap: additional pause between words in units of 10 ms.
        seed: for the random numbers of the synthesiser.

    Raises:
        DataError: `espeakng-loader` is not installed, or the voice does not exist.
    """
    chunks: list[bytes] = []
    phones: list[tuple[str, int]] = []

    def collect(samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            chunks.append(ctypes.string_at(samples, 2 * count))
        for index in itertools.count():
            event = events[index]
            if event.type == _EVENT_END_OF_LIST:
                break
            if event.type == _EVENT_PHONEME:
                phones.append((event.id.string.decode("utf-8", "replace"), event.sample))
        return 0

    data, callback = text.encode() + b"\0", _Callback(collect)
    with _fresh_library() as library:
        library.espeak_SetSynthCallback(callback)
        # An unknown voice is answered with an error code, and the last voice goes on speaking; an
        # unknown variant is not even answered so.
        if not _has_variant(voice) or library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise DataError("eSpeak NG does not know this voice", where=voice)
        ctypes.CDLL(None).srand(ctypes.c_uint(seed))
        values = {_RATE: rate, _PITCH: pitch, _RANGE: pitch_range, _WORD_GAP: word_gap}
        for parameter, value in values.items():
            library.espeak_SetParameter(parameter, value, 0)
        library.espeak_Synth(data, ctypes.c_size_t(len(data)), 0, 0, 0, _UTF8, None, None)
        library.espeak_Synchronize()
    return Spoken(np.frombuffer(b"".join(chunks), dtype=np.int16), phones)


def phonemes_of(texts: Sequence[str], voice: str) -> list[list[str]]:
    """Give the phonemes of texts by eSpeak's rules, in IPA without stress.

    Args:
        texts: sentences.
        voice: language, such as "cs".

    Raises:
        DataError: `espeakng-loader` is not installed, or the language does not exist.
    """
    with _fresh_library() as library:
        library.espeak_TextToPhonemes.restype = c_char_p
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise DataError("eSpeak NG does not know this voice", where=voice)
        return [_phonemes(library, text) for text in texts]


def _phonemes(library: ctypes.CDLL, text: str) -> list[str]:
    """Read clause after clause; the library moves the pointer on, and clears it at the end."""
    data = ctypes.create_string_buffer(text.encode())
    left = c_void_p(ctypes.addressof(data))
    found: list[str] = []
    while left.value:
        clause = library.espeak_TextToPhonemes(ctypes.byref(left), _UTF8, _IPA | ord(_BETWEEN) << 8)
        words = (clause or b"").decode("utf-8", "replace").split()
        symbols = [symbol.strip(_STRESS) for word in words for symbol in word.split(_BETWEEN)]
        found += [symbol for symbol in symbols if symbol and not symbol.startswith("(")]
    return found


def is_installed() -> bool:
    """Tell whether eSpeak NG is there."""
    return importlib.util.find_spec("espeakng_loader") is not None


@contextmanager
def _fresh_library() -> Iterator[ctypes.CDLL]:
    """Load the library, initialise it, and unload it with all its global state."""
    library_path, data_path = locate()
    library = ctypes.CDLL(library_path)
    try:
        rate = library.espeak_Initialize(
            _OUTPUT_SYNCHRONOUS, 0, data_path.encode(), _PHONEME_EVENTS | _DO_NOT_EXIT
        )
        if rate != SAMPLE_RATE:
            raise DataError(
                "eSpeak NG does not start",
                where=library_path,
                expected=f"{SAMPLE_RATE} Hz",
                found=rate,
                hint="install it anew: pip install --force-reinstall espeakng-loader",
            )
        yield library
        library.espeak_Terminate()
    finally:
        # ctypes gives no public way to unload a library.
        module = importlib.import_module("_ctypes")
        close = module.FreeLibrary if sys.platform == "win32" else module.dlclose
        close(library._handle)


def _has_variant(voice: str) -> bool:
    _, sign, variant = voice.partition("+")
    return not sign or Path(locate()[1], "espeak-ng-data", "voices", "!v", variant).is_file()


def locate() -> tuple[str, str]:
    """Give the library's path and the folder that holds `espeak-ng-data`.

    Raises:
        DataError: it is not installed.
    """
    try:
        import espeakng_loader
    except ImportError:
        raise DataError(
            "synthetic speech needs eSpeak NG, which is not installed",
            hint=pip_install("espeakng-loader"),
        ) from None
    return espeakng_loader.get_library_path(), os.path.dirname(espeakng_loader.get_data_path())

"""Typed errors: what failed, where, what was expected, what was found, what to do next.

Every mistake a user can make ends in one of the errors, and each has one exit code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self

from speechft.core.escaping import printable_lines

_DETAILS: Final = ("what", "where", "expected", "found", "hint")


class SpeechFTError(Exception):
    """An error that says what failed, where, what was expected, what was found, what to do next.

    Args:
        what: one sentence without a final full stop that says what failed.
        where: file, recipe key, tensor or row that the error is about.
        expected: what would have been right.
        found: what was there instead.
        hint: the next step that mends it.
    """

    exit_code: ClassVar[int] = 1
    usual: ClassVar[str | None] = None
    """The next step where an error says neither one nor what was expected."""

    def __init__(
        self,
        what: str,
        *,
        where: object | None = None,
        expected: object | None = None,
        found: object | None = None,
        hint: str | None = None,
    ) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.expected = None if expected is None else str(expected)
        self.found = None if found is None else _in_words(found, self.where)
        self.hint = hint
        super().__init__(self.render())

    def at(self, where: object) -> Self:
        """Give the same error with its place, where it does not name one itself."""
        details = {"expected": self.expected, "found": self.found, "hint": self.hint}
        return type(self)(self.what, where=self.where or where, **details)

    def advised(self, hint: str) -> Self:
        """Give the same error with what to do next, where it does not say that itself."""
        details = {"where": self.where, "expected": self.expected, "found": self.found}
        return type(self)(self.what, hint=hint if self.hint is None else self.hint, **details)

    def render(self) -> str:
        """Give the whole message: the sentence first, one labelled line for every known detail."""
        details = {
            "where": self.where,
            "expected": self.expected,
            "found": self.found,
            "next": self.hint or (None if self.expected else self.usual),
        }
        lines = [self.what]
        lines += [f"  {name + ':':<10}{text}" for name, text in details.items() if text]
        return printable_lines("\n".join(lines))

    def in_a_line(self) -> str:
        """Give the error without its place, for a list of several."""
        said = self.what if self.found is None else f"{self.what}: {self.found}"
        return said if self.hint is None else f"{said}; {self.hint}"

    def to_dict(self) -> dict[str, Any]:
        """Give the error as plain values, for a file or another process."""
        return {"error": type(self).__name__, **{name: getattr(self, name) for name in _DETAILS}}


def _in_words(found: object, where: str | None) -> str:
    """Give what was found; of the system's errors what they say, and of what, without a number."""
    if not isinstance(found, OSError) or not found.strerror:
        return str(found)
    name = "" if found.filename is None else str(found.filename)
    return f"{found.strerror}: {name}" if name not in ("", where) else found.strerror


def error_of(values: Mapping[str, Any]) -> SpeechFTError:
    """Make an error again of its plain values; one of a kind that is not known here is plain."""
    kind: type[SpeechFTError] = globals().get(str(values["error"]), SpeechFTError)
    return kind(**{name: values[name] for name in _DETAILS})


class SettingsError(SpeechFTError):
    """A recipe, setting or command-line option is wrong (exit code 2)."""

    exit_code = 2
    usual = "see the command's --help, and docs/settings.md"


class DataError(SpeechFTError):
    """Audio, a table, cuts or labels cannot be used (exit code 3)."""

    exit_code = 3
    usual = "mend what is named; `speechft data check DATA` looks at all of the data"


class MissingSplitError(DataError):
    """The data has no train, dev or test split, or none that a task can use (exit code 3)."""


class CheckpointError(SpeechFTError):
    """An encoder or a checkpoint cannot be read, or is not what was asked for (exit code 4)."""

    exit_code = 4
    usual = "copy or download it again, or use another; `speechft inspect` says what a file holds"


class DivergedError(SpeechFTError):
    """Losses, gradients or weights of training are not finite, and stay so (exit code 1)."""


class IncompatibleModelsError(CheckpointError):
    """Encoders that should be merged do not have the same tensors (exit code 4)."""


_CLIENTS = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")


def is_network_error(error: BaseException) -> bool:
    """Tell an HTTP client's own error, such as a refused connection, from all others."""
    return any(kind.__module__.split(".")[0] in _CLIENTS for kind in type(error).__mro__)

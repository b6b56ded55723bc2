"""Alpha for each tensor: one number, patterns for groups of tensors, ramps over depth, sweeps.

An alpha that data chose is a file that whoever chose it has written.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from speechft.core.errors import CheckpointError, SettingsError
from speechft.core.escaping import markdown_text
from speechft.core.files import read_json, write_json
from speechft.core.heard import FILE, Heard, read_heard, write_heard
from speechft.core.nearest_names import did_you_mean

_BRACES = re.compile(r"\{([^{}]*)\}")
FARTHEST = 2.0
EXAMPLES = "0.25, 0.1..0.5 (first to last layer), 'encoder.layers.{8-11}.*=0.5', 0:1:0.05 (sweep)"


@dataclass(frozen=True)
class Ramp:
    """A number that goes from layer to layer through equally spaced points; one point is constant.

    Args:
        points: values from the first layer to the last.
    """

    points: tuple[float, ...]

    def at(self, depth: float) -> float:
        """Give the value at a depth in [0, 1], 0 for the first layer and 1 for the last."""
        if len(self.points) == 1:
            return self.points[0]
        place = depth * (len(self.points) - 1)
        left = min(int(place), len(self.points) - 2)
        low, high = self.points[left], self.points[left + 1]
        return low + (place - left) * (high - low) if place > left else low

    def __str__(self) -> str:
        return "..".join(map(number_text, self.points))


@dataclass(frozen=True)
class AlphaRules:
    """Alpha of every tensor: a default, and patterns of which the last that matches holds.

    Args:
        default: where no pattern matches.
        patterns: (glob over canonical names, value).
    """

    default: Ramp
    patterns: tuple[tuple[str, Ramp], ...] = ()

    @property
    def values(self) -> list[float]:
        """All numbers that are named."""
        ramps = [self.default, *(ramp for _, ramp in self.patterns)]
        return [point for ramp in ramps for point in ramp.points]

    def at(self, name: str, depth: float) -> float:
        """Give alpha of a tensor by its canonical name and depth in [0, 1]."""
        value = self.default
        for pattern, ramp in self.patterns:
            if glob_regex(pattern).fullmatch(name):
                value = ramp
        return value.at(depth)

    def check(self, names: Iterable[str]) -> None:
        """Refuse patterns that match no tensor.

        Raises:
            SettingsError: names the pattern and the nearest tensors.
        """
        known = list(names)
        layers = {re.sub(r"\.\d+\.", ".*.", name) for name in known}
        for pattern, _ in self.patterns:
            if not any(glob_regex(pattern).fullmatch(name) for name in known):
                raise SettingsError(
                    f"the pattern {pattern!r} matches no tensor of the encoder",
                    where="alpha",
                    hint=did_you_mean(pattern, layers) if known else None,
                )

    def __str__(self) -> str:
        rules = [f"{pattern}={ramp}" for pattern, ramp in self.patterns]
        return ", ".join([str(self.default), *rules])


def number_text(value: float) -> str:
    """Give a number with all its digits ("0.25", "1"): one text stands for one number."""
    return repr(float(value)).removesuffix(".0")


def constant(alpha: float) -> AlphaRules:
    """Give one alpha for all tensors."""
    return AlphaRules(Ramp((_finite(alpha, str(alpha)),)))


def parse_alpha(texts: Sequence[str], fallback: float) -> AlphaRules:
    """Read `0.25`, `0.1..0.5` and `PATTERN=VALUE`.

    Args:
        texts: the options as given; at most one has no pattern, it is the default.
        fallback: the default if no text gives one.

    Raises:
        SettingsError: a text is none of these, or two have no pattern.
    """
    plain = [text for text in texts if "=" not in text]
    if len(plain) > 1:
        weights = f"--set parameters.weights=[{','.join(plain)}]"
        raise SettingsError(
            "alpha is one number for all encoders",
            where="alpha",
            found=", ".join(plain),
            hint=f"for one per encoder write --alpha 1 {weights}",
        )
    default = Ramp((fallback,))
    patterns: list[tuple[str, Ramp]] = []
    for text in texts:
        pattern, sign, value = text.rpartition("=")
        if sign:
            glob_regex(pattern)
            patterns.append((pattern, _ramp(value, text)))
        else:
            default = _ramp(text, text)
    return AlphaRules(default, tuple(patterns))


def check_range(alphas: Iterable[float]) -> None:
    """Refuse alphas far from both encoders, which are mistakes more often than meant.

    Raises:
        SettingsError: one lies outside of [-2, 2].
    """
    for alpha in alphas:
        if abs(alpha) > FARTHEST:
            raise SettingsError(
                "alpha leads far beyond both encoders",
                where="alpha",
                expected="a number from -2 to 2; 0 gives BASE, 1 gives TUNED",
                found=number_text(alpha),
                hint="if that is meant, say --set allow_extrapolation=true",
            )


def is_sweep(text: str) -> bool:
    """Say whether a text asks for several alphas (`0:1:0.05`)."""
    return ":" in text and "=" not in text


def split_sweep(texts: Sequence[str]) -> tuple[list[float], list[str]]:
    """Tell the points of a sweep among the texts of `--alpha` from the other texts.

    Raises:
        SettingsError: there are two sweeps, or a sweep beside another default.
    """
    sweeps = [text for text in texts if is_sweep(text)]
    if not sweeps:
        return [], list(texts)
    fixed = [text for text in texts if "=" in text]
    if len(sweeps) + len(fixed) < len(texts) or len(sweeps) > 1:
        raise SettingsError(
            "a sweep is the only alpha without a pattern", where="alpha", found=", ".join(texts)
        )
    return parse_sweep(sweeps[0]), fixed


def parse_sweep(text: str) -> list[float]:
    """Read `START:STOP:STEP`, both ends included, without rounding drift.

    Raises:
        SettingsError: it is not three numbers, or the step leads nowhere.
    """
    try:
        start, stop, step = (Fraction(part) for part in text.split(":"))
    except (ValueError, ZeroDivisionError):
        raise _unreadable(text) from None
    if step == 0 or (stop - start) / step < 0:
        raise SettingsError("the sweep's step does not lead from start to stop", found=text)
    count = math.floor((stop - start) / step) + 1
    if count > 1000:
        raise SettingsError("the sweep has more than 1000 points", found=f"{text}: {count}")
    try:
        return [float(start + index * step) for index in range(count)]
    except OverflowError:
        raise _unreadable(text) from None


def glob_regex(pattern: str) -> re.Pattern[str]:
    """Translate a glob: `*` any text, `?` one character, `{8-11}` a range, `{a,b}` a choice.

    Raises:
        SettingsError: braces do not pair up.
    """
    parts: list[str] = []
    place = 0
    for found in _BRACES.finditer(pattern):
        parts += [_literal(pattern[place : found.start()]), _choice(found.group(1))]
        place = found.end()
    parts.append(_literal(pattern[place:]))
    text = "".join(parts)
    if "\\{" in text or "\\}" in text:
        raise SettingsError("braces do not pair up", where="alpha", found=pattern)
    return re.compile(text)


def _literal(text: str) -> str:
    return re.escape(text).replace(r"\*", ".*").replace(r"\?", ".")


def _choice(text: str) -> str:
    options: list[str] = []
    for part in text.split(","):
        ends = re.fullmatch(r"\s*(\d+)\s*-\s*(\d+)\s*", part)
        if ends:
            options += [str(n) for n in range(int(ends.group(1)), int(ends.group(2)) + 1)]
        else:
            options.append(_literal(part.strip()))
    return f"(?:{'|'.join(options)})"


def _ramp(text: str, whole: str) -> Ramp:
    try:
        points = tuple(_finite(float(part), whole) for part in text.split(".."))
    except ValueError:
        raise _unreadable(whole) from None
    return Ramp(points)


def _finite(value: float, text: str) -> float:
    if not math.isfinite(value):
        raise SettingsError("alpha is not a finite number", where="alpha", found=text)
    return value


def _unreadable(text: str) -> SettingsError:
    return SettingsError("cannot read alpha", where="alpha", expected=EXAMPLES, found=text)


CHOICE: Final = "alpha.json"
KIND: Final = "speechft-alpha"
UNLABELLED: Final = "similarity"
"""The way to choose that needs no labels."""


class Chosen(dict[str, Any]):
    """What was chosen.

    Its items are `alpha`, text as of `--alpha`; `why`; `columns` and `rows` of the neighbours.

    Attributes:
        dev: the labelled dev speech by whose scores it was chosen.
    """

    dev = Heard()


def write_choice(folder: Path, chosen: Chosen) -> list[str]:
    """Write what was chosen, and what that was chosen on; give the names of the files."""
    write_json(folder / CHOICE, chosen)
    write_heard(folder / CHOICE, Heard().chosen_on(chosen.dev))
    return [CHOICE, f"{CHOICE}.{FILE}"]


def read_choice(path: Path) -> Chosen:
    """Read what was chosen.

    Raises:
        CheckpointError: the file is not there, or no choice of an alpha.
    """
    try:
        values = read_json(path)
        if values["kind"] != KIND:
            raise ValueError(values["kind"])
        str(values["alpha"]), str(values["why"]), table_of(values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            "this is no choice of an alpha",
            where=path,
            expected=f"{CHOICE}, as `speechft merge --alpha auto` leaves it in its folder",
            found=repr(error),
        ) from None
    chosen = Chosen(values)
    if values.get("by") != UNLABELLED:
        chosen.dev = read_heard(path).as_dev
    return chosen


def table_of(chosen: Mapping[str, Any]) -> str:
    """Give the neighbours as a table in Markdown."""
    lines = [chosen["columns"], *(map(cell_text, row) for row in chosen["rows"])]
    rows = ["| " + " | ".join(markdown_text(str(v)) for v in line) + " |" for line in lines]
    return "\n".join([rows[0], "|" + " ---: |" * len(chosen["columns"]), *rows[1:]])


def said_of(chosen: Mapping[str, Any]) -> list[str]:
    """Give the paragraphs of a card that say which alpha it is, why, and what others had."""
    return ["## Why this alpha", markdown_text(str(chosen["why"])), table_of(chosen)]


def cell_text(value: Any) -> str:
    """Give a value of the table as text."""
    if isinstance(value, int | float):
        return f"{value:.4g}"
    return "–" if value is None else str(value)

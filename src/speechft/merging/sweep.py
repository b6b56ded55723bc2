"""Sweeps over alpha: parents and coefficients in one small file, encoders made when needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechft.core.errors import CheckpointError, SettingsError
from speechft.core.files import read_json
from speechft.merging.alpha import is_sweep, number_text, parse_alpha, parse_sweep
from speechft.merging.planning import Recipe

FILE_NAME = "sweep.json"
KIND = "speechft-sweep"


@dataclass(frozen=True)
class Parent:
    """An encoder that a sweep is made of.

    Args:
        path: folder, file, Hub id or packaged name.
        sha256: of its weights; None if it is not compared.
    """

    path: str
    sha256: str | None = None


@dataclass(frozen=True)
class Sweep:
    """A sweep as it is stored.

    Args:
        base: θ0.
        tuned: θ'_i.
        alphas: the points, in order.
        fixed: further texts of `--alpha` (patterns) that hold at every point.
        options: fields of `Recipe` besides alpha.
        statistics: files with the data that the method needs, one per tuned encoder.
    """

    base: Parent
    tuned: tuple[Parent, ...]
    alphas: tuple[float, ...]
    fixed: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    statistics: tuple[Parent, ...] = ()

    def recipe(self, alpha: float) -> Recipe:
        """Give how the encoder at one point is merged."""
        rules = parse_alpha([*self.fixed, repr(alpha)], alpha)
        return Recipe(alpha=rules, **self.options)

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {
            "kind": KIND,
            "base": vars(self.base),
            "tuned": [vars(parent) for parent in self.tuned],
            "statistics": [vars(parent) for parent in self.statistics],
            "alphas": list(self.alphas),
            "fixed": list(self.fixed),
            "options": dict(self.options),
        }


def point_name(alpha: float) -> str:
    """Name an encoder of a sweep ("alpha-0.25"), with all digits of its alpha."""
    return f"alpha-{number_text(alpha)}"


def split_texts(texts: Sequence[str]) -> tuple[list[float], list[str]]:
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


def is_sweep_folder(path: Path | str) -> bool:
    """Say whether a folder holds a sweep."""
    return (Path(path) / FILE_NAME).is_file()


def read_sweep(folder: Path) -> Sweep:
    """Read a sweep.

    Raises:
        CheckpointError: the folder holds none, or it is broken.
    """
    try:
        values = read_json(folder / FILE_NAME)
        if values["kind"] != KIND:
            raise ValueError(values["kind"])
        return Sweep(
            base=Parent(**values["base"]),
            tuned=tuple(Parent(**parent) for parent in values["tuned"]),
            alphas=tuple(float(alpha) for alpha in values["alphas"]),
            fixed=tuple(values["fixed"]),
            options=values["options"],
            statistics=tuple(Parent(**parent) for parent in values.get("statistics", ())),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            "this is no sweep", where=folder / FILE_NAME, found=repr(error)
        ) from None

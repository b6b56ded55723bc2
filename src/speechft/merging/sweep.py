"""Sweeps over alpha: parents and coefficients in one small file, encoders made when needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechft.core.errors import CheckpointError, SettingsError
from speechft.core.files import atomic_dir, read_json, write_json, write_text
from speechft.core.provenance import write_provenance
from speechft.merging.alpha import is_sweep, number_text, parse_alpha, parse_sweep
from speechft.merging.card import public_name
from speechft.merging.output import parents_record
from speechft.merging.planning import Plan, Recipe

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


def split_texts(texts: Sequence[str]) -> tuple[list[float] | None, list[str]]:
    """Tell the sweep among the texts of `--alpha` from the others.

    Raises:
        SettingsError: there are two sweeps, or a sweep beside another default.
    """
    sweeps = [text for text in texts if is_sweep(text)]
    if not sweeps:
        return None, list(texts)
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


def write_sweep(
    planned: Plan,
    alphas: Sequence[float],
    fixed: Sequence[str],
    options: Mapping[str, Any],
    out: Path,
    plain: Mapping[str, Any],
) -> None:
    """Write a sweep: no weights, only where they come from.

    Args:
        planned: the merge at any point (all points fit if one does).
        alphas: the points.
        fixed: patterns of alpha that hold at all points.
        options: the other fields of the recipe.
        out: the folder.
        plain: the stage's settings.
    """
    sources = [planned.base, *planned.tuned, *planned.statistics]
    with ThreadPoolExecutor(len(sources)) as pool:
        hashes = list(pool.map(lambda source: source.sha256(), sources))
    parents = [
        Parent(_stable_path(source.label), digest)
        for source, digest in zip(sources, hashes, strict=True)
    ]
    count = 1 + len(planned.tuned)
    tuned, statistics = tuple(parents[1:count]), tuple(parents[count:])
    sweep = Sweep(parents[0], tuned, tuple(alphas), tuple(fixed), options, statistics)
    names = [public_name(source.label, source.config) for source in sources[:count]]
    points = ", ".join(number_text(alpha) for alpha in alphas)
    card = (
        "---\nlibrary_name: speechft\ntags:\n- merge\n- speechft\n---\n\n"
        f"# Sweep of {len(alphas)} encoders between {names[0]} and {', '.join(names[1:])}\n\n"
        f"{planned.method.title} at alpha = {points}:\n\n    {planned.method.formula}\n\n"
        f"This folder holds no weights: `{FILE_NAME}` says what each encoder is made of. They are "
        "made in memory when they are evaluated; `speechft merge` with one alpha writes one.\n"
    )
    with atomic_dir(out) as folder:
        write_json(folder / FILE_NAME, sweep.to_json())
        write_text(folder / "README.md", card)
        write_provenance(
            folder,
            stage="merge",
            settings=plain,
            parents=parents_record(sources, hashes),
            method=planned.method.name,
            alphas=list(alphas),
        )


def _stable_path(label: str) -> str:
    path = Path(label).expanduser()
    return str(path.resolve()) if path.exists() else label

"""Sweeps over alpha: parents and coefficients in one small file, encoders made in memory.

So is the encoder between BASE and TUNED at one alpha, without any file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechft.core.errors import CheckpointError
from speechft.core.files import read_json, write_json, write_text
from speechft.core.paths import home_expanded
from speechft.encoders.identity import SWEEP_FILE, locate
from speechft.merging.alpha import number_text, parse_alpha
from speechft.merging.engine import Plan, Recipe, plan, stream
from speechft.merging.output import public_name
from speechft.merging.sources import Source, open_encoder
from speechft.merging.tensor_matching import (
    canonical,
    common_context,
    refuse_other_meaning,
    warn_of_normalisation,
)

if TYPE_CHECKING:
    import torch

    from speechft.encoders import SpeechEncoder

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
        statistics: files with the data that the method needs, one per tuned encoder.
        alphas: the points, in order.
        fixed: further texts of `--alpha` (patterns) that hold at every point.
        options: fields of `Recipe` besides alpha.
    """

    base: Parent
    tuned: tuple[Parent, ...]
    statistics: tuple[Parent, ...]
    alphas: tuple[float, ...]
    fixed: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def recipe(self, alpha: float | str) -> Recipe:
        """Give how the encoder at one point is merged; a text is one of `--alpha` (a ramp)."""
        text = alpha if isinstance(alpha, str) else repr(alpha)
        return Recipe(alpha=parse_alpha([*self.fixed, text], 0.0), **self.options)


def read_sweep(folder: Path) -> Sweep:
    """Read a sweep.

    Raises:
        CheckpointError: the folder holds none, or it is broken.
    """
    try:
        values = read_json(folder / SWEEP_FILE)
        if values["kind"] != KIND:
            raise ValueError(values["kind"])
        return Sweep(
            base=Parent(**values["base"]),
            tuned=tuple(Parent(**parent) for parent in values["tuned"]),
            statistics=tuple(Parent(**parent) for parent in values["statistics"]),
            alphas=tuple(float(alpha) for alpha in values["alphas"]),
            fixed=tuple(values["fixed"]),
            options=values["options"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            "this is no sweep", where=folder / SWEEP_FILE, found=repr(error)
        ) from None


def write_sweep(
    planned: Plan,
    alphas: Sequence[float],
    fixed: Sequence[str],
    options: Mapping[str, Any],
    folder: Path,
) -> dict[str, Any]:
    """Write a sweep: no weights, only where they come from.

    Args:
        planned: the merge at any point (all points fit if one does).
        alphas: the points.
        fixed: patterns of alpha that hold at all points.
        options: the other fields of the recipe.
        folder: where it is written.

    Returns:
        What the record says of the sweep.
    """
    base, tuned, statistics = (
        tuple(Parent(_stable_path(source.label), source.sha256()) for source in sources)
        for sources in ((planned.base,), planned.tuned, planned.statistics)
    )
    sweep = Sweep(base[0], tuned, statistics, tuple(alphas), tuple(fixed), options)
    names = [public_name(one.label, one.config) for one in (planned.base, *planned.tuned)]
    points = ", ".join(map(number_text, alphas))
    card = (
        "---\nlibrary_name: speechft\ntags:\n- merge\n- speechft\n---\n\n"
        f"# Sweep of {len(alphas)} encoders between {names[0]} and {', '.join(names[1:])}\n\n"
        f"{planned.method.title} at alpha = {points}:\n\n    {planned.method.formula}\n\n"
        f"This folder holds no weights: `{SWEEP_FILE}` says what each encoder is made of. They are "
        "made in memory when they are evaluated; `speechft merge` with one alpha writes one.\n"
    )
    write_json(folder / SWEEP_FILE, {"kind": KIND, **asdict(sweep)})
    write_text(folder / "README.md", card)
    return {"method": planned.method.name, "alphas": list(alphas)}


def load_merged(
    base: str | Path, tuned: str | Path | Sequence[str | Path], alpha: float, **load: Any
) -> SpeechEncoder:
    """Load θ0 + alpha · mean_i(θ'_i − θ0), in memory and in float32.

    The values are those that `merge --dtype float32` writes: nothing is rounded to BASE's type.

    Args:
        base: ENCODER θ0, whose configuration is kept.
        tuned: ENCODER θ', or several.
        alpha: 0 gives BASE's tensors, 1 those of a single TUNED, bit for bit.
        load: passed to `speechft.load_encoder` (device, dtype).

    Raises:
        CheckpointError: an encoder cannot be read.
        IncompatibleModelsError: they do not have the same tensors.
    """
    several = [tuned] if isinstance(tuned, str | Path) else tuned
    parents = tuple(Parent(str(name)) for name in several)
    options = {"dtype": "float32"}
    sweep = OpenSweep(Sweep(Parent(str(base)), parents, (), (alpha,), options=options))
    sweep.warn_of_normalisation()
    return _load(sweep, alpha, load)


def load_point(folder: Path | str, alpha: float, **load: Any) -> SpeechEncoder:
    """Load one encoder of a sweep, in memory.

    Args:
        folder: the sweep.
        alpha: any value, also one between the sweep's points.
        load: passed to `speechft.load_encoder` (device, dtype).

    Raises:
        CheckpointError: the folder holds no sweep, or a parent is gone or has changed.
    """
    return _load(OpenSweep(folder), alpha, load)


class OpenSweep:
    """A sweep whose parents are open, so that its encoders can be made in memory.

    Args:
        sweep: a folder as `speechft merge --alpha 0:1:0.05` wrote it, or what it says.

    Raises:
        CheckpointError: the folder holds no sweep, or a parent is gone or has changed.
    """

    def __init__(self, sweep: Sweep | Path | str) -> None:
        self.sweep = sweep if isinstance(sweep, Sweep) else read_sweep(Path(sweep))
        self.alphas = self.sweep.alphas
        self._sources: list[Source] = []
        self._count = 1 + len(self.sweep.tuned)
        try:
            for parent in (self.sweep.base, *self.sweep.tuned, *self.sweep.statistics):
                self._sources.append(self._open(parent))
        except BaseException:
            self.close()
            raise

    def names(self) -> list[str]:
        """Give a name for each point ("alpha-0.25")."""
        return [f"alpha-{number_text(alpha)}" for alpha in self.alphas]

    def plan(self, alpha: float | str) -> Plan:
        """Give what is merged at one alpha.

        Raises:
            IncompatibleModelsError: the encoders do not have the same tensors, or make other hidden
                states of them.
        """
        base, *tuned = self._sources[: self._count]
        planned = plan(base, tuned, self.sweep.recipe(alpha), self._sources[self._count :])
        refuse_other_meaning(base, tuned)
        return planned

    def warn_of_normalisation(self) -> None:
        """Say where its encoders are given waveforms differently."""
        base, *tuned = self._sources[: self._count]
        warn_of_normalisation(base, tuned)

    def state(self, alpha: float | str) -> Iterator[tuple[str, torch.Tensor]]:
        """Give (canonical name without prefix, tensor) of the encoder at one alpha.

        The values are those that `speechft merge` writes at this alpha.
        """
        import torch

        planned = self.plan(alpha)
        entries = zip(planned.match.entries, stream(planned), strict=True)
        for entry, (info, stored) in entries:
            tensor = torch.from_numpy(stored)
            if info.dtype == "BF16":
                tensor = tensor.view(torch.bfloat16)
            yield entry.name, tensor

    def encoders(self, **load: Any) -> Iterator[tuple[str, float, SpeechEncoder]]:
        """Give (name, alpha, encoder) one after the other; always the same object, refilled.

        Args:
            load: passed to `speechft.load_encoder` (device, dtype).
        """
        encoder = self.load_base(**load)
        for name, alpha in zip(self.names(), self.alphas, strict=True):
            self.fill(encoder.model, alpha)
            yield name, alpha, encoder

    def load_base(self, **load: Any) -> SpeechEncoder:
        """Load BASE, to be filled; arguments as of `speechft.load_encoder`."""
        from speechft.encoders import load_encoder

        base, *tuned = self._sources[: self._count]
        context = common_context(base, tuned)
        return load_encoder(locate(self.sweep.base.path), **{"context": context, **load})

    def fill(self, model: torch.nn.Module, alpha: float | str) -> None:
        """Put the weights at one alpha into BASE's model.

        Raises:
            CheckpointError: the model has tensors that the sweep does not give.
        """
        import torch

        places = {canonical(name): tensor for name, tensor in model.state_dict().items()}
        filled = set()
        with torch.no_grad():
            for name, tensor in self.state(alpha):
                if name in places:
                    places[name].copy_(tensor)
                    filled.add(name)
        lacking = sorted(set(places) - filled)
        if lacking:
            raise CheckpointError(
                "the sweep does not fill the encoder", found=f"without {', '.join(lacking[:8])}"
            )

    def close(self) -> None:
        """Close the parents."""
        for source in self._sources:
            source.close()

    def _open(self, parent: Parent) -> Source:
        base = None if parent == self.sweep.base else self.sweep.base.path
        source = open_encoder(parent.path, base=base)
        if parent.sha256 is not None and source.sha256() != parent.sha256:
            source.close()
            raise CheckpointError(
                "a parent of the sweep has changed since it was written",
                where=parent.path,
                expected=parent.sha256,
                hint="write the sweep again",
            )
        return source


def _load(sweep: OpenSweep, alpha: float, load: dict[str, Any]) -> SpeechEncoder:
    with closing(sweep):
        sweep.plan(alpha)  # what cannot be merged is said before anything is loaded
        encoder = sweep.load_base(**load)
        sweep.fill(encoder.model, alpha)
        return encoder


def _stable_path(label: str) -> str:
    path = home_expanded(label)
    return str(path.resolve()) if path.exists() else label

"""Sweeps over alpha: written as parents and coefficients, made into encoders when needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechft.core.errors import CheckpointError
from speechft.core.files import atomic_dir, write_json, write_text
from speechft.core.provenance import write_provenance
from speechft.merging.card import public_name
from speechft.merging.engine import stream
from speechft.merging.inputs import find, open_encoder
from speechft.merging.names import canonical
from speechft.merging.output import parents_record
from speechft.merging.planning import Plan, plan
from speechft.merging.sources import Source
from speechft.merging.sweep import FILE_NAME, Parent, Sweep, point_name, read_sweep

if TYPE_CHECKING:
    import torch

    from speechft.encoders import SpeechEncoder


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
    points = ", ".join(f"{alpha:g}" for alpha in alphas)
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


def load_point(folder: Path | str, alpha: float, **load: Any) -> SpeechEncoder:
    """Load one encoder of a sweep, in memory.

    Args:
        folder: the sweep.
        alpha: any value, also one between the sweep's points.
        load: passed to `speechft.load_encoder` (device, dtype).
    """
    from speechft.encoders import load_encoder

    sweep = OpenSweep(folder)
    try:
        encoder = load_encoder(find(sweep.sweep.base.path), **load)
        sweep.fill(encoder.model, alpha)
    finally:
        sweep.close()
    return encoder


class OpenSweep:
    """A sweep whose parents are open, so that its encoders can be made in memory.

    Args:
        folder: as `speechft merge --alpha 0:1:0.05` wrote it.
        check: compare the parents' hashes with those when the sweep was written.

    Raises:
        CheckpointError: the folder holds no sweep, or a parent is gone or has changed.
    """

    def __init__(self, folder: Path | str, *, check: bool = True) -> None:
        self.sweep = read_sweep(Path(folder))
        self.alphas = self.sweep.alphas
        parents = [self.sweep.base, *self.sweep.tuned, *self.sweep.statistics]
        self._sources = [self._open(parent) for parent in parents]
        for source, parent in zip(self._sources, parents, strict=True):
            if check and source.sha256() != parent.sha256:
                raise CheckpointError(
                    "a parent of the sweep has changed since it was written",
                    where=parent.path,
                    expected=parent.sha256,
                    hint="write the sweep again",
                )

    def names(self) -> list[str]:
        """Give a name for each point ("alpha-0.25")."""
        return [point_name(alpha) for alpha in self.alphas]

    def plan(self, alpha: float) -> Plan:
        """Plan the merge at one alpha."""
        count = 1 + len(self.sweep.tuned)
        tuned, statistics = self._sources[1:count], self._sources[count:]
        return plan(self._sources[0], tuned, self.sweep.recipe(alpha), statistics)

    def state(self, alpha: float) -> Iterator[tuple[str, torch.Tensor]]:
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
        from speechft.encoders import load_encoder

        encoder = load_encoder(find(self.sweep.base.path), **load)
        for alpha in self.alphas:
            self.fill(encoder.model, alpha)
            yield point_name(alpha), alpha, encoder

    def fill(self, model: torch.nn.Module, alpha: float) -> None:
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
        return open_encoder(parent.path, base=base)


def _stable_path(label: str) -> str:
    path = Path(label).expanduser()
    return str(path.resolve()) if path.exists() else label

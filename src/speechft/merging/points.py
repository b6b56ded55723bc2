"""Merged encoders in memory: the points of a sweep, or of BASE, TUNED and one alpha."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechft.core.errors import CheckpointError
from speechft.merging.engine import stream
from speechft.merging.inputs import find, open_encoder
from speechft.merging.meaning import refuse_other_meaning
from speechft.merging.names import canonical
from speechft.merging.planning import Plan, plan
from speechft.merging.sources import Source
from speechft.merging.sweep import Parent, Sweep, point_name, read_sweep

if TYPE_CHECKING:
    import torch

    from speechft.encoders import SpeechEncoder


def load_merged(
    base: str | Path, tuned: str | Path | Sequence[str | Path], alpha: float, **load: Any
) -> SpeechEncoder:
    """Load θ0 + alpha · mean_i(θ'_i − θ0), in memory, with the values that `merge` writes.

    Args:
        base: ENCODER θ0, whose configuration and types are kept.
        tuned: ENCODER θ', or several.
        alpha: 0 gives BASE's tensors, 1 those of a single TUNED, bit for bit.
        load: passed to `speechft.load_encoder` (device, dtype).

    Raises:
        CheckpointError: an encoder cannot be read.
        IncompatibleModelsError: they do not have the same tensors.
    """
    several = [tuned] if isinstance(tuned, str | Path) else tuned
    parents = tuple(Parent(str(name)) for name in several)
    return _load(OpenSweep(Sweep(Parent(str(base)), parents, (alpha,))), alpha, load)


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
        try:
            for parent in (self.sweep.base, *self.sweep.tuned, *self.sweep.statistics):
                self._sources.append(self._open(parent))
            refuse_other_meaning(self._sources[0], self._sources[1 : 1 + len(self.sweep.tuned)])
        except BaseException:
            self.close()
            raise

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
        encoder = self.load_base(**load)
        for alpha in self.alphas:
            self.fill(encoder.model, alpha)
            yield point_name(alpha), alpha, encoder

    def load_base(self, **load: Any) -> SpeechEncoder:
        """Load BASE, to be filled; arguments as of `speechft.load_encoder`."""
        from speechft.encoders import load_encoder

        return load_encoder(find(self.sweep.base.path), **load)

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
    try:
        encoder = sweep.load_base(**load)
        sweep.fill(encoder.model, alpha)
    finally:
        sweep.close()
    return encoder

"""All tensors that training changes, by name: weights, an optimiser's moments, averages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from speechft.training.averaging import Average
from speechft.training.pieces import is_piece, piece_of
from speechft.training.resume_state import FILES, pieces_of, way_out


class Trained:
    """Puts what training changes into a state, and takes it from one, whole or in pieces.

    A state of whole tensors holds them itself. Those of tensors in pieces lie beside it, and the
    state holds the SHA-256 of their files. Either is read whether there are pieces now or not.

    Args:
        module: that is trained.
        optimizer: over its parameters.
        order: the parameters, as an optimiser of whole ones would number them.
        averages: of the weights.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: Optimizer,
        order: Sequence[nn.Parameter],
        averages: Sequence[Average],
    ) -> None:
        self.module, self.optimizer, self.averages = module, optimizer, averages
        self._named = {name: parameter for name, parameter in module.named_parameters()}
        names = {id(parameter): name for name, parameter in self._named.items()}
        self._order = [names[id(parameter)] for parameter in order]
        self.in_pieces = any(map(is_piece, self._named.values()))

    def to_state(self, folder: Path, update: int) -> dict[str, Any]:
        """Give what a state holds; pieces are written, by all processes together.

        Args:
            folder: of the states.
            update: that was done last.
        """
        if not self.in_pieces:
            return {
                "module": self.module.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "averages": {one.name: one.values for one in self.averages},
            }
        from speechft.training.sharded_state import save_pieces

        tensors = {f"module|{name}": tensor for name, tensor in self.module.state_dict().items()}
        for name, parameter in self._named.items():
            moments = self.optimizer.state.get(parameter, {})
            tensors |= {f"moments|{name}|{key}": value for key, value in moments.items()}
        for one in self.averages:
            tensors |= {f"average|{one.name}|{name}": t for name, t in one.values.items()}
        return {FILES: save_pieces(pieces_of(folder, update), tensors)}

    def take_weights(self, state: Mapping[str, Any], folder: Path, update: int) -> dict[str, Any]:
        """Take over the weights of a state; give it as one of tensors that are here.

        Raises:
            CheckpointError: the files beside it have changed.
            RuntimeError: it is of another module.
        """
        found = self._read(state, folder, update) if FILES in state else dict(state)
        likes = self.module.state_dict()
        weights = found["module"].items()
        self.module.load_state_dict(
            {n: piece_of(t, likes[n]) if n in likes else t for n, t in weights}
        )
        return found

    def take_moments(self, found: Mapping[str, Any]) -> None:
        """Take over the optimiser's moments of what `take_weights` gave."""
        if "optimizer" in found and not self.in_pieces:
            own, state = self.optimizer.state_dict(), found["optimizer"]["state"]
            self.optimizer.load_state_dict({**own, "state": state})
            return
        if "optimizer" in found:
            states = found["optimizer"]["state"]
            moments = {name: states[n] for n, name in enumerate(self._order) if n in states}
        else:
            moments = found["moments"]
        for name, values in moments.items():
            weight = self._named[name]
            self.optimizer.state[weight] = {
                key: (piece_of(one, weight) if one.shape == weight.shape else one).to(weight.device)
                for key, one in values.items()
            }

    def take_averages(self, found: Mapping[str, Any]) -> None:
        """Take over the averages of what `take_weights` gave."""
        for one in self.averages:
            values = found["averages"].get(one.name, {})
            one.values = {name: piece_of(t, self._named[name]) for name, t in values.items()}

    def _read(self, state: Mapping[str, Any], folder: Path, update: int) -> dict[str, Any]:
        from speechft.training.sharded_state import load_pieces

        likes: dict[str, Tensor] = {f"module|{n}": t for n, t in self.module.state_dict().items()}
        for name, parameter in self._named.items():
            likes[f"moments|{name}"] = parameter
            likes |= {f"average|{one.name}|{name}": parameter for one in self.averages}
        tensors = load_pieces(pieces_of(folder, update), state[FILES], likes, way_out(folder))
        found: dict[str, Any] = {**state, "module": {}, "moments": {}, "averages": {}}
        for long, tensor in tensors.items():
            kind, name, *rest = long.split("|")
            if kind == "module":
                found["module"][name] = tensor
            elif kind == "moments":
                found["moments"].setdefault(name, {})[rest[0]] = tensor
            else:
                found["averages"].setdefault(name, {})[rest[0]] = tensor
        return found

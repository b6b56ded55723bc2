"""`speechft merge --methods`."""

from __future__ import annotations

from speechft.cli.options import AtOnce


def list_methods() -> None:
    """Print every method with its formula, its parameters and its source."""
    from speechft.merging.methods import METHODS

    for method in sorted(METHODS.values(), key=lambda one: bool(one.statistics)):
        print(f"{method.name}: {method.help}\n    {method.formula}")
        for parameter in method.parameters.values():
            print(f"    {parameter.name} = {parameter.default}")
        print(f"    {method.paper}\n")


AT_ONCE = {"--methods": AtOnce("List all methods.", list_methods)}

"""What is in the data of a run: hashes of labels and audio, so that a change is noticed."""

from __future__ import annotations

from collections.abc import Iterable

from speechft.core.errors import SpeechFTError
from speechft.core.files import hash_json
from speechft.core.logging import get_logger
from speechft.core.settings import Settings
from speechft.data.identity import split_ids
from speechft.data.sources import load_data

log = get_logger(__name__)


class Contents:
    """Hashes of ids, times, labels and audio of DATA, each read once.

    Synthetic speech is left out, as its name says what is in it, and so is what cannot be read:
    whoever needs it says why.
    """

    def __init__(self) -> None:
        self._known: dict[str, str | None] = {}

    def of(self, specs: Iterable[str]) -> dict[str, str]:
        """Give DATA → hash."""
        found = {spec: self._hash(spec) for spec in sorted(set(specs))}
        return {spec: value for spec, value in found.items() if value is not None}

    def _hash(self, spec: str) -> str | None:
        if spec.partition(":")[0] == "synthetic":
            return None
        if spec not in self._known:
            try:
                splits = {name: list(cuts) for name, cuts in load_data(spec).items()}
                self._known[spec] = hash_json(split_ids(splits))
            except (SpeechFTError, OSError) as error:
                log.debug("the content of %s is not known: %s", spec, error)
                self._known[spec] = None
        return self._known[spec]


def data_of(settings: Settings) -> set[str]:
    """Give every DATA that a stage's settings name."""
    fields = [n for n in type(settings).model_fields if n == "data" or n.endswith("_data")]
    given = [getattr(settings, name) for name in fields]
    values = [v for g in given for v in (g.values() if isinstance(g, dict) else [g])]
    return {value for value in values if isinstance(value, str)}

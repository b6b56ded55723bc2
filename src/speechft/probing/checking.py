"""What can be known before an encoder reads anything: whether labels serve, and how much room."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from speechft.core.errors import SettingsError, SpeechFTError
from speechft.data.audio import heard_seconds
from speechft.encoders import SpeechEncoder
from speechft.hidden.store import HiddenStore
from speechft.probing.data import DataSet
from speechft.probing.protocols import PROTOCOLS
from speechft.probing.settings import EvaluateSettings
from speechft.tasks import TASKS, ProtocolName


class Labels:
    """Looks at the labels of each task once, whatever the number of encoders and seeds.

    Args:
        protocol: "clean" or "s3prl".
    """

    def __init__(self, protocol: ProtocolName) -> None:
        self.protocol = protocol
        self._found: dict[tuple[str, str], SpeechFTError | None] = {}

    def find_error(self, data: DataSet, task: str) -> SpeechFTError | None:
        """Give what is wrong with a task's labels in any split; None where nothing is."""
        key = (data.spec, task)
        if key not in self._found:
            try:
                self._read(data, task)
                self._found[key] = None
            except SpeechFTError as error:
                self._found[key] = error
        return self._found[key]

    def _read(self, data: DataSet, task: str) -> None:
        names = data.names[task]
        for n in range(0, len(names), 3):
            parts = [data.splits[name] for name in names[n : n + 3]]
            own = TASKS[task].from_cuts(parts[0], self.protocol)
            for cut in [cut for part in (parts if own.trains else parts[1:]) for cut in part]:
                own.reference(cut)
                if own.trains:
                    own.target(cut)


def make_store(settings: EvaluateSettings) -> HiddenStore:
    """Make the store that an evaluation's settings describe."""
    return HiddenStore(
        dtype=settings.frame_dtype,
        limit_gb=settings.store_gb,
        batch_seconds=settings.batch_seconds,
        folder=settings.store,
        keep=settings.keep,
    )


def framed_splits(data: DataSet, tasks: Iterable[str]) -> dict[str, bool]:
    """Give the splits that tasks read, and whether they need frames."""
    framed: dict[str, bool] = {}
    for task in tasks:
        for name in data.names[task]:
            framed[name] = framed.get(name, False) or not TASKS[task].pooled
    return framed


def find_refused(
    store: HiddenStore,
    encoder: SpeechEncoder,
    wanted: Sequence[tuple[DataSet, Mapping[str, bool]]],
    settings: EvaluateSettings,
) -> dict[str, SettingsError]:
    """Say how much room the hidden states of all data need; give the DATA that have none, and why.

    Args:
        store: where states are kept.
        encoder: the encoder.
        wanted: each data set, and its splits that are read: split → whether frames are needed.
        settings: of the evaluation.
    """
    protocol = PROTOCOLS[settings.protocol]
    error = protocol.find_error(encoder)
    if error is not None:
        return {data.spec: error for data, _ in wanted}
    names = settings.data_names()
    needs: dict[str, tuple[int, float]] = {}
    specs: dict[str, str] = {}
    for data, framed in wanted:
        name = names[next(iter(data.names))]
        label = name if name not in needs else data.spec
        specs[label] = data.spec
        needs[label] = _need(data, framed, protocol.means_per_utterance)
    return {specs[name]: error for name, error in store.check_sizes(encoder, needs).items()}


def _need(data: DataSet, framed: Mapping[str, bool], means: int) -> tuple[int, float]:
    """Give time means, and seconds with frames; each audio counts once."""
    seconds: dict[str, float] = {}
    for name, frames in framed.items():
        for cut, key in zip(data.splits[name], data.audio[name], strict=True):
            seconds[key] = heard_seconds(cut) if frames else seconds.get(key, 0.0)
    return len(seconds) * means, sum(seconds.values())

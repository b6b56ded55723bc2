"""Query by example: every hidden state is searched, dev chooses one, nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lhotse.cut import Cut
from torch import Tensor

from speechft.hidden.states import SplitStates, States
from speechft.metrics.measures import better
from speechft.probing.cells import TaskResult, chosen_on
from speechft.probing.protocol import protocol_of
from speechft.tasks import Task
from speechft.tasks.dtw import normalise, search, z_norm


def run_search(
    task: Task, cuts: Sequence[Sequence[Cut]], states: Sequence[SplitStates], *, device: str
) -> TaskResult:
    """Search the documents for all queries, one hidden state at a time.

    Args:
        task: made from the documents.
        cuts: documents, dev queries, eval queries.
        states: of the same.
        device: where distances are computed.
    """
    protocol = protocol_of(task.protocol)
    views = [protocol.view(task, own, s, alone=True) for own, s in zip(cuts, states, strict=True)]
    references = [[task.reference(cut) for cut in own] for own in cuts[1:]]
    readers = [_Reader(view, device) for view in views]
    metric = task.leading
    grid: list[dict[str, Any]] = []
    chosen = 0
    for state in range(views[0].num_states):
        found = _search(readers[0].state(state), readers[1].state(state))
        grid.append({"state": state, metric: task.score(found, references[0])[metric]})
        if better(metric, grid[state][metric], grid[chosen][metric]):
            chosen = state
    value = grid[chosen][metric]
    answers = _search(readers[0].state(chosen), readers[2].state(chosen))
    return TaskResult(
        scores=task.score(answers, references[1]),
        items=len(cuts[2]),
        grid=[{**row, "chosen": row["state"] == chosen} for row in grid],
        dev={metric: value},
        about={
            "learning_rate": None,
            "step": None,
            "selection": f"{chosen_on(cuts)} {metric}",
            "state": chosen,
            "documents": len(cuts[0]),
        },
        layer_weights=[float(row["state"] == chosen) for row in grid],
        rows=task.rows(cuts[2], references[1], answers),
    )


def _search(documents: list[Tensor], queries: list[Tensor]) -> list[Any]:
    """Give every query's normalised scores of all documents."""
    asked, searched = normalise([queries, documents])
    return list(z_norm(search(asked, searched)).numpy())


class _Reader:
    """Gives one hidden state of all utterances of a split.

    Where frames are kept, only that state is read; where they are not, all are encoded once.
    """

    def __init__(self, states: States, device: str) -> None:
        self.states, self.device = states, device
        self._all = states.views() or [self._encode(i) for i in range(len(states.lengths))]

    def state(self, index: int) -> list[Tensor]:
        """Give frames (T, D) of each utterance."""
        return [frames[index].to(self.device).float() for frames in self._all]

    def _encode(self, item: int) -> Tensor:
        frames, lengths = self.states.batch([item])
        length = self.states.lengths[item] if lengths is None else int(lengths[0])
        return frames[:, 0, :length]

"""What a protocol decides: plan, hidden states, what probes see of them, how dev is scored."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Final, cast

from lhotse.cut import Cut
from torch import Tensor

from speechft.core.errors import SettingsError
from speechft.encoders import SpeechEncoder
from speechft.hidden.encoding import Passes, Utterances
from speechft.hidden.states import SplitStates, States
from speechft.hidden.store import HiddenStore, Request
from speechft.tasks import ProtocolName, Size, Task

CHECKS: Final = 10


class Protocol:
    """The protocol "clean": exact lengths, every choice on dev.

    Attributes:
        name: as in settings.
        means_per_utterance: time means that are kept of each utterance.
    """

    name: ClassVar[ProtocolName] = "clean"
    means_per_utterance: ClassVar[int] = 1

    def find_error(self, encoder: SpeechEncoder) -> SettingsError | None:  # noqa: ARG002
        """Give why an encoder cannot be probed so, if it cannot."""
        return None

    def plan(self, kind: type[Task], size: Size) -> dict[str, Any]:
        """Give the fields of a task's `ProbePlan` that the protocol decides."""
        plan = kind.plans[size]
        return {
            "batch_size": plan.batch_size,
            "checks": CHECKS,
            "decay": plan.decay,
            "scheme": kind.scheme,
        }

    def open_states(
        self,
        store: HiddenStore,
        encoder: SpeechEncoder,
        utterances: Utterances,
        requests: Mapping[str, Request],
        pooled: Collection[str],  # noqa: ARG002
        encoder_id: str,
        passes: Passes,
        also_framed: Collection[int],
    ) -> dict[str, SplitStates]:
        """Give hidden states as `HiddenStore.open`.

        Args:
            store: where they are kept.
            encoder: frozen, in evaluation mode.
            utterances: that may be asked for.
            requests: split → what it needs.
            pooled: the splits whose time means are needed.
            encoder_id: identity of the encoder.
            passes: counts what the encoder reads.
            also_framed: utterances whose frames other processes need.
        """
        return store.open(encoder, utterances, requests, encoder_id, passes, also_framed)

    def view(self, task: Task, cuts: Sequence[Cut], states: SplitStates, *, alone: bool) -> States:  # noqa: ARG002
        """Give the states of a split as a task's probe sees them.

        Args:
            task: says whether it wants time means or frames.
            cuts: of the split.
            states: as `open_states` gives them.
            alone: every utterance is a batch of its own.
        """
        pooled = task.pooled or states.frames is None
        return states.pooled if pooled else cast(States, states.frames)

    def draw_dev(self, task: Task, targets: Sequence[Tensor]) -> list[int] | None:  # noqa: ARG002
        """Give the dev utterances that are scored, some perhaps twice; None for all."""
        return None

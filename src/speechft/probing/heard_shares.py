"""How much of a test split an encoder has heard with labels, as a result's record says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from speechft.core.heard import UNKNOWN

SHARES = ("heard_items", "heard_speakers")
"""In a record: shares of the test split, from 0 to 1, or `unknown`."""
DEV_SHARES = ("dev_items", "dev_speakers")
"""In a record: shares that were dev when the encoder was chosen among those of its fine-tuning."""
PROBE_SHARE = "probe_items"
"""In a record: share of the test items that the task's own training split holds, too."""
PROBE_DEV_SHARE = "probe_dev_items"
"""In a record: share of the test items that the task's own dev split holds, too."""
ALL_SHARES = (*SHARES, *DEV_SHARES, PROBE_SHARE, PROBE_DEV_SHARE)
_AS = dict.fromkeys(DEV_SHARES, " as the dev split that chose the encoder")
_AS[PROBE_SHARE] = " as training data of the probe itself"
_AS[PROBE_DEV_SHARE] = " as the dev split that chose the probe"


def leaking(shares: Mapping[str, Any]) -> list[str]:
    """Say what of a test split was heard, in words; nothing where nothing is known to be."""
    found = [(name, shares.get(name)) for name in ALL_SHARES]
    return [
        f"{100 * share:.3g} % of the test {name.rpartition('_')[2]}{_AS.get(name, '')}"
        for name, share in found
        if isinstance(share, int | float) and share > 0
    ]


def share_heard(record: Mapping[str, Any]) -> float | None:
    """Give the largest share that a record names; none where nothing is known of it."""
    found = [record.get(name, 0.0) for name in ALL_SHARES]
    numbers = [float(share) for share in found if isinstance(share, int | float)]
    return None if UNKNOWN in found and not any(numbers) else max(numbers, default=0.0)


def is_dev_alone(record: Mapping[str, Any]) -> bool:
    """Tell whether nothing of a test split was trained on, and some of it was dev."""
    as_dev = (*DEV_SHARES, PROBE_DEV_SHARE)
    trained_on = {name: share for name, share in record.items() if name not in as_dev}
    return bool(share_heard(record)) and not share_heard(trained_on)

"""Commands that `accelerate launch` or `torchrun` starts several times: only training takes all."""

from __future__ import annotations

import os
from typing import Final

from speechft.core.logging import get_logger

TOGETHER: Final = ("finetune", "pretrain")
_OF_THE_GROUP: Final = ("WORLD_SIZE", "RANK", "LOCAL_RANK")
log = get_logger(__name__)


def is_done_by_another(command: str) -> bool:
    """Say whether the first of the processes does it all; that one then knows of no others."""
    several, rank = os.environ.get("WORLD_SIZE", "1"), os.environ.get("RANK", "0")
    if several == "1" or command in TOGETHER:
        return False
    if rank != "0":
        return True
    for name in _OF_THE_GROUP:
        os.environ.pop(name, None)
    log.warning("%s: one of the %s processes that were started does it all", command, several)
    return False

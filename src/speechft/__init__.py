"""Fine-tune speech encoders without forgetting.

The verbs of the command line are functions here; each is imported when it is first used:

    import speechft

    encoder = speechft.load_encoder("tiny-hubert")
    speechft.finetune(encoder="tiny-hubert", task="sid", data="synthetic", steps=600, out="sid")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from speechft._version import __version__
from speechft.core.registry import lazily

if TYPE_CHECKING:
    from speechft.api import (
        analyze,
        convert,
        embed,
        evaluate,
        finetune,
        inspect,
        leaderboard,
        merge,
        predict,
        pretrain,
        push,
        report,
        run,
        study,
    )
    from speechft.encoders import load_encoder
    from speechft.metrics.superb import superb_score
    from speechft.training.trainer_callback import StableFineTuning

__all__ = [
    "StableFineTuning",
    "__version__",
    "analyze",
    "convert",
    "embed",
    "evaluate",
    "finetune",
    "inspect",
    "leaderboard",
    "load_encoder",
    "merge",
    "predict",
    "pretrain",
    "push",
    "report",
    "run",
    "study",
    "superb_score",
]

__getattr__ = lazily(
    __name__,
    {
        "api": "analyze convert embed evaluate finetune inspect leaderboard merge predict pretrain "
        "push report run study",
        "encoders": "load_encoder",
        "metrics.superb": "superb_score",
        "training.trainer_callback": "StableFineTuning",
    },
)


def __dir__() -> list[str]:
    return sorted(__all__)

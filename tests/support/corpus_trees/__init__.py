"""Synthetic speech in the exact trees of known corpora: one maker per corpus.

`MAKERS[name](root, speech)` lays the tree out below `root` and gives what a user would write as
ROOT in `NAME:ROOT`.
"""

from __future__ import annotations

from corpus_trees import (
    aishell3,
    common_voice,
    crema_d,
    fluent_speech_commands,
    iemocap,
    libri2mix,
    librispeech,
    quesst2014,
    snips,
    speech_commands,
    tedlium3,
    timit,
    voxceleb1,
)
from corpus_trees.speech import Speech

MAKERS = {
    module.__name__.rpartition(".")[2]: module.lay_out
    for module in (
        aishell3,
        common_voice,
        crema_d,
        fluent_speech_commands,
        iemocap,
        libri2mix,
        librispeech,
        quesst2014,
        snips,
        speech_commands,
        tedlium3,
        timit,
        voxceleb1,
    )
}

__all__ = ["MAKERS", "Speech"]

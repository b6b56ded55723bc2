"""Synthetic speech in the exact trees of known corpora: one maker per corpus.

`MAKERS[name](root, speech)` lays the tree out below `root` and gives what a user would write as
ROOT in `NAME:ROOT`.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from corpus_trees.speech import Speech

MAKERS = {
    name: import_module(f"corpus_trees.{name}").lay_out
    for _, name, _ in pkgutil.iter_modules(__path__)
    if name != "speech"
}

__all__ = ["MAKERS", "Speech"]

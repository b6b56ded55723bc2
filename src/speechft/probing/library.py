"""The utterances of a data set as a library of hidden states reads them."""

from __future__ import annotations

from lhotse.cut import Cut

from speechft.encoders import SpeechEncoder
from speechft.hidden.audio import AudioSource
from speechft.hidden.kept_features import KeptFeatures
from speechft.hidden.library import Library
from speechft.probing.data import DataSet


def library_of(
    encoder: SpeechEncoder, data: DataSet, kept: KeptFeatures | None
) -> tuple[Library, dict[str, list[int]]]:
    """Give all utterances of a data set, each audio once, and every split as indices.

    Args:
        encoder: reads them.
        data: its splits.
        kept: as in `AudioSource`.
    """
    index: dict[str, int] = {}
    cuts: list[Cut] = []
    groups: list[list[int]] = []
    for name, members in data.splits.items():
        group: list[int] = []
        for cut, key in zip(members, data.audio[name], strict=True):
            if key not in index:
                index[key] = len(cuts)
                group.append(len(cuts))
                cuts.append(cut)
        groups.append(group)
    items = {name: [index[key] for key in keys] for name, keys in data.audio.items()}
    return Library(AudioSource(encoder, cuts, list(index), kept), list(index), groups), items

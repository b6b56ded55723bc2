"""A CNN front end that another encoder has learned, for an encoder that begins anew."""

from __future__ import annotations

import torch

from speechft.core.errors import SettingsError
from speechft.encoders import SpeechEncoder


def take_front_end(encoder: SpeechEncoder, source: SpeechEncoder) -> None:
    """Copy the CNN front end of `source` into `encoder`, of whichever family it is.

    Raises:
        SettingsError: the two have no front end of the same layers and sizes.
    """
    own, other = encoder.front_end_parameters(), source.front_end_parameters()
    shapes, found = ({n: tuple(p.shape) for n, p in x.items()} for x in (own, other))
    if not own or shapes != found:
        differing = [n for n in {**shapes, **found} if shapes.get(n) != found.get(n)]
        first = differing[0] if differing else "no parameter"
        raise SettingsError(
            "the CNN front end of that encoder does not fit",
            where="front_end",
            expected=f"{len(shapes)} tensors; {first} {shapes.get(first)}",
            found=f"{len(found)} tensors; {first} {found.get(first)}",
            hint="give both the same conv_dim, conv_kernel, conv_bias and feat_extract_norm",
        )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(other[name])

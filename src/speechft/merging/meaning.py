"""Encoders whose tensors fit but mean something else: their configurations tell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from speechft.core.errors import IncompatibleModelsError
from speechft.core.logging import get_logger
from speechft.encoders.identity import computing
from speechft.merging.sources import Source

log = get_logger(__name__)

#: Fields that change no hidden state of a trained encoder: heads, losses, masks, how it is trained
#: and how text is made. Sizes are left out, too: they show in the tensors.
_OF_NO_WEIGHT: Final = re.compile(
    r".*(drop|mask|token|label|loss|ctc|codevector|negatives|contrastive|gradient|init|vocab|tdnn"
    r"|xvector|classifier|_proj_size|weighted_layer_sum|problem|finetun|spec_augment|decoder_ids).*"
    r"|model_type|use_cache|output_(attentions|hidden_states)|return_dict|torchscript|tie_.*|is_.*"
    r"|chunk_size_feed_forward|pruned_heads|median_filter_width|add_cross_attention|cross_attention_hidden_size"
    r"|max_(source|target|length).*|auto_map|_.*|speechft.*"
)
#: What a field means where a configuration lacks it (transformers' defaults).
_DEFAULTS: Final[Mapping[str, Any]] = {
    "add_adapter": False,
    "conv_pos_batch_norm": False,
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "do_stable_layer_norm": False,
    "feat_extract_activation": "gelu",
    "feat_extract_norm": "group",
    "feat_proj_layer_norm": True,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "num_attention_heads": 12,
    "num_conv_pos_embedding_groups": 16,
}


def refuse_other_meaning(base: Source, tuned: Sequence[Source]) -> None:
    """Refuse a TUNED whose configuration makes other hidden states of the same tensors.

    A TUNED of another family whose settings agree is merged with a warning.

    Raises:
        IncompatibleModelsError: names every such field with both values.
    """
    for one in tuned:
        if base.config is None or one.config is None:
            continue
        fields = differing_fields(base.config, one.config)
        if fields:
            raise IncompatibleModelsError(
                "the tensors fit, but these encoders compute something else with them",
                where=f"{one.label}: config.json",
                expected=", ".join(f"{name} {a}" for name, (a, _) in fields.items()),
                found=", ".join(f"{name} {b}" for name, (_, b) in fields.items()),
                hint="merge a TUNED that was fine-tuned from this BASE",
            )
        families = base.config.get("model_type"), one.config.get("model_type")
        if None not in families and families[0] != families[1]:
            log.warning(
                "BASE is a %s, %s a %s: their difference is no task vector of fine-tuning",
                *(families[0], one.label, families[1]),
            )


def differing_fields(
    base: Mapping[str, Any], tuned: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """Give the fields that change a hidden state and differ: name → (BASE's, TUNED's value).

    A field that one configuration lacks has its default there; without a known default it is not
    compared, since library versions write different ones.
    """
    ours, theirs = ({**_DEFAULTS, **computing(config)} for config in (base, tuned))
    named = [n for n in {**base, **tuned} if not _OF_NO_WEIGHT.fullmatch(n)]
    return {
        name: (ours[name], theirs[name])
        for name in named
        if name in ours and name in theirs and _plain(ours[name]) != _plain(theirs[name])
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

"""How files with fairseq's tensor names hold a family: names, settings, parts of pre-training.

Such files are fairseq's own, S3PRL's, WavLM's and DeCoAR 2.0's. Rows of names and settings go both
ways, fairseq on the left and transformers on the right. In names `{l}` is a layer's number, `{i}` a
convolution's, `{p}` weight or bias, `{x}` one of q, k, v, out. Convolutions are described by text,
such as `[(512,10,5)] + [(512,3,2)] * 4`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Final

from torch import Tensor

from speechft.core.errors import CheckpointError

Name = tuple[str, str]
_HOLES = {
    "l": r"(?P<l>\d+)",
    "i": r"(?P<i>\d+)",
    "p": r"(?P<p>weight|bias)",
    "x": r"(?P<x>[qkv]|out)",
}
Setting = tuple[str, str, Any]
"""fairseq's name, transformers' name, fairseq's default."""

DEFAULT_CONVOLUTIONS: Final = "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2"
_POSITIONS = "encoder.pos_conv_embed.conv"
POSITION_NAMES: Final[tuple[Name, ...]] = (
    ("encoder.pos_conv.0.weight_g", f"{_POSITIONS}.parametrizations.weight.original0"),
    ("encoder.pos_conv.0.weight_v", f"{_POSITIONS}.parametrizations.weight.original1"),
    ("encoder.pos_conv.0.bias", f"{_POSITIONS}.bias"),
)
TRANSFORMER_NAMES: Final[tuple[Name, ...]] = (
    ("encoder.layer_norm.{p}", "encoder.layer_norm.{p}"),
    ("encoder.layers.{l}.self_attn.{x}_proj.{p}", "encoder.layers.{l}.attention.{x}_proj.{p}"),
    ("encoder.layers.{l}.self_attn_layer_norm.{p}", "encoder.layers.{l}.layer_norm.{p}"),
    ("encoder.layers.{l}.fc1.{p}", "encoder.layers.{l}.feed_forward.intermediate_dense.{p}"),
    ("encoder.layers.{l}.fc2.{p}", "encoder.layers.{l}.feed_forward.output_dense.{p}"),
    ("encoder.layers.{l}.final_layer_norm.{p}", "encoder.layers.{l}.final_layer_norm.{p}"),
)
WAVEFORM_NAMES: Final[tuple[Name, ...]] = (
    ("mask_emb", "masked_spec_embed"),
    ("feature_extractor.conv_layers.{i}.0.{p}", "feature_extractor.conv_layers.{i}.conv.{p}"),
    ("layer_norm.{p}", "feature_projection.layer_norm.{p}"),
    ("post_extract_proj.{p}", "feature_projection.projection.{p}"),
)
_NORM = "feature_extractor.conv_layers.{i}.layer_norm.{p}"
GROUP_NORM_NAMES: Final[Name] = ("feature_extractor.conv_layers.{i}.2.{p}", _NORM)
LAYER_NORM_NAMES: Final[Name] = ("feature_extractor.conv_layers.{i}.2.1.{p}", _NORM)

TRANSFORMER_SETTINGS: Final[tuple[Setting, ...]] = (
    ("encoder_layers", "num_hidden_layers", 12),
    ("encoder_embed_dim", "hidden_size", 768),
    ("encoder_ffn_embed_dim", "intermediate_size", 3072),
    ("encoder_attention_heads", "num_attention_heads", 12),
    ("activation_fn", "hidden_act", "gelu"),
    ("dropout", "hidden_dropout", 0.1),
    ("attention_dropout", "attention_dropout", 0.1),
    ("activation_dropout", "activation_dropout", 0.0),
    ("dropout_input", "feat_proj_dropout", 0.0),
    ("conv_pos_groups", "num_conv_pos_embedding_groups", 16),
)
POSITION_SETTINGS: Final[tuple[Setting, ...]] = (("conv_pos", "num_conv_pos_embeddings", 128),)
WAVEFORM_SETTINGS: Final[tuple[Setting, ...]] = (
    ("conv_bias", "conv_bias", False),
    ("mask_prob", "mask_time_prob", 0.65),
    ("mask_length", "mask_time_length", 10),
    ("mask_channel_prob", "mask_feature_prob", 0.0),
    ("mask_channel_length", "mask_feature_length", 10),
)


class FairseqLayout:
    """A transformer behind a projection and a positional convolution; families change what differs.

    Class attributes:
        kind: fairseq's name of the model.
        task: fairseq's name of the task that it was pre-trained on.
        names: of tensors, both ways; `all_names` may add some.
        settings: both ways.
        constants: settings that transformers' configuration does not hold, as they were published.
        supported: settings that would change the computation, and the one value that is computed.
        extras: names of parts of pre-training, carried along for the way back.
        writes_extras: whether the readers of the original files take those parts.
        has_units: label embeddings stand for units, whose dictionaries the file lists.
        has_teacher: weights of a teacher stand in a mapping of their own.
        is_flat: the original file holds settings under `cfg` and weights under `model`, no more.
    """

    kind: ClassVar[str]
    task: ClassVar[str] = "audio_pretraining"
    names: ClassVar[tuple[Name, ...]] = (
        ("post_extract_proj.{p}", "post_extract_proj.{p}"),
        *(*POSITION_NAMES, *TRANSFORMER_NAMES),
    )
    settings: ClassVar[tuple[Setting, ...]] = (*TRANSFORMER_SETTINGS, *POSITION_SETTINGS)
    constants: ClassVar[Mapping[str, Any]] = {}
    supported: ClassVar[Mapping[str, Any]] = {
        "layer_type": "transformer",
        "attn_type": "",
        "conv_pos_batch_norm": False,
        "pos_conv_depth": 1,
    }
    extras: ClassVar[re.Pattern[str]]
    writes_extras: ClassVar[bool] = True
    has_units: ClassVar[bool] = False
    has_teacher: ClassVar[bool] = False
    is_flat: ClassVar[bool] = False

    def evidence(self, weights: Mapping[str, Tensor], said: str) -> int:  # noqa: ARG002
        """Say how surely a file holds this family; the surest family is taken.

        Args:
            weights: the encoder's tensors under fairseq's names.
            said: text of the file that may name the family.

        Returns:
            5 where its modules are those of no other family, 4 and 3 where parts of its
            pre-training are there, 2 where the file's settings name it, 0 for no.
        """
        return 0

    def all_names(self, config: Any) -> tuple[Name, ...]:  # noqa: ARG002
        """Give the rows of names for a transformers configuration."""
        return self.names

    def config_values(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Give transformers' values for fairseq's settings; missing ones take fairseq's defaults.

        Raises:
            CheckpointError: a setting asks for a computation that is not supported.
        """
        for name, value in self.supported.items():
            if _plain(settings.get(name, value)) not in (value, None):
                raise CheckpointError(
                    "the checkpoint uses a variant that is not supported",
                    where=name,
                    found=settings[name],
                    expected=repr(value),
                )
        return {new: _plain(settings.get(old, default)) for old, new, default in self.settings}

    def settings_of(self, config: Any) -> dict[str, Any]:
        """Give fairseq's settings for a transformers configuration."""
        known = {old: getattr(config, new) for old, new, _ in self.settings if hasattr(config, new)}
        return {**known, "encoder_layerdrop": 0.0, **self.constants}

    def settings_from_shapes(self, weights: Mapping[str, Tensor]) -> dict[str, Any]:
        """Infer fairseq's settings from the tensors of a file that holds none.

        Strides, attention heads and the order of norms leave no trace in shapes: they are taken as
        in the published models (heads of width 64; pre-norm exactly where every convolution has a
        norm).

        Raises:
            LookupError: a tensor that would tell a size is missing.
        """
        return transformer_from_shapes(weights, weights["encoder.pos_conv.0.weight_v"])

    def settings_of_parts(self, weights: Mapping[str, Tensor]) -> dict[str, Any]:  # noqa: ARG002
        """Give settings that follow from the parts of pre-training in a file."""
        return {}

    def missing_parts(self, config: Any, weights: Mapping[str, Tensor]) -> dict[str, list[int]]:  # noqa: ARG002
        """Give names and shapes of parts that S3PRL insists on; zeros stand where they are missing.

        Args:
            config: transformers'.
            weights: all that is written, under fairseq's names.
        """
        return {}

    def s3prl_content(
        self, weights: Mapping[str, Tensor], model_cfg: dict[str, Any], task_cfg: dict[str, Any]
    ) -> dict[str, Any]:
        """Give what S3PRL's file of this family holds."""
        return {"task_cfg": task_cfg, "model_cfg": model_cfg, "model_weight": weights}


class WaveformLayout(FairseqLayout):
    """A CNN front end on the waveform before them, as HuBERT and its relatives have."""

    names: ClassVar[tuple[Name, ...]] = (*WAVEFORM_NAMES, *POSITION_NAMES, *TRANSFORMER_NAMES)
    settings: ClassVar[tuple[Setting, ...]] = (
        *FairseqLayout.settings,
        ("layer_norm_first", "do_stable_layer_norm", False),
        *WAVEFORM_SETTINGS,
    )

    def all_names(self, config: Any) -> tuple[Name, ...]:
        """Give the rows of names with those of the norms in the CNN front end."""
        group = getattr(config, "feat_extract_norm", "group") == "group"
        return (*self.names, GROUP_NORM_NAMES if group else LAYER_NORM_NAMES)

    def config_values(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Give transformers' values, those of the CNN front end among them."""
        values = super().config_values(settings)
        layers = parse_conv_spec(str(settings.get("conv_feature_layers", DEFAULT_CONVOLUTIONS)))
        columns = ("conv_dim", "conv_kernel", "conv_stride")
        values |= {n: tuple(layer[i] for layer in layers) for i, n in enumerate(columns)}
        each = _plain(settings.get("extractor_mode", "default")) == "layer_norm"
        return {**values, "feat_extract_norm": "layer" if each else "group"}

    def settings_of(self, config: Any) -> dict[str, Any]:
        """Give fairseq's settings, those of the CNN front end among them."""
        layers = zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True)
        each = getattr(config, "feat_extract_norm", "layer") == "layer"
        mode = "layer_norm" if each else "default"
        said = {"conv_feature_layers": format_conv_spec(list(layers)), "extractor_mode": mode}
        return {**super().settings_of(config), **said}

    def settings_from_shapes(self, weights: Mapping[str, Tensor]) -> dict[str, Any]:
        """Infer the settings of transformer and CNN front end."""
        return super().settings_from_shapes(weights) | waveform_from_shapes(weights)

    def missing_parts(self, config: Any, weights: Mapping[str, Tensor]) -> dict[str, list[int]]:  # noqa: ARG002
        """Give the mask embedding."""
        return {"mask_emb": [len(weights["post_extract_proj.weight"])]}


def transformer_from_shapes(weights: Mapping[str, Tensor], kernel: Tensor) -> dict[str, Any]:
    """Infer the transformer's settings; `kernel` is the first positional convolution's."""
    hidden = int(weights["post_extract_proj.weight"].shape[0])
    layers = 1 + max(int(n.split(".")[2]) for n in weights if n.startswith("encoder.layers."))
    return {
        "encoder_layers": layers,
        "encoder_embed_dim": hidden,
        "encoder_ffn_embed_dim": int(weights["encoder.layers.0.fc1.weight"].shape[0]),
        "encoder_attention_heads": hidden // 64 if hidden % 64 == 0 else 4,
        "conv_pos": int(kernel.shape[2]),
        "conv_pos_groups": hidden // int(kernel.shape[1]),
    }


def waveform_from_shapes(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Infer the CNN front end's settings."""
    stem = "feature_extractor.conv_layers"
    count = 1 + max(int(n.split(".")[2]) for n in weights if n.startswith(stem))
    shapes = [weights[f"{stem}.{i}.0.weight"].shape for i in range(count)]
    layers = [(int(s[0]), int(s[2]), 5 if i == 0 else 2) for i, s in enumerate(shapes)]
    large = f"{stem}.0.2.1.weight" in weights
    return {
        "conv_feature_layers": format_conv_spec(layers),
        "conv_bias": f"{stem}.0.0.bias" in weights,
        "extractor_mode": "layer_norm" if large else "default",
        "layer_norm_first": large,
    }


def linear_shapes(name: str, outputs: int, inputs: int) -> dict[str, list[int]]:
    """Give names and shapes of a linear layer."""
    return {f"{name}.weight": [outputs, inputs], f"{name}.bias": [outputs]}


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def translate(names: Iterable[str], rows: Sequence[Name], *, back: bool = False) -> dict[str, str]:
    """Give old name → new name for every name that a row knows.

    Args:
        names: names to translate.
        rows: pairs of names, fairseq's and transformers'.
        back: from transformers to fairseq, instead of the other way.
    """
    compiled = _compile(tuple(rows), back)
    found: dict[str, str] = {}
    for name in names:
        for pattern, template in compiled:
            match = pattern.fullmatch(name)
            if match:
                found[name] = template.format(**match.groupdict())
                break
    return found


@lru_cache
def _compile(rows: tuple[Name, ...], back: bool) -> list[tuple[re.Pattern[str], str]]:
    pairs = [(new, old) if back else (old, new) for old, new in rows]
    return [(_pattern(source), target) for source, target in pairs]


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w)\}", template)
    text = "".join(_HOLES[p] if n % 2 else re.escape(p) for n, p in enumerate(parts))
    return re.compile(text)


Layers = list[tuple[int, int, int]]


def parse_conv_spec(text: str) -> Layers:
    """Give (channels, kernel, stride) per convolution. Only lists, tuples, `+` and `*` are read.

    Raises:
        CheckpointError: the text holds anything else.
    """
    try:
        layers = _value(ast.parse(text, mode="eval").body)
        return [(int(c), int(k), int(s)) for c, k, s in layers]
    except (SyntaxError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(
            "cannot read the description of the convolutions",
            where="conv_feature_layers",
            found=f"{text!r} ({error})",
            expected="such as [(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2",
        ) from None


def format_conv_spec(layers: Layers) -> str:
    """Give fairseq's text for (channels, kernel, stride) per convolution."""
    runs: list[tuple[tuple[int, int, int], int]] = []
    for layer in layers:
        if runs and runs[-1][0] == layer:
            runs[-1] = (layer, runs[-1][1] + 1)
        else:
            runs.append((layer, 1))
    parts = [f"[({c},{k},{s})]" + (f" * {n}" if n > 1 else "") for (c, k, s), n in runs]
    return " + ".join(parts)


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.List):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(item) for item in node.elts)
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Add) and isinstance(left, list):
            return left + right
        if isinstance(node.op, ast.Mult) and isinstance(left, list) and 0 <= right <= 64:
            return left * right
    raise ValueError("not a list of layers")

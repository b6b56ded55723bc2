"""What every speech encoder is: a front end, a transformer behind it, and hidden states.

An utterance's hidden states do not depend on what else is in the batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from speechft.core.artifact import hash_values
from speechft.core.devices import compute_exactly
from speechft.core.errors import CheckpointError, DataError, SettingsError
from speechft.core.lengths import SAMPLE_RATE, pad_waveforms
from speechft.encoders.attention import use_fast_attention
from speechft.encoders.checkpoint import Checkpoint, Side, fingerprint
from speechft.encoders.dropout import use_fast_dropout
from speechft.encoders.hf_folder import Beside, write_hf_folder
from speechft.encoders.identity import CONTEXT, computing
from speechft.encoders.layers import use_fast_linear


class EncoderOutput(NamedTuple):
    """Hidden states of a batch.

    Attributes:
        hidden_states: L + 1 tensors (B, T, D): the transformer's input (after the positional
            convolution where the family has one), then each layer's output; the last one is the
            encoder's output. Frames beyond an utterance's length hold no meaning.
        lengths: valid frames (B,).
    """

    hidden_states: tuple[Tensor, ...]
    lengths: Tensor


class SpeechEncoder(nn.Module, ABC):
    """A speech encoder around a transformers model.

    Called with a list of 1-D 16 kHz waveforms, or with a padded batch (B, S) and lengths (B,), it
    gives an `EncoderOutput`. Gradients flow where they are enabled.

    Args:
        model: the transformers model, without any head.
        preprocessor: the content of `preprocessor_config.json`.
        side: parts of pre-training that are carried along for the way back to another format.

    Class attributes:
        front_end_prefixes: of the names of the front end's parameters in the transformers model.
        contexts: between which one can choose, the usual one first; none for most encoders.
        projection_prefixes: of the names of what follows the front end.
        fixed_prefixes: of the names of tables that training leaves as they are.
    """

    sample_rate: ClassVar[int] = SAMPLE_RATE
    front_end_prefixes: ClassVar[tuple[str, ...]] = ("feature_extractor.",)
    contexts: ClassVar[tuple[str, ...]] = ()
    projection_prefixes: ClassVar[tuple[str, ...]] = ("feature_projection.",)
    fixed_prefixes: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, model: nn.Module, preprocessor: dict[str, Any], side: Side | None = None
    ) -> None:
        super().__init__()
        compute_exactly()
        use_fast_linear(model)
        use_fast_attention(model)
        use_fast_dropout(model)
        self.model: Any = model
        self.preprocessor = preprocessor
        self.side = side or Side()

    @staticmethod
    @abstractmethod
    def fits(model: nn.Module) -> bool:
        """Tell by its modules whether this class can be put around a model."""

    @property
    @abstractmethod
    def style(self) -> str:
        """Where the layers normalise, for `speechft inspect`."""

    @property
    @abstractmethod
    def front_end_input(self) -> str:
        """What the front end is given, for `speechft inspect`."""

    @property
    def config(self) -> Any:
        """The transformers configuration."""
        return self.model.config

    @property
    def family(self) -> str:
        """The family's name as in `config.json` ("hubert", "wavlm", "decoar2")."""
        return str(self.config.model_type)

    @property
    def hidden_size(self) -> int:
        """The width D of the hidden states."""
        return int(self.config.hidden_size)

    @property
    def num_layers(self) -> int:
        """The number of transformer layers L."""
        return int(self.config.num_hidden_layers)

    @property
    @abstractmethod
    def hop(self) -> int:
        """Samples from one frame to the next."""

    @property
    def front_end_by_frames(self) -> bool:
        """Whether the front end gives an utterance as many rows as it has frames.

        Only then can its features be kept by utterance: the number of rows is the length.
        """
        return True

    @property
    def least_seconds(self) -> float:
        """The seconds of audio that an utterance costs at least, however short it is."""
        return 0.0

    def costs(self, durations: Iterable[float]) -> list[float]:
        """Give the seconds that utterances of some durations cost in a batch."""
        return [max(duration, self.least_seconds) for duration in durations]

    @property
    def context(self) -> str | None:
        """What the transformer sees, where one can choose that."""
        usual = next(iter(self.contexts), None)
        return self.preprocessor.get(CONTEXT, usual) if usual else None

    def use_context(self, context: str | None, where: object = None) -> None:
        """Choose a context; None keeps the one that the preprocessor's settings say.

        Raises:
            SettingsError: the encoder has no such context.
            CheckpointError: its settings name none that it has.
        """
        if context is not None and context not in self.contexts:
            raise SettingsError(
                "this encoder has no context to choose",
                where=f"context {context}",
                expected="Whisper's encoder",
                found=self.family,
                hint="leave context out",
            )
        if context is not None:
            self.preprocessor = {**self.preprocessor, CONTEXT: context}
        elif self.contexts and self.context not in self.contexts:
            raise CheckpointError(
                "the preprocessor's context is not known",
                where=where,
                expected=" or ".join(self.contexts),
                found=self.context,
            )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        parameter: Parameter = next(self.model.parameters())
        return parameter.device

    @abstractmethod
    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Give the exact number of frames (B,) of utterances of `lengths` samples (B,)."""

    @abstractmethod
    def front_end(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the front end alone: what may be computed once and kept while it is frozen.

        Args:
            waveforms: zero-padded batch (B, S), 16 kHz, in [-1, 1].
            lengths: valid samples (B,).

        Returns:
            Features (B, T, C) and valid frames (B,).
        """

    @abstractmethod
    def from_front_end(
        self, features: Tensor, frame_lengths: Tensor, *, mask_time: Tensor | None = None
    ) -> EncoderOutput:
        """Apply everything behind the front end.

        Args:
            features: the front end's output (B, T, C).
            frame_lengths: valid frames (B,).
            mask_time: True (B, T) where a frame is replaced by the model's mask embedding after
                the feature projection, as masked prediction does.
        """

    def forward(
        self, waveforms: Sequence[Tensor] | Tensor, lengths: Tensor | None = None
    ) -> EncoderOutput:
        """Encode waveforms.

        Args:
            waveforms: 1-D waveforms of any lengths (tensors or NumPy arrays), or a zero-padded
                batch (B, S).
            lengths: valid samples (B,) of a padded batch; all S if not given.

        Raises:
            DataError: an utterance is too short for one frame or holds values that are not finite,
                or what is given is no waveform.
        """
        if isinstance(waveforms, Tensor):
            batch = waveforms[None] if waveforms.dim() == 1 else waveforms
            _check_waveform(batch, "a batch (B, S)", 2)
            if lengths is None:
                lengths = torch.full((batch.shape[0],), batch.shape[1])
            elif lengths.shape != batch.shape[:1] or int(lengths.max()) > batch.shape[1]:
                raise DataError(
                    "the lengths do not fit the batch",
                    expected=f"{batch.shape[0]} numbers of at most {batch.shape[1]} samples",
                    found=f"shape {tuple(lengths.shape)}, up to {int(lengths.max())}",
                )
        else:
            tensors = _as_tensors(waveforms)
            for number, wave in enumerate(tensors):
                _check_waveform(wave, _nth(number), 1)
            batch, lengths = pad_waveforms(tensors)
        _check_samples(batch, lengths, self.frame_lengths(lengths))
        device = self.device
        batch = batch.to(device, torch.float32)
        return self.from_front_end(*self.front_end(batch, lengths.to(device)))

    def front_end_parameters(self) -> dict[str, Parameter]:
        """Give the front end's parameters under their names in the transformers model."""
        return {
            name: parameter
            for name, parameter in self.model.named_parameters()
            if name.startswith(self.front_end_prefixes)
        }

    def encoder_parameters(self) -> dict[str, Parameter]:
        """Give the parameters behind the front end under their names in the transformers model.

        Those of an adapter behind the last layer (`add_adapter`) are none: it takes no part here.
        """
        front = self.front_end_parameters()
        named = self.model.named_parameters()
        return {n: p for n, p in named if n not in front and not n.startswith("adapter.")}

    def movable_parameters(self) -> dict[str, Parameter]:
        """Give the encoder's parameters (see `encoder_parameters`) that training may move."""
        own = self.encoder_parameters().items()
        return {name: p for name, p in own if not name.startswith(self.fixed_prefixes)}

    def save(self, folder: Path | str, beside: Beside | None = None) -> Path:
        """Write `config.json`, `model.safetensors` and `preprocessor_config.json` atomically.

        The folder loads with `transformers.AutoModel.from_pretrained`.

        Args:
            folder: where.
            beside: writes further files into a folder, which appear together with the encoder.
        """
        where = Path(folder)
        now = (self.config, self.model.state_dict(), self.preprocessor, self.side)
        name = type(self.model).__name__
        return write_hf_folder(Checkpoint("hf", *now, where), where, name, beside)

    def fingerprint(self) -> str:
        """Give the SHA-256 of names, shapes, types and bytes of all tensors."""
        return fingerprint(self.model.state_dict())

    def content_id(self) -> str:
        """Give the identity of all that changes a hidden state: tensors, configuration, input."""
        parts = [self.family, self.fingerprint(), computing(self.config.to_dict())]
        return hash_values([*parts, self.preprocessor])

    def recompute_layers(self) -> None:
        """Let layers in training keep their input alone, and compute the rest again backwards."""
        self.model.gradient_checkpointing_enable({"use_reentrant": False})

    def whole_layers(self) -> list[nn.Module]:
        """Give the layers, where each is computed by calling it and nothing inside of it."""
        return []

    def refuse_long(self, lengths: Tensor, name: Callable[[int], str]) -> None:
        """Refuse utterances of `lengths` samples (B,) that are longer than the encoder takes.

        Args:
            lengths: of utterances; this encoder takes any.
            name: says which utterance one is.

        Raises:
            DataError: one is.
        """
        del lengths, name

    def check_mask(self) -> None:
        """Refuse an encoder that has nothing to put in the place of masked frames.

        Raises:
            SettingsError: it has no mask embedding.
        """
        self._mask_embedding()

    def mask(self, hidden: Tensor, mask_time: Tensor | None) -> Tensor:
        """Put the mask embedding in the place of frames (B, T, D) where `mask_time` is True."""
        if mask_time is None:
            return hidden
        return torch.where(mask_time[..., None], self._mask_embedding().to(hidden.dtype), hidden)

    def _mask_embedding(self) -> Tensor:
        embedding: Tensor | None = getattr(self.model, "masked_spec_embed", None)
        if embedding is None:
            raise SettingsError(
                "this encoder has no mask embedding, which stands in for masked frames",
                where=self.family,
                expected="a tensor named masked_spec_embed",
                hint="start from a pre-trained checkpoint, or set mask_time_prob above 0",
            )
        return embedding


def _as_tensors(waveforms: object) -> list[Tensor]:
    if not isinstance(waveforms, Iterable) or isinstance(waveforms, str | bytes | Mapping):
        raise _no_waveform(waveforms, "what the encoder was called with", "a list of waveforms")
    tensors = []
    for number, wave in enumerate(waveforms):
        try:
            tensors.append(wave if isinstance(wave, Tensor) else torch.as_tensor(wave))
        except (TypeError, ValueError, RuntimeError):
            raise _no_waveform(wave, _nth(number), "a 1-D tensor or array of floats") from None
    if not tensors:
        raise DataError("there is no utterance to encode", expected="a waveform")
    return tensors


def _no_waveform(given: object, where: str, expected: str) -> DataError:
    found = f"{type(given).__name__} {given!r}"[:80]
    hint = "read files with speechft.data.audio.read_audio"
    expected = f"{expected} in [-1, 1]"
    return DataError("this is no waveform", where=where, expected=expected, found=found, hint=hint)


def _check_waveform(wave: Tensor, where: str, dimensions: int) -> None:
    if wave.dim() != dimensions or not wave.is_floating_point():
        raise DataError(
            "this is no waveform",
            where=where,
            expected=f"floats in [-1, 1] of shape {'(B, S)' if dimensions == 2 else '(S,)'}",
            found=f"{str(wave.dtype).removeprefix('torch.')} of shape {tuple(wave.shape)}",
            hint="average channels, and divide 16-bit numbers by 32768",
        )


def _check_samples(batch: Tensor, lengths: Tensor, frames: Tensor) -> None:
    """Refuse utterances that are too short or hold values that are not finite."""
    if int(frames.min()) < 1:
        bad = int(frames.argmin())
        raise DataError(
            "an utterance is too short for one frame",
            where=_nth(bad),
            found=f"{int(lengths[bad])} samples",
            expected="at least 25 ms of audio at 16 kHz (400 samples)",
            hint="drop such utterances from the data",
        )
    if not bool(torch.isfinite(batch).all()):
        counts = (~torch.isfinite(batch)).sum(dim=1)
        first, *more = torch.nonzero(counts).flatten().tolist()
        others = f", and {len(more)} more utterances" if more else ""
        raise DataError(
            "an utterance holds values that are not finite",
            where=_nth(first),
            found=f"{int(counts[first])} of {int(lengths[first])} samples are NaN or infinite"
            f"{others}",
            hint="leave it out, or read its file again",
        )


def refuse_not_finite(states: Iterable[Tensor], where: object) -> None:
    """Refuse hidden states, or what follows from them, with values that are not finite.

    Args:
        states: of one utterance, without padding.
        where: the utterance.

    Raises:
        DataError: there are some.
    """
    if not all(bool(torch.isfinite(one).all()) for one in states):
        raise DataError(
            "the hidden states of an utterance are not finite",
            where=where,
            found="NaN or infinite values",
            hint="listen to the utterance, and look at the encoder's weights",
        )


def _nth(number: int) -> str:
    return f"utterance {number} of the batch"

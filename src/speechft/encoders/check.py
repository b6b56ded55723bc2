"""Check an encoder, also one of one's own: shapes, lengths, padding, gradients."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from speechft.core.errors import CheckpointError, SettingsError

# Seconds of the utterances that are encoded, alone and together.
_SECONDS = (0.5, 1.7, 3.0)
_TOLERANCE = 1e-4  # of the states' standard deviation, as every encoder of the package keeps


class Finding(NamedTuple):
    """What one check found.

    Attributes:
        name: of the check.
        passed: whether it holds.
        found: what was measured.
    """

    name: str
    passed: bool
    found: str


def check_encoder(encoder: Callable[[list[Tensor]], Any]) -> list[Finding]:
    """Check that an object behaves as an encoder must.

    Args:
        encoder: called with 1-D 16 kHz waveforms it gives `hidden_states`, tensors (B, T, D), and
            `lengths`, valid frames (B,).

    Returns:
        Findings in the order of the checks; what builds on one that failed is not there.
    """
    noise = torch.Generator().manual_seed(0)
    waves = [0.1 * torch.randn(int(16000 * s), generator=noise) for s in _SECONDS]
    if isinstance(encoder, torch.nn.Module):
        encoder.eval()
    with torch.no_grad():
        together = encoder(waves)
        findings = [_shapes(together, len(waves))]
        if findings[0].passed:
            alone = [encoder([wave]) for wave in waves]
            findings += [_lengths(together, alone), *_padding(together, alone)]
            again = encoder(waves)
            same = all(map(torch.equal, together.hidden_states, again.hidden_states))
            findings.append(Finding("the same twice", same, "equal" if same else "different"))
    if findings[0].passed:
        findings.append(_gradients(encoder, waves))
    return findings


def find_encoder(name: str) -> Any:
    """Give the encoder that `module:Name` makes when it is called, or that ENCODER names.

    Raises:
        SettingsError: there is no such module or name, or it cannot be made without arguments.
    """
    module, _, attribute = name.partition(":")
    if not attribute or Path(name).exists():
        from speechft.encoders import load_encoder

        return load_encoder(name)
    sys.path.insert(0, "")
    try:
        made = getattr(importlib.import_module(module), attribute)
        return made() if isinstance(made, type) or not hasattr(made, "forward") else made
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise SettingsError(
            "the encoder cannot be made",
            where=name,
            expected="module:Class, which is called without arguments",
            found=f"{type(error).__name__}: {error}",
        ) from error
    finally:
        sys.path.remove("")


def check(name: str) -> list[Finding]:
    """Check the encoder that `module:Name` makes or ENCODER names.

    Raises:
        CheckpointError: it cannot encode half a second, 1.7 and 3 seconds of noise.
    """
    encoder = find_encoder(name)
    try:
        return check_encoder(encoder)
    except Exception as error:  # whatever a class of the user's raises
        raise CheckpointError(
            "the encoder cannot encode three waveforms of 0.5, 1.7 and 3 s",
            where=name,
            expected="encoder([waveform, …]) with 1-D float32 tensors of 16 kHz",
            found=f"{type(error).__name__}: {error}",
        ) from error


def _shapes(output: Any, count: int) -> Finding:
    states: Any = getattr(output, "hidden_states", None)
    lengths: Any = getattr(output, "lengths", None)
    fits = (
        isinstance(states, tuple | list)
        and len(states) > 1
        and all(isinstance(s, Tensor) and s.dim() == 3 and len(s) == count for s in states)
        and len({s.shape for s in states}) == 1
        and isinstance(lengths, Tensor)
        and lengths.shape == (count,)
    )
    if not fits:
        wanted = "hidden_states: two or more tensors (B, T, D) of one shape; lengths: (B,)"
        return Finding("shapes", False, f"{type(output).__name__}, wanted {wanted}")
    shape = tuple(states[0].shape)
    return Finding(
        "shapes", True, f"{len(states)} hidden states {shape}, lengths {tuple(lengths.shape)}"
    )


def _lengths(together: Any, alone: list[Any]) -> Finding:
    frames, single = together.lengths.tolist(), [int(one.lengths[0]) for one in alone]
    fits = frames == single and max(frames) <= together.hidden_states[0].shape[1]
    return Finding("lengths", fits, f"together {frames}, alone {single}")


def _padding(together: Any, alone: list[Any]) -> Iterator[Finding]:
    worst = 0.0
    finite = True
    for layer, states in enumerate(together.hidden_states):
        for row, one in enumerate(alone):
            count = min(int(one.lengths[0]), states.shape[1])
            wanted, found = one.hidden_states[layer][0, :count], states[row, :count]
            finite = finite and bool(found.isfinite().all())
            spread = float(wanted.float().std()) or 1.0
            worst = max(worst, float((found - wanted).abs().max()) / spread)
    yield Finding("finite", finite, "all values" if finite else "NaN or infinite values")
    said = f"off by at most {worst:.1e} standard deviations, allowed {_TOLERANCE:g}"
    yield Finding("padding changes nothing", worst <= _TOLERANCE, said)


def _gradients(encoder: Callable[[list[Tensor]], Any], waves: list[Tensor]) -> Finding:
    if not isinstance(encoder, torch.nn.Module):
        return Finding("gradients", False, "it is no torch.nn.Module, so it cannot be fine-tuned")
    moving = {name: p for name, p in encoder.named_parameters() if p.requires_grad}
    with torch.enable_grad():
        state = encoder(waves).hidden_states[-1]
        if state.requires_grad:
            state.float().pow(2).mean().backward()
    reached = [name for name, p in moving.items() if p.grad is not None]
    encoder.zero_grad(set_to_none=True)
    said = f"they reach {len(reached)} of {len(moving)} parameters from the last hidden state"
    return Finding("gradients", bool(reached), said)

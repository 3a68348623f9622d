"""What callers give where tensors are expected: taken, or refused in one line."""

from __future__ import annotations

import logging
import math
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from codec.errors import CodecError

MOST_CHANNELS = 8  # of what may be (T, channels)
LOUDEST = 4.0  # peak of full scale, above which a wave is rather one of whole numbers

logger = logging.getLogger(__name__)


def check_tensor(value: object, name: str) -> None:
    """Refuse arrays, lists and whatever else is given in the place of a tensor.

    Raises:
        CodecError: tells how to make one.
    """
    if not isinstance(value, Tensor):
        raise CodecError(
            f"{name} of type {type(value).__name__}: expected a tensor; torch.from_numpy makes one of an array, "
            "torch.tensor of a list"
        )


def check_float(value: object, name: str) -> None:
    """Refuse what is no tensor of floating-point numbers.

    Raises:
        CodecError: tells how to make one.
    """
    check_tensor(value, name)
    if isinstance(value, Tensor) and not value.is_floating_point():
        raise CodecError(f"{name} of type {value.dtype}: expected floats in [-1, 1]; divide integers by their range")


def as_token_ids(tokens: Tensor, ndim: int) -> Tensor:
    """Tokens of any integer type, such as those that files keep, as int64.

    Args:
        tokens: to be checked.
        ndim: 1 for (F,), 2 for (B, F).

    Raises:
        CodecError: no tensor, another number of dimensions, or no integers.
    """
    check_tensor(tokens, "tokens")
    integers = not (tokens.is_floating_point() or tokens.is_complex() or tokens.dtype == torch.bool)
    if tokens.ndim != ndim or not integers:
        expected = "integers (F,)" if ndim == 1 else "integers (B, F)"
        raise CodecError(f"tokens of shape {tuple(tokens.shape)} and type {tokens.dtype}: expected {expected}")
    return tokens.long()


def as_waves(audio: Tensor, device: torch.device, hop_length: int) -> Tensor:
    """(T,), (B, T) or (B, 1, T) -> (B, T) float32 on the device; a peak far beyond [-1, 1] is warned of.

    Raises:
        CodecError: another shape, (T, channels) among them, no samples, or some that are not finite.
    """
    check_float(audio, "audio")
    batch = audio
    if batch.ndim == 3 and batch.shape[1] == 1:
        batch = batch.squeeze(1)
    if batch.ndim == 1:
        batch = batch.unsqueeze(0)
    if batch.ndim != 2:
        raise CodecError(
            f"audio of shape {tuple(audio.shape)}: expected (T,), (B, T) or (B, 1, T); down-mix channels first"
        )
    if batch.numel() == 0:
        raise CodecError(f"audio of shape {tuple(audio.shape)} has no samples; give at least one")
    rows, samples = batch.shape
    if samples <= MOST_CHANNELS and rows > hop_length:
        raise CodecError(
            f"audio of shape {tuple(audio.shape)} would be {rows} recordings of {samples} samples; of (T, channels), "
            "as soundfile reads it, give audio.mean(dim=1)"
        )
    batch = batch.to(device, torch.float32)
    peak = float(batch.abs().amax())  # NaN where a sample is
    if not math.isfinite(peak):
        raise CodecError("audio has NaN or infinite samples; repair the recording or leave it out")
    if peak > LOUDEST:
        logger.warning("audio has a peak of %g; expected [-1, 1], which 16-bit samples are in over 32768", peak)
    return batch


def as_lengths(lengths: Tensor | None, batch: Tensor) -> list[int]:
    """Samples that are real in each row of (B, T); None: all.

    Raises:
        CodecError: not one whole number from 1 to T for each row.
    """
    B, T = batch.shape
    if lengths is None:
        return [T] * B
    own = as_ints(lengths)
    if len(own) != B or not all(0 < length <= T for length in own):
        raise CodecError(f"lengths={own}: expected {B} numbers from 1 to {T}")
    return own


def as_ints(lengths: Tensor) -> list[int]:
    """Lengths of a batch as numbers; lists of them serve as well as tensors.

    Raises:
        CodecError: something else.
    """
    found = lengths.tolist() if isinstance(lengths, Tensor | np.ndarray) else lengths
    if not isinstance(found, (list, tuple)) or not all(isinstance(length, Integral) for length in found):
        raise CodecError(f"lengths={found!r}: expected one whole number for each item of the batch")
    return list(found)

"""What callers give where tensors are expected: taken, or refused in one line."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
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
    return _checked(batch.to(device, torch.float32), "audio")


def as_recordings(
    audio: Tensor | Sequence[Tensor | np.ndarray], lengths: Tensor | None, device: torch.device, hop_length: int
) -> list[Tensor]:
    """What :meth:`codec.Codec.encode` takes, as recordings (T,) float32 on the device, without any padding.

    Args:
        audio: what :func:`as_waves` takes, or a list of recordings (T,), tensors or arrays, of any lengths.
        lengths: (B,) samples that are real in each row; None: all. A list tells its own.
        device: where they go.
        hop_length: samples a token.

    Raises:
        CodecError: as :func:`as_waves` and :func:`as_lengths`; ``lengths`` beside a list.
    """
    if not is_list(audio):
        check_tensor(audio, "audio")
        assert isinstance(audio, Tensor)
        batch = as_waves(audio, device, hop_length)
        own = as_lengths(lengths, len(batch), batch.shape[1], "rows")
        return [row[:length] for row, length in zip(batch, own, strict=True)]
    if lengths is not None:
        raise CodecError(f"lengths={lengths!r} with a list of recordings, which tells them; leave lengths out")
    recordings = []
    for place, item in enumerate(audio):
        name = f"audio[{place}]"
        if isinstance(item, np.ndarray) and item.dtype.kind == "f":
            item = torch.from_numpy(item.astype(np.float32))
        check_float(item, name)
        if item.ndim != 1:
            raise CodecError(f"{name} of shape {tuple(item.shape)}: expected (T,); down-mix channels first")
        if not len(item):
            raise CodecError(f"{name} has no samples; give at least one")
        recordings.append(_checked(item.to(device, torch.float32), name))
    return recordings


def is_list(value: object) -> bool:
    """Whether it is a list or tuple that holds tensors or arrays, and so stands for items of unequal lengths."""
    return isinstance(value, (list, tuple)) and any(isinstance(item, (Tensor, np.ndarray)) for item in value)


def _checked(audio: Tensor, name: str) -> Tensor:
    """Audio of any shape, once its samples are numbers; a warning where they are no waveform in [-1, 1]."""
    peak = float(audio.abs().amax())  # NaN where a sample is
    if not math.isfinite(peak):
        raise CodecError(f"{name} has NaN or infinite samples; repair the recording or leave it out")
    if peak > LOUDEST:
        logger.warning("%s has a peak of %g; expected [-1, 1], which 16-bit samples are in over 32768", name, peak)
    return audio


def as_id_batch(tokens: Tensor | Sequence[Tensor | np.ndarray], hop_length: int) -> tuple[Tensor, list[int]]:
    """Plain tokens (F,), (B, F), or a list of (F,) of any lengths -> (B, F) int64 and the samples of each row.

    Raises:
        CodecError: another shape or type, or an item without tokens.
    """
    if not is_list(tokens):
        check_tensor(tokens, "tokens")
        assert isinstance(tokens, Tensor)
        ids = as_token_ids(tokens.unsqueeze(0) if tokens.ndim == 1 else tokens, 2)
        return ids, [ids.shape[-1] * hop_length] * len(ids)
    items = []
    for place, item in enumerate(tokens):
        if isinstance(item, np.ndarray) and item.dtype.kind in "iu":
            item = torch.from_numpy(item.astype(np.int64))
        items.append(as_token_ids(item, 1))
        if not len(items[-1]):
            raise CodecError(f"no tokens in tokens[{place}]; give at least one")
    ids = torch.nn.utils.rnn.pad_sequence([item.cpu() for item in items], batch_first=True)
    return ids, [len(item) * hop_length for item in items]


def check_in_codebook(ids: Tensor, codebook_size: int) -> None:
    """Refuse tokens, at least one, of which any is no code.

    Raises:
        CodecError: the least and the greatest of them.
    """
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= codebook_size:
        raise CodecError(
            f"tokens from {low} to {high}: this model's codebook has {codebook_size} codes (0 to {codebook_size - 1}); "
            "were they made by another model?"
        )


def as_latents(latents: Tensor, dim: int) -> Tensor:
    """(D, F) or (B, D, F) of any floating-point type -> (B, D, F) float32.

    Raises:
        CodecError: another shape or type, no frames, or values that are not finite.
    """
    check_tensor(latents, "latents")
    batch = latents.unsqueeze(0) if latents.ndim == 2 else latents
    if batch.ndim != 3 or batch.shape[1] != dim or not batch.numel() or not batch.is_floating_point():
        raise CodecError(
            f"latents of shape {tuple(latents.shape)} and type {latents.dtype}: expected floats (B, {dim}, F) with at "
            "least one frame, as Codec.latents and Codec.embed give them"
        )
    if not bool(batch.isfinite().all()):
        raise CodecError("latents have NaN or infinite values; find out where they come from")
    return batch.float()


def as_lengths(lengths: Tensor | None, rows: int, reach: int, name: str) -> list[int]:
    """Samples that are real in each row; None: all ``reach`` that it holds. ``name``: of what holds them, in messages.

    Raises:
        CodecError: not one whole number from 1 to ``reach`` for each row.
    """
    if lengths is None:
        return [reach] * rows
    own = as_ints(lengths)
    if len(own) != rows or not all(0 < length <= reach for length in own):
        raise CodecError(f"lengths={own}: expected {rows} numbers from 1 to {reach}, what the {name} hold")
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

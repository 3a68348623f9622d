"""Recordings of any length in bounded memory.

Encoding is exact: the encoder carries its state from chunk to chunk, and the tokens are those of one pass. Decoding is
not, where the decoder looks at all that it is given (attention, group norm): a recording longer than one window is
decoded in windows that overlap, with a crossfade at each seam. ``docs/long_audio.md`` has what that costs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from codec.errors import CodecError
from codec.model import Codec
from codec.tensors import as_token_ids, check_tensor

PIECE_S = 6.0  # audio that the encoder takes at once, whatever the size of the chunks


@dataclass(frozen=True)
class Windows:
    """How a long recording is cut for the decoder. The defaults are the measured choice of docs/long_audio.md.

    Two neighbours share ``overlap_s``. The seam is in its middle: what lies further out, where a window's edge is
    heard, is thrown away.
    """

    window_s: float = 30.0
    overlap_s: float = 2.0
    fade_s: float = 0.02

    def sizes(self, codec: Codec) -> tuple[int, int, int]:
        """Window and overlap in frames, crossfade in samples (even).

        Raises:
            CodecError: the overlap leaves no step to the next window, or is shorter than the crossfade; a duration that
                is not finite.
        """
        if all(map(math.isfinite, (self.window_s, self.overlap_s, self.fade_s))):
            window, overlap = round(self.window_s * codec.frame_rate), round(self.overlap_s * codec.frame_rate)
            fade = 2 * round(self.fade_s * codec.sample_rate / 2)
            if 0 <= fade <= overlap * codec.hop_length and 0 < 2 * overlap <= window:
                return window, overlap, fade
        raise CodecError(
            f"window_s={self.window_s:g}, overlap_s={self.overlap_s:g}, fade_s={self.fade_s:g}: expected an "
            "overlap of at least one frame, at most half a window, and a crossfade that fits into the overlap"
        )


DEFAULT_WINDOWS = Windows()


def encode_chunks(codec: Codec, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
    """Turn audio that comes in chunks into tokens, each as soon as the encoder can tell it.

    The tokens of all chunks together are those of ``codec.encode`` on the whole: latents differ by rounding only, so
    that a token differs only where two codes are equally near to the last bit.

    Args:
        codec: the model.
        chunks: (T,) float in [-1, 1] at the codec's rate, of any length.
            :class:`codec.audio.resampling.Resampler` makes them of another rate.

    Yields:
        Tokens (F,) int64, F from 1 on; ceil(samples / hop) in all.

    Raises:
        CodecError: a chunk of another shape or type, samples that are not finite, or no samples at all.
    """
    state = codec.encoder.initial_state()
    piece_size = max(1, round(PIECE_S * codec.sample_rate))
    position = 0
    for chunk in chunks:
        check_tensor(chunk, "audio")
        if chunk.ndim != 1 or not chunk.is_floating_point():
            raise CodecError(f"audio of shape {tuple(chunk.shape)} and type {chunk.dtype}: expected (T,), floats")
        for piece in chunk.split(piece_size):
            if not bool(piece.isfinite().all()):
                raise CodecError(
                    f"audio has NaN or infinite samples between {position} and {position + len(piece)}; "
                    "repair the recording or leave it out"
                )
            position += len(piece)
            with torch.inference_mode():
                audio = piece.to(codec.device, torch.float32).view(1, 1, -1)
                latent = codec.inference.step(codec.encoder, audio, state)
                tokens = codec.quantizer.encode(latent)[0]
            if len(tokens):
                yield tokens
    if not position:
        raise CodecError("the audio has no samples; give at least one")
    with torch.inference_mode():
        end = torch.zeros(1, 1, 0, dtype=torch.float32, device=codec.device)
        latent = codec.inference.step(codec.encoder, end, state, last=True)
        tokens = codec.quantizer.encode(latent)[0]
    if len(tokens):
        yield tokens


def decode_chunks(codec: Codec, chunks: Iterable[Tensor], windows: Windows = DEFAULT_WINDOWS) -> Iterator[Tensor]:
    """Turn tokens that come in chunks into audio, window by window.

    A recording that fits into one window is decoded in one pass, exactly as by ``codec.decode``.

    Args:
        codec: the model.
        chunks: tokens (F,), integers, of any length; a row of what :meth:`Codec.encode` gives.
        windows: where to cut.

    Yields:
        Audio (T,) float32, hop samples for each token. The last one comes when ``chunks`` has ended, and holds the
        last frame whole: cut it to the recording's length.

    Raises:
        CodecError: tokens that :meth:`Codec.decode` refuses, none at all, or windows that do not fit.
    """
    window, overlap, fade = windows.sizes(codec)
    hop = codec.hop_length
    joiner = _Joiner(fade)
    held = torch.zeros(0, dtype=torch.int64)  # from frame `begin` on
    begin = start = 0  # `start`: frame of the next window
    for chunk in chunks:
        held = torch.cat([held, as_token_ids(chunk, 1).cpu()])
        while begin + len(held) > start + window:
            audio = codec.decode(held[start - begin : start - begin + window])[0, 0]
            yield joiner.add(audio, start * hop, seam=(start + window) * hop - overlap * hop // 2)
            # The last window is as long as the others and ends with the recording: it may begin one frame on.
            held, begin = held[start + 1 - begin :], start + 1
            start += window - overlap
    last = max(begin, begin + len(held) - window)
    yield joiner.add(codec.decode(held[last - begin :])[0, 0], last * hop, seam=None)


class _Joiner:
    """Windows of one recording, in order, to one signal."""

    def __init__(self, fade: int) -> None:
        self.rise = (torch.arange(fade).float() + 0.5) / max(1, fade)  # linear: the neighbours are nearly equal
        self.position = 0  # samples given so far
        self.tail: Tensor | None = None  # (fade,): the window before, from `position` on

    def add(self, audio: Tensor, start: int, seam: int | None) -> Tensor:
        """What is final of the signal up to ``seam`` (None: its end). ``audio`` (T,) begins at sample ``start``."""
        fade = len(self.rise)
        audio = audio[self.position - start :]
        if self.tail is not None:
            rise = self.rise.to(audio)
            audio = torch.cat([torch.lerp(self.tail, audio[:fade], rise), audio[fade:]])
        if seam is None:
            return audio
        size = seam - fade // 2 - self.position
        self.tail = audio[size : size + fade].clone()
        self.position += size
        return audio[:size]

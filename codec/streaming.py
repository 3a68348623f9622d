"""Recordings of any length in bounded memory.

Encoding is exact: the encoder carries its state from chunk to chunk, and the tokens are those of one pass. Decoding is
not, where the decoder looks at all that it is given (attention, group norm): a recording longer than one window is
decoded in windows that overlap, with a crossfade at each seam. ``docs/long_audio.md`` has what that costs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from codec.errors import CodecError
from codec.model import Codec
from codec.tensors import as_token_ids, check_in_codebook, check_tensor

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

    @classmethod
    def of(cls, window_s: float) -> Self:
        """Of another length: an overlap as by default, or a quarter of a short window."""
        return cls(window_s, min(cls.overlap_s, window_s / 4))

    def sizes(self, codec: Codec) -> tuple[int, int, int]:
        """Window and overlap in frames, crossfade in samples (even).

        Raises:
            CodecError: the overlap leaves no step to the next window, or is shorter than the crossfade; a duration that
                is not finite.
        """
        if all(map(math.isfinite, (self.window_s, self.overlap_s, self.fade_s))):
            window, overlap = round(self.window_s * codec.frame_rate), round(self.overlap_s * codec.frame_rate)
            if 2 * self.overlap_s <= self.window_s:  # half of an odd window is no whole frame
                overlap = min(overlap, window // 2)
            fade = 2 * round(self.fade_s * codec.sample_rate / 2)
            if 0 <= fade <= overlap * codec.hop_length and 0 < 2 * overlap <= window:
                return window, overlap, fade
        raise CodecError(
            f"window_s={self.window_s:g}, overlap_s={self.overlap_s:g}, fade_s={self.fade_s:g}: expected an "
            "overlap of at least one frame, at most half a window, and a crossfade that fits into the overlap"
        )


DEFAULT_WINDOWS = Windows()


class StreamEncoder:
    """An encoder that is fed: audio as it comes, tokens as soon as the encoder can tell them.

    The tokens of all calls together are those of ``codec.encode`` on the whole: latents differ by rounding only, so
    that a token differs only where two codes are equally near to the last bit.

    Args:
        codec: the model.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._state = codec.encoder.initial_state()
        self.piece_size = max(1, round(PIECE_S * codec.sample_rate))  # samples that the encoder takes at once
        self._position = 0
        self._finished = False

    def push(self, audio: Tensor) -> Tensor:
        """Take what comes next.

        Args:
            audio: (T,) float in [-1, 1] at the codec's rate, of any length.
                :class:`codec.audio.resampling.Resampler` makes it of another rate.

        Returns:
            Tokens (F,) int64; often F = 0: a token comes with its last sample, or later.

        Raises:
            CodecError: another shape or type, samples that are not finite, or audio behind :meth:`finish`.
        """
        _check_open(self._finished)
        check_tensor(audio, "audio")
        if audio.ndim != 1 or not audio.is_floating_point():
            raise CodecError(f"audio of shape {tuple(audio.shape)} and type {audio.dtype}: expected (T,), floats")
        tokens = []
        for piece in audio.split(self.piece_size):
            if not bool(piece.isfinite().all()):
                raise CodecError(
                    f"audio has NaN or infinite samples between {self._position} and {self._position + len(piece)}; "
                    "repair the recording or leave it out"
                )
            self._position += len(piece)
            tokens.append(self._step(piece.to(self._codec.device, torch.float32)))
        return torch.cat(tokens)

    def finish(self) -> Tensor:
        """The last tokens (F,), which wait for what comes behind them. Nothing can be pushed any more.

        Raises:
            CodecError: no samples came at all, or a second call.
        """
        _check_open(self._finished)
        self._finished = True
        if not self._position:
            raise CodecError("the audio has no samples; give at least one")
        return self._step(torch.zeros(0, dtype=torch.float32, device=self._codec.device), last=True)

    @torch.inference_mode()
    def _step(self, audio: Tensor, *, last: bool = False) -> Tensor:
        latent = self._codec.inference.step(self._codec.encoder, audio.view(1, 1, -1), self._state, last=last)
        return self._codec.quantizer.encode(latent)[0]


class StreamDecoder:
    """A decoder that is fed: tokens as they come, audio window by window.

    The first audio comes with the first token behind a full window, and is a window but half an overlap long:
    ``Windows(window_s=2, overlap_s=0.5)`` starts after 2 s. What short windows cost is in ``docs/long_audio.md``.

    Args:
        codec: the model.
        windows: where to cut.

    Raises:
        CodecError: windows that do not fit.
    """

    def __init__(self, codec: Codec, windows: Windows = DEFAULT_WINDOWS) -> None:
        self._codec = codec
        self._window, self._overlap, fade = windows.sizes(codec)
        self._joiner = _Joiner(fade)
        self._held = torch.zeros(0, dtype=torch.int64, device="cpu")  # from frame `begin` on
        self._begin = self._start = 0  # `start`: frame of the next window
        self._finished = False

    def push(self, tokens: Tensor) -> Tensor:
        """Take what comes next.

        Args:
            tokens: (F,) integers, of any length; a row of what :meth:`Codec.encode` gives.

        Returns:
            Audio (T,) float32; T = 0 while a window fills.

        Raises:
            CodecError: tokens that :meth:`Codec.decode` refuses, or tokens behind :meth:`finish`.
        """
        parts = list(self.windows_of(tokens))
        return torch.cat(parts) if parts else torch.zeros(0, device=self._codec.device)

    def finish(self) -> Tensor:
        """The rest of the audio (T,), at least a frame; the last frame is whole: cut it to the recording's length.

        Raises:
            CodecError: no tokens came at all, or a second call.
        """
        _check_open(self._finished)
        self._finished = True
        last = max(self._begin, self._begin + len(self._held) - self._window)
        audio = self._codec.decode(self._held[last - self._begin :])[0, 0]
        return self._joiner.add(audio, last * self._codec.hop_length, seam=None)

    def windows_of(self, tokens: Tensor) -> Iterator[Tensor]:
        """The windows that ``tokens`` fill, one at a time."""
        _check_open(self._finished)
        hop, window, overlap = self._codec.hop_length, self._window, self._overlap
        ids = as_token_ids(tokens, 1).cpu()
        if len(ids):  # now: in a window that is full they would take the others with them
            check_in_codebook(ids, self._codec.codebook_size)
        self._held = torch.cat([self._held, ids])
        while self._begin + len(self._held) > self._start + window:
            first = self._start - self._begin
            audio = self._codec.decode(self._held[first : first + window])[0, 0]
            seam = (self._start + window) * hop - overlap * hop // 2
            yield self._joiner.add(audio, self._start * hop, seam)
            # The last window is as long as the others and ends with the recording: it may begin one frame on.
            self._held, self._begin = self._held[first + 1 :], self._start + 1
            self._start += window - overlap


def encode_chunks(codec: Codec, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
    """:class:`StreamEncoder` over audio that comes in chunks.

    Args:
        codec: the model.
        chunks: what :meth:`StreamEncoder.push` takes.

    Yields:
        Tokens (F,) int64, F from 1 on; ceil(samples / hop) in all.

    Raises:
        CodecError: a chunk of another shape or type, samples that are not finite, or no samples at all.
    """
    encoder = StreamEncoder(codec)
    for chunk in chunks:
        check_tensor(chunk, "audio")
        # No more than a piece at a time: what is behind it may be waited for.
        for piece in chunk.split(encoder.piece_size) if chunk.ndim == 1 else [chunk]:
            if len(tokens := encoder.push(piece)):
                yield tokens
    if len(tokens := encoder.finish()):
        yield tokens


def decode_chunks(codec: Codec, chunks: Iterable[Tensor], windows: Windows = DEFAULT_WINDOWS) -> Iterator[Tensor]:
    """:class:`StreamDecoder` over tokens that come in chunks.

    A recording that fits into one window is decoded in one pass, exactly as by ``codec.decode``.

    Args:
        codec: the model.
        chunks: what :meth:`StreamDecoder.push` takes.
        windows: where to cut.

    Yields:
        Audio (T,) float32, hop samples for each token. The last one comes when ``chunks`` has ended, and holds the
        last frame whole: cut it to the recording's length.

    Raises:
        CodecError: tokens that :meth:`Codec.decode` refuses, none at all, or windows that do not fit.
    """
    decoder = StreamDecoder(codec, windows)
    for chunk in chunks:
        yield from decoder.windows_of(chunk)
    yield decoder.finish()


def _check_open(finished: bool) -> None:
    if finished:
        raise CodecError("this recording is finished; make another StreamEncoder or StreamDecoder for the next one")


class _Joiner:
    """Windows of one recording, in order, to one signal."""

    def __init__(self, fade: int) -> None:
        places = torch.arange(fade, dtype=torch.float32, device="cpu")
        self.rise = (places + 0.5) / max(1, fade)  # linear: the neighbours are nearly equal
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

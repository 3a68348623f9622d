"""Writing a ``.svq`` file, block by block or whole."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from codec.bitstream.header import Header
from codec.bitstream.records import pack_block, pack_end
from codec.errors import CodecError
from codec.files import writing_bytes


class TokenWriter:
    """Writes a recording from start to end; a block leaves as soon as it is full."""

    def __init__(self, file: BinaryIO, header: Header) -> None:
        """Write the header. ``file`` is open for writing, and need not be able to go back."""
        self.header = header
        self.num_frames = 0
        self.num_bytes = 0
        self._file = file
        self._blocks = 0
        self._waiting = np.zeros(0, np.int64)
        self._send(header.pack())

    def write(self, tokens: np.ndarray) -> None:
        """Append tokens (F,), integers in [0, K).

        Raises:
            CodecError: tokens of another shape, type or range.
        """
        K, step = self.header.codebook_size, self.header.block_frames
        if (
            tokens.ndim != 1
            or tokens.dtype.kind not in "iu"
            or (tokens.size and not 0 <= tokens.min() <= tokens.max() < K)
        ):
            raise CodecError(
                f"tokens of shape {tokens.shape} and type {tokens.dtype}: expected (F,), integers from 0 to {K - 1}"
            )
        self.num_frames += len(tokens)
        self._waiting = np.concatenate([self._waiting, tokens.astype(np.int64)])
        full = len(self._waiting) - len(self._waiting) % step
        for start in range(0, full, step):
            self._send_block(self._waiting[start : start + step])
        self._waiting = self._waiting[full:].copy()

    def finish(self, num_samples: int) -> None:
        """Write the last block and the end record.

        Raises:
            CodecError: ``num_samples`` differ from the header's, or do not fit the tokens.
        """
        if self.header.num_samples not in (None, num_samples) or self.header.frames_of(num_samples) != self.num_frames:
            raise CodecError(
                f"{self.num_frames} tokens for {num_samples} samples: expected {self.header.frames_of(num_samples)}"
                + ("" if self.header.num_samples is None else f", and the {self.header.num_samples} of the header")
            )
        if len(self._waiting):
            self._send_block(self._waiting)
        self._send(pack_end(self.header, num_samples))

    def _send_block(self, tokens: np.ndarray) -> None:
        self._send(pack_block(self.header, self._blocks, tokens))
        self._blocks += 1

    def _send(self, data: bytes) -> None:
        self._file.write(data)
        self.num_bytes += len(data)


def write_tokens(target: str | Path | BinaryIO, header: Header, tokens: np.ndarray) -> int:
    """Write a recording; a path is written at once or not at all.

    Args:
        target: a path, or a binary file open for writing.
        header: with the number of samples.
        tokens: (F,) integers in [0, K), F = ceil(samples / hop).

    Returns:
        Bytes written.

    Raises:
        CodecError: tokens that do not fit the header, or a place that cannot be written.
    """
    num_samples = header.num_samples
    if num_samples is None or tokens.shape != (header.num_frames,):
        raise CodecError(f"tokens of shape {tokens.shape} for {num_samples} samples: expected ({header.num_frames},)")
    if isinstance(target, (str, Path)):
        with writing_bytes(target) as file:
            return write_tokens(file, header, tokens)
    writer = TokenWriter(target, header)
    writer.write(tokens)
    writer.finish(num_samples)
    return writer.num_bytes

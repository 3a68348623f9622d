"""Wave audio sent to a pipe: libsndfile writes wave only where it can go back to the header."""

from __future__ import annotations

import struct
from typing import BinaryIO

import numpy as np
from torch import Tensor

from codec.audio.blocks import as_finite, peak_of, warn_of_clipping

_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
_UNKNOWN = (1 << 32) - 1  # what ffmpeg, sox and libsndfile take for "to the end of the stream"
_SAMPLE_BYTES = 2


class WaveStream:
    """16-bit mono wave, written from start to end.

    Where the length is not known at the start the header says so; if the stream turns out to be a file that can be
    written at any place, :meth:`finish` puts the length there.
    """

    def __init__(self, file: BinaryIO, name: str, sample_rate: int, num_samples: int | None) -> None:
        """``num_samples``: of the whole recording, None where it is not known. Nothing is written yet."""
        self._file, self._name, self._rate = file, name, sample_rate
        self._promised = num_samples
        self._start = file.tell() if file.seekable() else None
        self.num_samples = 0
        self.peak = 0.0
        self._begun = False

    def write(self, audio: Tensor) -> None:
        """Append (T,) float samples; what is beyond [-1, 1] is clipped.

        Raises:
            CodecError: samples that are no floats, or not finite.
        """
        samples = as_finite(audio, self._name)
        self._begin()
        self.peak = max(self.peak, peak_of(samples))
        # Scaled, rounded down and clipped as libsndfile does it for files.
        scaled = np.floor(samples.numpy().clip(-1.0, 1.0) * 32768).clip(max=32767)
        self._file.write(scaled.astype("<i2").tobytes())
        self.num_samples += len(samples)

    def finish(self) -> None:
        """Complete the header where that is possible; a warning names the peak if samples were clipped."""
        self._begin()
        if self._promised is None and self._start is not None:
            end = self._file.tell()
            # A file opened for appending tells its own end and writes nowhere else: then the header stays as it is.
            if end == self._start + _HEADER.size + _SAMPLE_BYTES * self.num_samples:
                self._file.seek(self._start)
                self._file.write(self._header(self.num_samples))
                self._file.seek(end)
        self._file.flush()
        warn_of_clipping(self._name, self.peak)

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._file.write(self._header(self._promised))

    def _header(self, num_samples: int | None) -> bytes:
        size = _UNKNOWN if num_samples is None else min(_UNKNOWN, _SAMPLE_BYTES * num_samples)
        riff = min(_UNKNOWN, _HEADER.size - 8 + size)
        rate = self._rate
        return _HEADER.pack(
            *(b"RIFF", riff, b"WAVE", b"fmt ", 16, 1, 1, rate, _SAMPLE_BYTES * rate, _SAMPLE_BYTES),
            *(8 * _SAMPLE_BYTES, b"data", size),
        )

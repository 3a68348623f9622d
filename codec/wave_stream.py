"""Wave audio sent to a pipe: libsndfile writes wave only where it can go back to the header."""

from __future__ import annotations

import struct
from typing import BinaryIO

import numpy as np
from torch import Tensor

from codec.audio_blocks import as_finite, peak_of, warn_of_clipping
from codec.errors import CodecError

_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
_UNKNOWN = (1 << 32) - 1  # what ffmpeg, sox and libsndfile take for "to the end of the stream"
_SAMPLE_BYTES = 2


class WaveStream:
    """16-bit mono wave, written from start to end.

    Where the length is not known at the start the header says so; if the stream turns out to be a file that can be
    written at any place, :meth:`finish` puts the length there.
    """

    def __init__(self, file: BinaryIO, name: str, sample_rate: int, num_samples: int | None) -> None:
        """Write the header. ``num_samples``: of the whole recording, None where it is not known."""
        self._file, self._name, self._rate = file, name, sample_rate
        self._told = num_samples is not None
        self._start = file.tell() if file.seekable() else None
        self.num_samples = 0
        self.peak = 0.0
        self._send(self._header(num_samples))

    def write(self, audio: Tensor) -> None:
        """Append (T,) float samples; what is beyond [-1, 1] is clipped.

        Raises:
            CodecError: samples that are not finite.
        """
        samples = as_finite(audio, self._name)
        self.peak = max(self.peak, peak_of(samples))
        # Scaled, rounded down and clipped as libsndfile does it for files.
        scaled = np.floor(samples.numpy().clip(-1.0, 1.0) * 32768).clip(max=32767)
        self._send(scaled.astype("<i2").tobytes())
        self.num_samples += len(samples)

    def finish(self) -> None:
        """Complete the header where that is possible; a warning names the peak if samples were clipped."""
        if not self._told and self._start is not None:
            end = self._file.tell()
            # A file opened for appending tells its own end and writes nowhere else: then the header stays as it is.
            if end == self._start + _HEADER.size + _SAMPLE_BYTES * self.num_samples:
                self._file.seek(self._start)
                self._send(self._header(self.num_samples))
                self._file.seek(end)
        self._file.flush()
        warn_of_clipping(self._name, self.peak)

    def _header(self, num_samples: int | None) -> bytes:
        size = _UNKNOWN if num_samples is None else min(_UNKNOWN, _SAMPLE_BYTES * num_samples)
        riff = min(_UNKNOWN, _HEADER.size - 8 + size)
        rate = self._rate
        return _HEADER.pack(
            *(b"RIFF", riff, b"WAVE", b"fmt ", 16, 1, 1, rate, _SAMPLE_BYTES * rate, _SAMPLE_BYTES),
            *(8 * _SAMPLE_BYTES, b"data", size),
        )

    def _send(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except BrokenPipeError:
            raise  # the reader has gone, which is no mistake
        except OSError as error:
            raise CodecError(f"{self._name}: writing failed ({error.strerror}); what was sent is not whole") from None

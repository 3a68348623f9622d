"""Opus, Codec 2 and Speex as systems: what people use today at these rates, aligned with the reference.

Where a decoder's output lags behind, a score that compares instants (STOI, SI-SDR, mel) would measure the lag. The
delays here are constants of the programs, confirmed on 76 LibriTTS and VCTK utterances by the lag at which
cross-correlation (Speex, Opus) or STOI (Codec 2, whose phases are its own) is highest.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from codec.errors import CodecError
from codec.evaluation.programs import ProgramSystem


class Opus(ProgramSystem):
    """Opus at a target rate in kbit/s, variable, as ``opusenc`` of opus-tools makes it.

    No delay is left: the decoder drops the pre-skip (6.5 ms) that the file's header names.
    """

    encoder: ClassVar[str] = "opusenc"
    decoder: ClassVar[str] = "opusdec"
    package: ClassVar[str] = "opus-tools"
    coded_suffix: ClassVar[str] = ".opus"

    def __init__(self, kbps: float, sample_rate: int) -> None:
        """Target ``kbps`` from 6 to 256; compared at ``sample_rate`` Hz.

        Raises:
            CodecError: another rate, or the programs are not installed.
        """
        if not 6 <= kbps <= 256:
            raise CodecError(f"opus:{kbps:g}: opusenc takes 6 to 256 kbit/s; give opus:6, opus:8 or opus:12")
        self._kbps = kbps
        super().__init__(f"opus:{kbps:g}", sample_rate, 1000 * kbps)

    def encode_command(self, source: Path, coded: Path) -> list[str]:
        """See :class:`ProgramSystem`. No padding: the 512 bytes kept for later tags would count as speech."""
        return ["--quiet", "--padding", "0", "--bitrate", f"{self._kbps:g}", str(source), str(coded)]

    def decode_command(self, coded: Path, decoded: Path) -> list[str]:
        """See :class:`ProgramSystem`."""
        return ["--quiet", "--rate", str(self.own_rate), str(coded), str(decoded)]


class Codec2(ProgramSystem):
    """Codec 2, a parametric codec of 8 kHz speech, in one of its modes."""

    encoder: ClassVar[str] = "c2enc"
    decoder: ClassVar[str] = "c2dec"
    package: ClassVar[str] = "codec2"
    coded_suffix: ClassVar[str] = ".bit"  # of any other name than .c2 the programs make no header
    source_name: ClassVar[str] = "source.raw"

    # bit/s -> the program's name of the mode, samples a frame, delay in samples at 8 kHz
    MODES: ClassVar[dict[int, tuple[str, int, int]]] = {
        3200: ("3200", 160, 160),
        2400: ("2400", 160, 160),
        1300: ("1300", 320, 160),
        700: ("700C", 320, 240),
    }

    def __init__(self, bitrate_bps: int, sample_rate: int) -> None:
        """One of ``MODES``; compared at ``sample_rate`` Hz.

        Raises:
            CodecError: another rate, or the programs are not installed.
        """
        if bitrate_bps not in self.MODES:
            known = ", ".join(f"codec2:{rate}" for rate in self.MODES)
            raise CodecError(f"codec2:{bitrate_bps}: no such mode; known are {known}")
        self._mode, self._frame, self._delay = self.MODES[bitrate_bps]
        super().__init__(f"codec2:{bitrate_bps}", sample_rate, bitrate_bps)

    @property
    def own_rate(self) -> int:
        """See :class:`ProgramSystem`."""
        return 8000

    def version(self) -> str:
        """See :class:`ProgramSystem`. This one does not say; the package's version stands in the summary instead."""
        return f"mode {self._mode}"

    def encode_command(self, source: Path, coded: Path) -> list[str]:
        """See :class:`ProgramSystem`."""
        return [self._mode, str(source), str(coded)]

    def decode_command(self, coded: Path, decoded: Path) -> list[str]:
        """See :class:`ProgramSystem`."""
        return [self._mode, str(coded), str(decoded)]

    def delay(self, coded: bytes) -> int:
        """See :class:`ProgramSystem`."""
        return self._delay

    def padded_length(self, length: int) -> int:
        """See :class:`ProgramSystem`. Whole frames: the encoder drops what is left over."""
        return -(-(length + self._delay) // self._frame) * self._frame

    def write(self, path: Path, audio: Tensor) -> None:
        """See :class:`ProgramSystem`."""
        path.write_bytes((audio.clamp(-1.0, 1.0) * 32767).round().numpy().astype("<i2").tobytes())

    def read(self, path: Path) -> Tensor:
        """See :class:`ProgramSystem`."""
        return torch.from_numpy(np.frombuffer(path.read_bytes(), "<i2").astype(np.float32) / 32768)


class Speex(ProgramSystem):
    """Speex, wide-band, at a quality from 0 to 10.

    ``speexdec`` drops the look-ahead of the codec from streams of several Ogg pages, but forgets to where the last
    page is also the first (255 frames of 20 ms, 5.1 s); there it is dropped here.
    """

    encoder: ClassVar[str] = "speexenc"
    decoder: ClassVar[str] = "speexdec"
    package: ClassVar[str] = "speex"
    coded_suffix: ClassVar[str] = ".spx"

    NAME: ClassVar[str] = "speex"
    BAND: ClassVar[str] = "--wideband"
    RATE: ClassVar[int] = 16_000
    # By quality, as the manual has them.
    NOMINAL_BPS: ClassVar[tuple[int, ...]] = (3950, 5750, 7750, 9800, 12800, 16800, 20600, 23800, 27800, 34200, 42200)
    LOOK_AHEAD: ClassVar[int] = 223  # samples at RATE, encoder and decoder together
    HEADER_PAGES: ClassVar[int] = 2

    def __init__(self, quality: int, sample_rate: int) -> None:
        """Compared at ``sample_rate`` Hz.

        Raises:
            CodecError: another quality, or the programs are not installed.
        """
        if not 0 <= quality < len(self.NOMINAL_BPS):
            raise CodecError(
                f"{self.NAME}:{quality}: no such quality; give {self.NAME}:0 to {self.NAME}:{len(self.NOMINAL_BPS) - 1}"
            )
        self._quality = quality
        super().__init__(f"{self.NAME}:{quality}", sample_rate, self.NOMINAL_BPS[quality])

    @property
    def own_rate(self) -> int:
        """See :class:`ProgramSystem`."""
        return self.RATE

    def encode_command(self, source: Path, coded: Path) -> list[str]:
        """See :class:`ProgramSystem`."""
        return [self.BAND, "--quality", str(self._quality), str(source), str(coded)]

    def decode_command(self, coded: Path, decoded: Path) -> list[str]:
        """See :class:`ProgramSystem`."""
        return [str(coded), str(decoded)]

    def delay(self, coded: bytes) -> int:
        """See :class:`ProgramSystem`."""
        return self.LOOK_AHEAD if ogg_pages(coded) <= self.HEADER_PAGES + 1 else 0

    def padded_length(self, length: int) -> int:
        """See :class:`ProgramSystem`."""
        return length + self.LOOK_AHEAD


class NarrowSpeex(Speex):
    """Speex, narrow-band (8 kHz), at a quality from 0 to 10."""

    NAME: ClassVar[str] = "speex-nb"
    BAND: ClassVar[str] = "--narrowband"
    RATE: ClassVar[int] = 8_000
    NOMINAL_BPS: ClassVar[tuple[int, ...]] = (2150, 3950, 5950, 8000, 8000, 11000, 11000, 15000, 15000, 18200, 24600)
    LOOK_AHEAD: ClassVar[int] = 80


def ogg_pages(data: bytes) -> int:
    """Pages of an Ogg file (RFC 3533): a header of 27 bytes, a table of segment sizes, the segments.

    Raises:
        CodecError: not Ogg, or cut off.
    """
    count, position = 0, 0
    while position < len(data):
        if data[position : position + 4] != b"OggS" or position + 27 > len(data):
            raise CodecError(f"not an Ogg page at byte {position} of {len(data)}")
        (segments,) = struct.unpack_from("<B", data, position + 26)
        position += 27 + segments + sum(data[position + 27 : position + 27 + segments])
        count += 1
    return count

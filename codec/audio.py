"""Waveforms: reading, writing, down-mixing and resampling.

Files go through soundfile (libsndfile), which reads wave, FLAC, Ogg (Vorbis, Opus) and MP3. Samples are float32 in
[-1, 1].
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio.functional
from torch import Tensor
from torch.nn import functional as F

from codec.errors import CodecError
from codec.files import replacing

logger = logging.getLogger(__name__)

# What :func:`write` makes of a suffix: libsndfile's names of container and coding.
WRITABLE = {".wav": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16"), ".ogg": ("OGG", "VORBIS")}

_BLOCK = 1 << 20  # samples decoded at once: memory follows what a file holds, not what its header claims
_WRITE_BLOCK = 1 << 16  # libsndfile's Vorbis encoder keeps what it is given at once on the stack
_VORBIS_LAST_PAGE = 255 * 1024  # samples: the most packets of a page times the longest step of libvorbis
_MAX_TAPS = 1 << 25  # of a resampling kernel; its size is the product of the reduced rates


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says."""

    sample_rate: int  # Hz
    channels: int
    num_samples: int  # of each channel

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sample_rate


def info(path: str | Path) -> AudioInfo:
    """Read a file's header.

    Raises:
        CodecError: no such file, a folder, no audio, or no samples.
    """
    with _opened(Path(path)) as file:
        return AudioInfo(file.samplerate, file.channels, file.frames)


def read(path: str | Path, start: int = 0, num_samples: int | None = None) -> tuple[Tensor, int]:
    """Read a file or, seeking, a segment of it.

    A segment is the same samples as that stretch of the whole file: bit for bit where the coding is lossless or Vorbis.
    MP3 and Opus decoders carry a state that a seek only approximates: the samples are those of the same instants, but
    differ by rounding (MP3) or by less than -50 dB of full scale (Opus).

    Args:
        path: wav, flac, ogg or mp3.
        start: first sample.
        num_samples: how many; fewer come where the file ends first. None: all from ``start`` on.

    Returns:
        Samples (C, T) float32 and the sample rate in Hz.

    Raises:
        CodecError: what :func:`info` raises, a ``start`` outside the file, damage, or samples that are not finite.
    """
    path = Path(path)
    with _opened(path) as file:
        total = file.frames
        if not 0 <= start < total:
            raise CodecError(f"{path}: cannot start at sample {start}; the file has samples 0 to {total - 1}")
        if num_samples is not None and num_samples <= 0:
            raise CodecError(f"{path}: cannot read {num_samples} samples; ask for at least one")
        stop = total if num_samples is None else min(total, start + num_samples)
        samples = _read_range(file, start, stop)
        if samples.shape[-1] < stop - start:
            raise CodecError(
                f"{path}: ends after {start + samples.shape[-1]} of {total} samples; the file is damaged, get it again"
            )
        finite = np.isfinite(samples).all(axis=0)
        if not finite.all():
            raise CodecError(
                f"{path}: sample {start + int(finite.argmin())} is NaN or infinite; "
                "expected finite samples, repair the recording or leave it out"
            )
        return torch.from_numpy(samples), file.samplerate


def to_mono(audio: Tensor) -> Tensor:
    """Mean of the channels, (C, T) -> (T,)."""
    return audio.mean(dim=0)


def resample(audio: Tensor, from_rate: int, to_rate: int, **kernel: float | str) -> Tensor:
    """Resample (..., T) to (..., ceil(T * to_rate / from_rate)) with a windowed sinc.

    Args:
        audio: float, on any device.
        from_rate: Hz.
        to_rate: Hz.
        kernel: of ``torchaudio.functional.resample``, where its own defaults are not wanted.

    Raises:
        CodecError: a rate that is not positive, or two rates that share too small a divisor for a kernel to be held.
    """
    if from_rate <= 0 or to_rate <= 0:
        raise CodecError(f"cannot resample {from_rate} Hz to {to_rate} Hz; rates are positive")
    if from_rate == to_rate:
        return audio
    divisor = math.gcd(from_rate, to_rate)
    if (from_rate // divisor) * (to_rate // divisor) > _MAX_TAPS:
        raise CodecError(
            f"cannot resample {from_rate} Hz to {to_rate} Hz: the rates have no useful common divisor; "
            "convert the recording to a usual rate first"
        )
    T = audio.shape[-1]
    length = -(-T * to_rate // from_rate)
    # torchaudio rounds the length in float32 and cuts long audio short: a few more zeros, then the exact cut.
    padded = F.pad(audio, (0, 1 + (T >> 20)))
    return torchaudio.functional.resample(padded, from_rate, to_rate, **kernel)[..., :length]


def resample_sharply(audio: Tensor, from_rate: int, to_rate: int) -> Tensor:
    """:func:`resample` with a kernel ten times as long, for narrow bands that are to stay narrow.

    Next to half of the lower rate the short kernel lets a mirror image of the speech through: after 8 kHz and back
    there is something above 4 kHz, which PESQ-WB takes for bandwidth (0.1 for Codec 2 at 3200 bit/s).

    Raises:
        CodecError: what :func:`resample` raises.
    """
    return resample(
        audio,
        from_rate,
        to_rate,
        lowpass_filter_width=64,
        rolloff=0.9475937167399596,
        resampling_method="sinc_interp_kaiser",
        beta=14.769656459379492,
    )


def load(path: str | Path, sample_rate: int) -> Tensor:
    """Read a whole file as mono (T,) float32 at ``sample_rate`` Hz; what had to be changed is logged.

    Raises:
        CodecError: what :func:`read` and :func:`resample` raise.
    """
    audio, rate = read(path)
    changes = []
    if audio.shape[0] > 1:
        changes.append(f"down-mixed {audio.shape[0]} channels to mono")
    if rate != sample_rate:
        changes.append(f"resampled {rate} Hz to {sample_rate} Hz")
    if changes:
        logger.info("%s: %s", path, ", ".join(changes))
    return resample(to_mono(audio), rate, sample_rate)


def write(path: str | Path, audio: Tensor, sample_rate: int) -> None:
    """Write a file at once or not at all: 16-bit wave or FLAC, or Ogg Vorbis, by the suffix.

    Samples beyond [-1, 1] are clipped, and a warning names the peak.

    Args:
        path: ends in ``.wav``, ``.flac`` or ``.ogg``.
        audio: (T,) or (C, T) float.
        sample_rate: Hz.

    Raises:
        CodecError: another suffix, wrong shape, no samples, samples that are not finite, or a place or rate that
            cannot be written.
    """
    path = Path(path)
    container, coding = output_format(path)
    channels = audio.unsqueeze(0) if audio.ndim == 1 else audio
    if channels.ndim != 2 or channels.numel() == 0:
        raise CodecError(f"{path}: audio of shape {tuple(audio.shape)}; expected (T,) or (C, T) with samples")
    samples = channels.detach().to("cpu", torch.float32)
    if not bool(samples.isfinite().all()):
        raise CodecError(f"{path}: the audio has NaN or infinite samples; nothing was written")
    peak = float(samples.abs().max())
    if peak > 1.0:
        logger.warning("%s: clipped, the peak is %.2f of full scale", path, peak)
    data = samples.clamp(-1.0, 1.0).T.contiguous().numpy()  # (T, C)
    with replacing(path) as temporary:
        try:
            with soundfile.SoundFile(temporary, "w", sample_rate, data.shape[1], coding, format=container) as file:
                for start in range(0, len(data), _WRITE_BLOCK):
                    file.write(data[start : start + _WRITE_BLOCK])
        except soundfile.LibsndfileError as error:
            raise CodecError(
                f"{path}: cannot write {data.shape[1]} channels at {sample_rate} Hz as {container} "
                f"({_reason(error)}); try .wav, or another place"
            ) from None


def output_format(path: Path) -> tuple[str, str]:
    """Container and coding that :func:`write` uses for a name.

    Raises:
        CodecError: a suffix that is not written.
    """
    try:
        return WRITABLE[path.suffix.lower()]
    except KeyError:
        raise CodecError(
            f"{path}: cannot write audio as {path.suffix or 'a name without suffix'}; "
            f"end the name in {', '.join(WRITABLE)}"
        ) from None


def _read_range(file: soundfile.SoundFile, start: int, stop: int) -> np.ndarray:
    """Samples ``start`` to ``stop``, (C, T); fewer where the data ends first."""
    first = start
    if file.subtype == "VORBIS":
        # After a seek into the last page of a Vorbis stream libsndfile is off by the part of the page that is cut away.
        first = min(start, max(0, file.frames - _VORBIS_LAST_PAGE))
    blocks = []
    try:
        if first:
            file.seek(first)
        while first < stop:
            block = file.read(min(stop - first, _BLOCK), dtype="float32", always_2d=True)
            if not len(block):
                break
            blocks.append(block[max(0, start - first) :].T)
            first += len(block)
    except soundfile.LibsndfileError as error:
        raise CodecError(f"{file.name}: cannot be decoded ({_reason(error)}); the file is damaged") from None
    if not blocks:
        return np.empty((file.channels, 0), np.float32)
    return np.ascontiguousarray(np.concatenate(blocks, axis=1))


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """An open audio file that has samples."""
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except IsADirectoryError:
        raise CodecError(f"{path}: is a folder; give an audio file (wav, flac, ogg, mp3)") from None
    except OSError as error:
        raise CodecError(f"{path}: cannot be read ({error.strerror}); give an existing audio file") from None
    if empty:
        raise CodecError(f"{path}: is empty (0 bytes); give an audio file with samples")
    try:
        file = soundfile.SoundFile(path)
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: .raw, which has no header to read
        raise CodecError(
            f"{path}: not audio that can be read ({_reason(error)}); expected wav, flac, ogg or mp3"
        ) from None
    with file:
        if file.frames <= 0:
            raise CodecError(f"{path}: has no samples; give a recording with at least one")
        yield file


def _reason(error: Exception) -> str:
    """What libsndfile says, without the path that soundfile puts before it."""
    text = error.error_string if isinstance(error, soundfile.LibsndfileError) else str(error)
    return " ".join(text.split()).rstrip(".")

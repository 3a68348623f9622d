"""Audio files read and written whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from codec.audio.blocks import opened, output_format, reading, sample_blocks, writing
from codec.audio.wholeness import check_whole
from codec.errors import CodecError
from codec.tensors import check_float


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
    with opened(Path(path)) as file:
        return AudioInfo(file.samplerate, file.channels, file.frames)


def counted(path: str | Path) -> AudioInfo:
    """:func:`info`, but with as many samples as reading gives: where no header counts them, the file is looked through.

    Raises:
        CodecError: what :func:`info` raises, or damage that shows without decoding.
    """
    path = Path(path)
    with opened(path) as file, path.open("rb") as stream:
        return AudioInfo(file.samplerate, file.channels, check_whole(stream, str(path), file))


def read(path: str | Path, start: int = 0, num_samples: int | None = None) -> tuple[Tensor, int]:
    """Read a file or, seeking, a segment of it.

    A segment is the same samples as that stretch of the whole file: bit for bit where the coding is lossless or Vorbis.
    MP3 and Opus decoders carry a state that a seek only approximates: the samples are those of the same instants, but
    differ by rounding (MP3) or by less than -50 dB of full scale (Opus). Damage that decoders of Ogg pass over is found
    where the whole file is read, and in segments mostly.

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
    with opened(path) as file:
        whole = not start and num_samples is None
        samples = read_whole(file, path) if whole else read_segment(file, str(path), start, num_samples)
        return samples, file.samplerate


def read_whole(file: soundfile.SoundFile, path: Path) -> Tensor:
    """All of what :func:`read` gives, (C, T), of a file that is open already."""
    with path.open("rb") as stream:
        num_samples = check_whole(stream, str(path), file)
    return read_segment(file, str(path), 0, num_samples)


def read_segment(file: soundfile.SoundFile, name: str, start: int = 0, num_samples: int | None = None) -> Tensor:
    """:func:`read` for a file that is open already; errors call it ``name``. (C, T)."""
    total = file.frames
    if not 0 <= start < total:
        raise CodecError(f"{name}: cannot start at sample {start}; the file has samples 0 to {total - 1}")
    if num_samples is not None and num_samples <= 0:
        raise CodecError(f"{name}: cannot read {num_samples} samples; ask for at least one")
    stop = total if num_samples is None else min(total, start + num_samples)
    blocks = [block.T for block in sample_blocks(file, name, start, stop)]
    return torch.from_numpy(np.ascontiguousarray(np.concatenate(blocks, axis=1)))


def load(path: str | Path, sample_rate: int, channel: int | None = None) -> Tensor:
    """Read a whole file as mono (T,) float32 at ``sample_rate`` Hz; what had to be changed is logged.

    A file that was cut short is read as far as it goes, with a warning, where its format tells.

    Args:
        path: of the file.
        sample_rate: Hz.
        channel: the one that is read, from 1 on; None: their mean.

    Raises:
        CodecError: no such file, a folder, no audio, no samples, no such channel, damage, samples that are not finite,
            or a rate that cannot be resampled.
    """
    with reading(path, sample_rate, channel) as reader:
        return torch.cat(list(reader.blocks()))


def write(path: str | Path, audio: Tensor, sample_rate: int) -> None:
    """Write a file at once or not at all: 16-bit wave or FLAC, or Ogg Vorbis, by the suffix.

    Samples beyond [-1, 1] are clipped, and a warning names the peak.

    Args:
        path: ends in ``.wav``, ``.flac`` or ``.ogg``.
        audio: (T,) or (C, T) float.
        sample_rate: Hz.

    Raises:
        CodecError: another suffix, wrong shape, no samples, samples that are no floats or not finite, a rate that is
            no whole number, or a place or rate that cannot be written.
    """
    path = Path(path)
    output_format(path)
    check_float(audio, f"{path}: audio")
    channels = audio.unsqueeze(0) if audio.ndim == 1 else audio
    if channels.ndim != 2 or channels.numel() == 0:
        raise CodecError(f"{path}: audio of shape {tuple(audio.shape)}; expected (T,) or (C, T) with samples")
    with writing(path, sample_rate, len(channels)) as writer:
        writer.write(channels)

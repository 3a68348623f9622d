"""Waveforms: files whole and block by block, pipes, down-mixing and resampling.

Files go through soundfile (libsndfile), which reads wave, FLAC, Ogg (Vorbis, Opus) and MP3. Samples are float32 in
[-1, 1]. Recordings that fit in memory are read and written by the functions below; recordings of any length go block by
block through :mod:`codec.audio.blocks`.
"""

from __future__ import annotations

from codec.audio.blocks import AUDIO_SUFFIXES, WRITABLE, output_format, to_mono
from codec.audio.files import AudioInfo, info, load, read, write
from codec.audio.resampling import resample, resample_sharply

__all__ = [
    "AUDIO_SUFFIXES",
    "WRITABLE",
    "AudioInfo",
    "info",
    "load",
    "output_format",
    "read",
    "resample",
    "resample_sharply",
    "to_mono",
    "write",
]

"""Audio files block by block: recordings of any length in constant memory, from files and pipes.

:mod:`codec.audio.files` reads and writes whole files.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from numbers import Integral
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from codec.audio.chunk_headers import unclaimed_bytes
from codec.audio.pipes import readable
from codec.audio.resampling import Resampler, resampled_length
from codec.audio.wholeness import check_whole
from codec.errors import CodecError
from codec.files import refuse_pipe, replacing, standard_input
from codec.tensors import LOUDEST, check_float

logger = logging.getLogger(__name__)

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")  # what is looked for in corpora and archives
# In any other folder. The second row cannot be read, which is better said of each file than passed over.
FOLDER_SUFFIXES = (
    *(*AUDIO_SUFFIXES, ".aiff", ".aif", ".au", ".caf", ".w64", ".rf64"),
    *(".m4a", ".aac", ".wma", ".amr"),
)
# What is written for a suffix: libsndfile's names of container and coding.
WRITABLE = {".wav": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16"), ".ogg": ("OGG", "VORBIS")}

CANCELLED = 1e-3  # share of the channels' power below which their mean has lost what they held
_READ_BLOCK = 1 << 17  # samples a channel
_VORBIS_LAST_PAGE = 255 * 1024  # samples: the most packets of a page times the longest step of libvorbis
_UNKNOWN_BYTES = 0x7FFF_0000  # programs that write to a pipe put this or more into a header, not knowing the length
_SAMPLE_BYTES = {"PCM_U8": 1, "PCM_S8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}
_WRITE_BLOCK = 1 << 16  # libsndfile's Vorbis encoder keeps what it is given at once on the stack


class AudioReader:
    """An open recording, given out as mono blocks at one rate."""

    def __init__(
        self,
        file: soundfile.SoundFile,
        name: str,
        sample_rate: int,
        num_samples: int | None,
        channel: int | None = None,
    ) -> None:
        """``num_samples``: in the file, fewer are damage; None where that is not known, as in a pipe.

        Raises:
            CodecError: a ``channel`` that the file has not.
        """
        if channel is not None and not 1 <= channel <= file.channels:
            raise CodecError(f"{name}: has no channel {channel}; expected 1 to {file.channels}")
        self._file, self._name, self._stop, self._channel = file, name, num_samples, channel
        self._powers = torch.zeros(2, dtype=torch.float64)  # sums over the channels' mean power, and that of their mean
        self.native_rate = file.samplerate  # Hz, of the file
        self._sample_rate = sample_rate
        self._resampler = Resampler(file.samplerate, sample_rate)
        self.num_samples = None if num_samples is None else resampled_length(num_samples, file.samplerate, sample_rate)
        self._peak = 0.0  # of what was given
        self.num_given = 0  # samples that blocks() has given out, at the rate that was asked for
        say_changes(name, file.channels, file.samplerate, sample_rate, channel)

    def blocks(self) -> Iterator[Tensor]:
        """The recording from start to end, (T,) float32 each; together what :func:`codec.audio.load` gives.

        Raises:
            CodecError: damage, samples that are not finite, also when mixed down and resampled, or no samples.
        """
        taken = 0
        for samples in sample_blocks(self._file, self._name, 0, self._stop):
            taken += len(samples)
            yield self._given(self._resampler.push(self._mono(torch.from_numpy(samples.T))))
        if not taken:
            raise CodecError(f"{self._name}: has no samples; give a recording with at least one")
        self._say_cut(taken)
        yield self._given(self._resampler.finish())
        if self._peak > LOUDEST:
            logger.warning("%s: has a peak of %g, expected [-1, 1]; was it written unscaled?", self._name, self._peak)
        apart, together = self._powers.tolist()
        if together < CANCELLED * apart:
            logger.warning(
                "%s: its channels cancel each other, and next to nothing is left of their mean; is one of them "
                "inverted? a single channel can be chosen (--channel, channel=)",
                self._name,
            )

    def _mono(self, channels: Tensor) -> Tensor:
        """(C, T) -> (T,)."""
        if self._channel is not None:
            return channels[self._channel - 1]
        mono = to_mono(channels)
        if len(channels) > 1:
            self._powers += torch.stack([channels.square().mean(dim=0).sum(), mono.square().sum()])
        return mono

    def _say_cut(self, taken: int) -> None:
        """Of a pipe, which is not looked at before; as far as its header can be believed."""
        size = _SAMPLE_BYTES.get(self._file.subtype)
        if self._stop is not None or size is None:
            return
        promised = self._file.frames
        if taken < promised < _UNKNOWN_BYTES // (size * self._file.channels):
            logger.warning("%s: was cut short, its header promises %d samples more", self._name, promised - taken)

    def _given(self, block: Tensor) -> Tensor:
        peak = float(block.abs().amax()) if len(block) else 0.0  # NaN where a sample is
        if not math.isfinite(peak):  # the samples were, but the sum of channels or neighbours is not
            about_s = self.num_given / self._sample_rate
            raise CodecError(
                f"{self._name}: samples after {about_s:.1f} s are too large to be mixed down or resampled; expected "
                "numbers within [-1, 1], repair the recording or leave it out"
            )
        self._peak = max(self._peak, peak)
        self.num_given += len(block)
        return block


def sample_blocks(file: soundfile.SoundFile, name: str, start: int, stop: int | None) -> Iterator[np.ndarray]:
    """Samples ``start`` to ``stop`` of an open file, (T, C) float32 each.

    Memory follows what the file holds, not what its header claims.

    Args:
        file: at its start.
        name: what errors call it.
        start: first sample.
        stop: the sample after the last, which is in the file. None: all of a pipe, whose length is not known.

    Raises:
        CodecError: damage, or samples that are not finite.
    """
    place = start
    if file.subtype == "VORBIS":
        # After a seek into the last page of a Vorbis stream libsndfile is off by the part of the page that is cut away.
        place = min(start, max(0, file.frames - _VORBIS_LAST_PAGE))
    try:
        if place:
            file.seek(place)
        while stop is None or place < stop:
            wanted = _READ_BLOCK if stop is None else min(stop - place, _READ_BLOCK)
            block = file.read(wanted, dtype="float32", always_2d=True)
            # Where a page of an Ogg file is lost libsndfile gives fewer samples, and at the next call those behind it.
            if stop is not None and len(block) < wanted:
                raise CodecError(
                    f"{name}: breaks off after {place + len(block)} of {file.frames} samples; "
                    "the file is damaged, get it again"
                )
            if not len(block):
                return
            finite = np.isfinite(block).all(axis=1)
            if not finite.all():
                raise not_finite(name, place + int(finite.argmin()))
            if place + len(block) > start:
                yield block[max(0, start - place) :]
            place += len(block)
    except soundfile.LibsndfileError as error:
        piped = ", or of a kind that a pipe cannot carry: pipe flac or wave, or name the file" if stop is None else ""
        raise CodecError(f"{name}: cannot be decoded ({reason_of(error)}); the file is damaged{piped}") from None


@contextmanager
def reading(path: str | Path, sample_rate: int, channel: int | None = None) -> Iterator[AudioReader]:
    """Open a file, to be read as mono at ``sample_rate`` Hz; what has to be changed for that is logged.

    A file that was cut short is read as far as it goes, with a warning, where its format tells.

    Args:
        path: of the file.
        sample_rate: Hz.
        channel: the one that is read, from 1 on; None: their mean.

    Raises:
        CodecError: no such file, a folder, no audio, no samples, no such channel, damage, or a rate that cannot be
            resampled.
    """
    path = Path(path)
    with opened(path) as file, path.open("rb") as stream:
        num_samples = check_whole(stream, str(path), file)
        yield AudioReader(file, str(path), sample_rate, num_samples, channel)


@contextmanager
def reading_stdin(sample_rate: int, channel: int | None = None) -> Iterator[AudioReader]:
    """Open standard input, to be read as mono at ``sample_rate`` Hz.

    Wave, AIFF, AU and Ogg in a pipe are read as they come, and the length is not known before the end. What else a pipe
    brings is kept in a temporary file first; damage is looked for there, as in a file (``< in.flac``).

    Raises:
        CodecError: a terminal, no audio, no room to keep it, or damage.
    """
    name = "standard input"
    stream = standard_input()
    seekable = stream.seekable()
    with nullcontext(stream) if seekable else readable(stream.fileno(), name) as source:
        try:
            file = soundfile.SoundFile(source, closefd=False)
        except soundfile.LibsndfileError as error:
            # Of the rare codings of wave and AIFF, some are read from files alone.
            expected = "wav, flac, ogg or mp3" + ("; if it is, name the file" if isinstance(source, int) else "")
            raise CodecError(f"{name}: not audio that can be read ({reason_of(error)}); expected {expected}") from None
        with file:
            num_samples = None if isinstance(source, int) else check_whole(source, name, file)
            yield AudioReader(file, name, sample_rate, num_samples, channel)


class AudioWriter:
    """An audio file that is being written."""

    def __init__(self, path: Path, file: soundfile.SoundFile) -> None:
        self._path, self._file = path, file
        self.num_samples = 0  # of each channel
        self.peak = 0.0  # of what was to be written; beyond 1 it was clipped

    def write(self, audio: Tensor) -> None:
        """Append (T,) or (C, T) float samples.

        Raises:
            CodecError: samples that are no floats or not finite, or a place or rate that cannot be written.
        """
        samples = as_finite(audio, str(self._path))
        self.peak = max(self.peak, peak_of(samples))
        data = samples.clamp(-1.0, 1.0).view(self._file.channels, -1).T.contiguous().numpy()  # (T, C)
        for start in range(0, len(data), _WRITE_BLOCK):
            try:
                self._file.write(data[start : start + _WRITE_BLOCK])
            except soundfile.LibsndfileError as error:
                raise _cannot_write(self._path, self._file.samplerate, self._file.channels, error) from None
        self.num_samples += len(data)


@contextmanager
def writing(path: str | Path, sample_rate: int, channels: int = 1) -> Iterator[AudioWriter]:
    """Write a file block by block, at the end at once or not at all: 16-bit wave or FLAC, or Ogg Vorbis, by the suffix.

    Samples beyond [-1, 1] are clipped, and a warning names the peak.

    Raises:
        CodecError: another suffix, a rate that is no whole number, or a place or rate that cannot be written.
    """
    path = Path(path)
    container, coding = output_format(path)
    if not isinstance(sample_rate, Integral):
        raise CodecError(f"{path}: a sample rate of {sample_rate} Hz; give a whole number")
    with replacing(path) as temporary:
        try:
            file = soundfile.SoundFile(_native(temporary), "w", sample_rate, channels, coding, format=container)
        except soundfile.LibsndfileError as error:
            raise _cannot_write(path, sample_rate, channels, error) from None
        with file:
            writer = AudioWriter(path, file)
            yield writer
    warn_of_clipping(str(path), writer.peak)


def output_format(path: Path) -> tuple[str, str]:
    """Container and coding that are written for a name.

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


@contextmanager
def opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """An open audio file that has samples.

    Raises:
        CodecError: no such file, a folder, a pipe, no audio, or no samples.
    """
    refuse_pipe(path)
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
        file = soundfile.SoundFile(_native(path))
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: .raw, which has no header to read
        raise CodecError(
            f"{path}: not audio that can be read ({reason_of(error)}); expected wav, flac, ogg or mp3"
        ) from None
    with file:
        if file.frames <= 0:
            with path.open("rb") as stream:
                there = unclaimed_bytes(stream)
            if there:
                raise CodecError(
                    f"{path}: its header promises no sample, though {there} bytes follow it, as a recorder that was "
                    f"cut off leaves it; repair it, e.g. with sox --ignore-length {path.name} repaired.wav"
                )
            raise CodecError(f"{path}: has no samples; give a recording with at least one")
        yield file


def to_mono(audio: Tensor) -> Tensor:
    """Mean of the channels, (C, T) -> (T,)."""
    return audio.mean(dim=0)


def say_changes(name: str, channels: int, from_rate: int, to_rate: int, channel: int | None = None) -> None:
    """Log what a recording needs to become mono at ``to_rate`` Hz; the record has it as ``changes`` too."""
    changes = []
    if channels > 1:
        taken = f"took channel {channel} of {channels}"
        changes.append(f"down-mixed {channels} channels to mono" if channel is None else taken)
    if from_rate != to_rate:
        changes.append(f"resampled {from_rate} Hz to {to_rate} Hz")
    if changes:
        logger.info("%s: %s", name, ", ".join(changes), extra={"changes": ", ".join(changes)})


def as_finite(audio: Tensor, name: str) -> Tensor:
    """On the CPU in float32.

    Raises:
        CodecError: no tensor, integers, or NaN or infinite samples.
    """
    check_float(audio, f"{name}: audio")
    samples = audio.detach().to("cpu", torch.float32)
    if not bool(samples.isfinite().all()):
        raise CodecError(f"{name}: the audio has NaN or infinite samples; nothing was written")
    return samples


def peak_of(samples: Tensor) -> float:
    """Largest magnitude; 0 of nothing."""
    return float(samples.abs().max()) if samples.numel() else 0.0


def warn_of_clipping(name: str, peak: float) -> None:
    """Log a warning if ``peak`` is beyond full scale."""
    if peak > 1.0:
        logger.warning("%s: clipped, the peak is %.2f of full scale", name, peak)


def not_finite(name: str, sample: int) -> CodecError:
    """The error for a recording that is broken at ``sample``."""
    return CodecError(
        f"{name}: sample {sample} is NaN or infinite; expected finite samples, repair the recording or leave it out"
    )


def reason_of(error: Exception) -> str:
    """What libsndfile says, without the path that soundfile puts before it."""
    text = error.error_string if isinstance(error, soundfile.LibsndfileError) else str(error)
    return " ".join(text.split()).rstrip(".")


def _native(path: Path) -> bytes | Path:
    """A name as soundfile takes it: where names are bytes, those that are no text too."""
    return os.fsencode(path) if os.name == "posix" else path


def _cannot_write(path: Path, sample_rate: int, channels: int, error: soundfile.LibsndfileError) -> CodecError:
    container, _ = output_format(path)
    return CodecError(
        f"{path}: cannot write {channels} channels at {sample_rate} Hz as {container} "
        f"({reason_of(error)}); try .wav, or another place"
    )

"""A folder of files that some other program made, as a system."""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import torch.distributed
from torch import Tensor

from codec import audio as audio_io
from codec.audio.blocks import FOLDER_SUFFIXES, opened
from codec.audio.files import read_whole
from codec.errors import CodecError
from codec.evaluation.systems import Reconstruction
from codec.manifest import Utterance
from codec.naming import member_key

logger = logging.getLogger(__name__)

SUFFIXES = tuple(audio_io.WRITABLE)
ROUNDED = ("PCM_16", "PCM_S8", "PCM_U8")  # subtypes whose samples a 16-bit file holds as they are


class ReconstructedFiles:
    """``ID.wav``, ``.flac`` or ``.ogg`` for each utterance; or what ``codec decode`` writes.

    That is: ids as names of a token dataset (percent-encoded), and folders that mirror those of the recordings, with
    names like ``a.mp3.wav``.
    """

    rate = None

    def __init__(self, folder: str | Path, sample_rate: int) -> None:
        """Name the folder; files of another rate are resampled to ``sample_rate``, and mixed down.

        Raises:
            CodecError: no such folder.
        """
        self._folder = Path(folder)
        if not self._folder.is_dir():
            raise CodecError(f"{folder}: no such folder; give the one that holds ID.wav for every utterance")
        self.name = str(folder)
        self.sample_rate = sample_rate
        self._rates_said: set[int] = set()

    @cached_property
    def identity(self) -> str:
        """See :class:`codec.evaluation.systems.System`. By what the files hold: other files of one length and name,
        copied with their dates, are other reconstructions. As they are when this is first asked for.
        """
        digest = hashlib.sha256()
        files = {path.relative_to(self._folder).as_posix(): path for path in self._folder.rglob("*")}
        for name in sorted(files):
            if not name.endswith(SUFFIXES):
                continue
            with suppress(OSError), files[name].open("rb") as file:  # what cannot be read fails when it is scored
                digest.update(name.encode(errors="surrogateescape") + b"\0")
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return f"files {self._folder.resolve()}, contents {digest.hexdigest()[:16]}"

    def reconstruct(self, utterance: Utterance, reference: Tensor) -> Reconstruction:
        """See :meth:`codec.evaluation.systems.System.reconstruct`."""
        reconstruction, rate = read_reconstruction(self._find(utterance), self.sample_rate)
        if rate != self.sample_rate:
            self._say(rate)
        return reconstruction

    def _find(self, utterance: Utterance) -> Path:
        for name in (utterance.id, member_key(utterance.id)):
            found = [path for suffix in SUFFIXES if _is_file(path := self._folder / f"{name}{suffix}")]
            if found:
                break
        else:
            # In a mirrored folder, what leads to a file is the end of what leads to the recording.
            parts = [*utterance.path.parent.parts, utterance.path.stem]
            least = 1 if utterance.path.stem == utterance.id else 2  # else a.wav would serve for x/a.wav and y/a.wav
            ends = ("/".join(parts[-count:]) for count in range(least, len(parts) + 1))
            found = [path for end in ends for path in self._below.get(end, []) if not _same(path, utterance.path)]
        if not found:
            raise CodecError(f"no file of this id ({', '.join(SUFFIXES)}) in {self._folder}")
        if len(found) > 1:
            names = ", ".join(path.relative_to(self._folder).as_posix() for path in found)
            raise CodecError(f"several files of this id ({names}) in {self._folder}; leave the one to score")
        return found[0]

    @cached_property
    def _below(self) -> dict[str, list[Path]]:
        """All files, by their paths without suffix."""
        found: dict[str, list[Path]] = {}
        for path in sorted(self._folder.rglob("*")):
            if path.name.lower().endswith(SUFFIXES) and path.is_file():
                parts = [*path.relative_to(self._folder).parent.parts, _recording_name(path.name)]
                found.setdefault("/".join(parts), []).append(path)
        return found

    def _say(self, rate: int) -> None:
        """Once, by the first process: it is the same with all files."""
        if rate in self._rates_said or (torch.distributed.is_initialized() and torch.distributed.get_rank()):
            return
        self._rates_said.add(rate)
        logger.info("%s: files of %d Hz, resampled to %d Hz", self._folder, rate, self.sample_rate)


def read_reconstruction(path: Path, sample_rate: int) -> tuple[Reconstruction, int]:
    """A file as a reconstruction at ``sample_rate`` Hz, mixed down and resampled, and its own rate.

    Only 16-bit samples of one channel at that rate have the rounding in them; all others get it.

    Raises:
        CodecError: a file that cannot be read.
    """
    with opened(path) as file:
        channels, rate = read_whole(file, path), file.samplerate
        rounded = file.subtype in ROUNDED and len(channels) == 1 and rate == sample_rate
    waveform = audio_io.resample_sharply(audio_io.to_mono(channels), rate, sample_rate)
    return Reconstruction(waveform, from_file=rounded), rate


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # an id may make a longer name than a disk takes
        return False


def _same(one: Path, other: Path) -> bool:
    """Whether a folder of reconstructions has led to the recording itself."""
    try:
        return one.samefile(other)
    except OSError:  # which fails by itself, then
        return False


def _recording_name(name: str) -> str:
    """Without the suffix, and without that of the recording, which ``codec decode`` leaves: ``a.mp3.wav`` -> ``a``."""
    stem = Path(name).stem
    return Path(stem).stem if stem.lower().endswith(FOLDER_SUFFIXES) else stem

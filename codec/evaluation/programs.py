"""Codecs that are command-line programs: files in, files out, and the delay taken away.

Every one of them gets 16-bit samples at a rate of its own, so a reference is resampled on the way in and on the way
out; what that costs alone is measured by the system ``resample:RATE``.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import soundfile
from torch import Tensor
from torch.nn import functional as F

from codec import audio as audio_io
from codec.errors import CodecError
from codec.evaluation.systems import Rate, Reconstruction
from codec.evaluation.unavailable import SystemUnavailableError
from codec.manifest import Utterance

LONGEST_S = 600.0  # of one program on one utterance


class ProgramSystem(ABC):
    """A codec of two programs, encoder and decoder.

    Args:
        name: as given to ``--system``.
        sample_rate: Hz at which it is compared.
        bitrate_bps: nominal.
    """

    encoder: ClassVar[str]
    decoder: ClassVar[str]
    package: ClassVar[str]  # Debian's, that has both
    coded_suffix: ClassVar[str]
    source_name: ClassVar[str] = "source.wav"

    def __init__(self, name: str, sample_rate: int, bitrate_bps: float) -> None:
        """Find the programs.

        Raises:
            CodecError: they are not installed.
        """
        self.name = name
        self.sample_rate = sample_rate
        self.rate = Rate(bitrate_bps)
        self._encoder = find_program(self.encoder, self.package, name)
        self._decoder = find_program(self.decoder, self.package, name)
        self.identity = f"{name}, {self.version()}"

    @property
    def own_rate(self) -> int:
        """Hz at which the programs are fed."""
        return self.sample_rate

    @abstractmethod
    def encode_command(self, source: Path, coded: Path) -> list[str]:
        """Arguments of the encoder."""

    @abstractmethod
    def decode_command(self, coded: Path, decoded: Path) -> list[str]:
        """Arguments of the decoder."""

    def delay(self, coded: bytes) -> int:
        """Samples at ``own_rate`` by which what the decoder gives lags behind, for one coded file."""
        return 0

    def padded_length(self, length: int) -> int:
        """Samples to feed so that ``length`` come back after the delay; the rest are zeros."""
        return length

    @property
    def versions(self) -> dict[str, str]:
        """Of the package that the encoder is in: not all say their own, as ``identity`` would have it."""
        return {self.package: package_version(self._encoder)}

    def version(self) -> str:
        """First line of what the encoder says of itself."""
        done = subprocess.run([self._encoder, "--version"], capture_output=True, text=True, check=False)
        return (done.stdout or done.stderr).strip().split("\n")[0]

    def write(self, path: Path, audio: Tensor) -> None:
        """Write (T,) at ``own_rate`` as the encoder reads it."""
        soundfile.write(path, audio.clamp(-1.0, 1.0).numpy(), self.own_rate, "PCM_16")

    def read(self, path: Path) -> Tensor:
        """Read (T,) at ``own_rate`` as the decoder writes it.

        Raises:
            CodecError: no audio, or of another rate.
        """
        audio, rate = audio_io.read(path)
        if rate != self.own_rate:
            raise CodecError(f"{self.decoder} wrote {rate} Hz, expected {self.own_rate} Hz")
        return audio_io.to_mono(audio)

    def reconstruct(self, utterance: Utterance, reference: Tensor) -> Reconstruction:
        """See :meth:`codec.evaluation.systems.System.reconstruct`. The times are those of the programs, start included.

        Raises:
            CodecError: a program fails, or takes over ten minutes.
        """
        speech = audio_io.resample_sharply(reference, self.sample_rate, self.own_rate)
        with TemporaryDirectory(prefix="codec-") as name:
            folder = Path(name)
            source, decoded = folder / self.source_name, folder / f"decoded{Path(self.source_name).suffix}"
            coded = folder / f"coded{self.coded_suffix}"
            self.write(source, F.pad(speech, (0, self.padded_length(len(speech)) - len(speech))))
            encode_s = run_program([self._encoder, *self.encode_command(source, coded)])
            decode_s = run_program([self._decoder, *self.decode_command(coded, decoded)])
            data = coded.read_bytes()
            waveform = self.read(decoded)[self.delay(data) :]
        waveform = audio_io.resample_sharply(waveform, self.own_rate, self.sample_rate)[: len(reference)]
        waveform = F.pad(waveform, (0, len(reference) - len(waveform)))
        return Reconstruction(waveform, file_bytes=len(data), encode_s=encode_s, decode_s=decode_s)


def find_program(program: str, package: str, needed_by: str) -> str:
    """Path of an installed program.

    Raises:
        SystemUnavailableError: it is not installed; names the package.
    """
    path = shutil.which(program)
    if path is None:
        raise SystemUnavailableError(
            f"{needed_by}: the program {program} is not installed; it is in the package {package} "
            f"(apt-get install {package})"
        )
    return path


def package_version(program: str) -> str:
    """Version of the Debian package that the file ``program`` belongs to; "unknown" where it came another way."""
    query = shutil.which("dpkg-query")
    if query is None:
        return "unknown"
    owner = subprocess.run([query, "--search", program], capture_output=True, text=True, check=False)
    package = owner.stdout.partition(": ")[0]
    if owner.returncode or not package:
        return "unknown"
    found = subprocess.run([query, "--show", "-f", "${Version}", package], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def run_program(command: list[str]) -> float:
    """Run a program to its end; seconds taken.

    Raises:
        CodecError: it fails or hangs; has the last line that it said.
    """
    name = Path(command[0]).name
    started = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=LONGEST_S, check=False)
    except subprocess.TimeoutExpired:
        raise CodecError(f"{name} did not end within {LONGEST_S:.0f} s") from None
    elapsed_s = time.perf_counter() - started
    if done.returncode:
        said = done.stderr.decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(said) if line.strip()), "said nothing")
        raise CodecError(f"{name} failed with exit code {done.returncode}: {last}")
    return elapsed_s

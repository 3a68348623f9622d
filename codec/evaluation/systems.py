"""What is scored: anything that turns an utterance into a reconstruction of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from codec import audio as audio_io
from codec.errors import CodecError
from codec.manifest import Utterance
from codec.model import Codec

SUFFIXES = tuple(audio_io.WRITABLE)  # in this order, where several files carry one id


@dataclass(frozen=True)
class Reconstruction:
    """One reconstructed utterance."""

    audio: Tensor  # (T,) float32 on the CPU, at the system's rate
    tokens: Tensor | None = None  # (F,) int64, where the system has a codebook
    from_file: bool = False  # the rounding of a file is in it already


@dataclass(frozen=True)
class Rate:
    """What a system's tokens cost."""

    codebook_size: int
    frame_rate: float  # tokens a second
    bitrate_bps: float  # nominal


class System(Protocol):
    """A system under test."""

    @property
    def name(self) -> str:
        """As the report calls it."""

    @property
    def identity(self) -> str:
        """Changes whenever the reconstructions may; scores of different identities are never mixed."""

    @property
    def sample_rate(self) -> int:
        """Hz at which references are read and reconstructions come."""

    @property
    def rate(self) -> Rate | None:
        """Of its tokens; None where it has none."""

    def reconstruct(self, utterance: Utterance, reference: Tensor) -> Reconstruction:
        """Reconstruct one utterance.

        Args:
            utterance: its manifest entry.
            reference: (T,) float32 at ``sample_rate``.

        Raises:
            CodecError: this utterance has no reconstruction; it is counted as failed.
        """


class ModelSystem:
    """A codec from a model folder: encode, decode."""

    def __init__(self, folder: str | Path, device: torch.device | str = "auto") -> None:
        """Load the model.

        Raises:
            CodecError: what :meth:`Codec.from_pretrained` raises.
        """
        self._codec = Codec.from_pretrained(folder, device=device)
        self.name = str(folder)
        self.identity = f"model {self._codec.fingerprint}"
        self.sample_rate = self._codec.sample_rate
        self.rate = Rate(self._codec.codebook_size, self._codec.frame_rate, self._codec.bitrate_bps)

    def reconstruct(self, utterance: Utterance, reference: Tensor) -> Reconstruction:
        """See :meth:`System.reconstruct`."""
        tokens = self._codec.encode(reference)
        return Reconstruction(self._codec.decode(tokens)[0, 0].cpu(), tokens.tokens[0].cpu())


class GroundTruth:
    """The references themselves, as 16-bit files: the ceiling of every metric."""

    name = "ground truth"
    identity = "ground truth"
    rate = None

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate

    def reconstruct(self, utterance: Utterance, reference: Tensor) -> Reconstruction:
        """See :meth:`System.reconstruct`."""
        return Reconstruction(reference)


class ReconstructedFiles:
    """A folder of files that some other program made: ``ID.wav``, ``.flac`` or ``.ogg`` for each utterance."""

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
        self.identity = f"files {self._folder.resolve()}"
        self.sample_rate = sample_rate

    def reconstruct(self, utterance: Utterance, reference: Tensor) -> Reconstruction:
        """See :meth:`System.reconstruct`."""
        for suffix in SUFFIXES:
            path = self._folder / f"{utterance.id}{suffix}"
            if path.is_file():
                return Reconstruction(audio_io.load(path, self.sample_rate), from_file=True)
        raise CodecError(f"no file of this id ({', '.join(SUFFIXES)}) in {self._folder}")

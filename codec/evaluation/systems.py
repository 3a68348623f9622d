"""What is scored: anything that turns an utterance into a reconstruction of it."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, Self

import torch
from torch import Tensor

from codec import audio as audio_io
from codec.bitstream import Header, write_tokens
from codec.convert import convert_published
from codec.manifest import Utterance
from codec.model import Codec


@dataclass(frozen=True)
class Reconstruction:
    """One reconstructed utterance."""

    audio: Tensor  # (T,) float32 on the CPU, at the system's rate
    tokens: Tensor | None = None  # (F,) int64, where the system has a codebook
    from_file: bool = False  # the rounding of a file is in it already
    file_bytes: int | None = None  # of the coded file, headers and all
    encode_s: float | None = None  # time that encoding and decoding took
    decode_s: float | None = None


@dataclass(frozen=True)
class Rate:
    """What a system costs, and of what kind its tokens are where it has one codebook."""

    bitrate_bps: float  # nominal
    codebook_size: int | None = None
    frame_rate: float | None = None  # tokens a second


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
        """None where nothing is coded."""

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

    def __init__(
        self,
        folder: str | Path,
        device: torch.device | str = "auto",
        *,
        name: str | None = None,
        whole_frames: bool = False,
    ) -> None:
        """Load the model.

        Args:
            folder: of the model.
            device: where it computes.
            name: in the report; None: the folder's.
            whole_frames: leave the padding of the last frame in the reconstruction, as the published protocol does.

        Raises:
            CodecError: what :meth:`Codec.from_pretrained` raises.
        """
        self._codec = Codec.from_pretrained(folder, device=device)
        self._whole_frames = whole_frames
        self.name = name or str(folder)
        self._token_fingerprint = self._codec.token_fingerprint
        self.identity = f"model {self._codec.fingerprint}"
        self.sample_rate = self._codec.sample_rate
        self.rate = Rate(self._codec.bitrate_bps, self._codec.codebook_size, self._codec.frame_rate)

    @classmethod
    def from_checkpoint(
        cls, checkpoint: str | Path, device: torch.device | str = "auto", *, whole_frames: bool = False
    ) -> Self:
        """A published SimVQ or WavTokenizer checkpoint, converted on the fly; nothing of it stays on disk.

        Raises:
            CodecError: what :func:`codec.convert.convert_published` raises.
        """
        with TemporaryDirectory(prefix="codec-") as folder:
            convert_published(Path(checkpoint), Path(folder))
            return cls(folder, device, name=str(checkpoint), whole_frames=whole_frames)

    def reconstruct(self, utterance: Utterance, reference: Tensor) -> Reconstruction:
        """See :meth:`System.reconstruct`."""
        started = time.perf_counter()
        encoded = self._codec.encode(reference)
        tokens = encoded.tokens[0].cpu()  # waits for the device, so that the time is that of the work
        between = time.perf_counter()
        waveform = self._codec.decode(encoded.tokens if self._whole_frames else encoded)[0, 0].cpu()
        ended = time.perf_counter()
        return Reconstruction(
            waveform,
            tokens,
            file_bytes=self._file_bytes(tokens, len(reference)),
            encode_s=between - started,
            decode_s=ended - between,
        )

    def _file_bytes(self, tokens: Tensor, samples: int) -> int:
        """Size of the ``.svq`` file of (F,) tokens."""
        codec = self._codec
        header = Header(self._token_fingerprint, codec.sample_rate, codec.hop_length, codec.codebook_size, samples)
        return write_tokens(io.BytesIO(), header, tokens.numpy())


class BypassedModel:
    """A model without its bottleneck, latents straight into the decoder: what the other two parts lose by themselves.

    What the bottleneck costs is the difference to the model as it is. The decoder was trained on codes, so an
    autoencoder trained as such could do better. Nothing is coded, and so there is no rate.
    """

    rate = None

    def __init__(self, folder: str | Path, device: torch.device | str = "auto") -> None:
        """Load the model.

        Raises:
            CodecError: what :meth:`Codec.from_pretrained` raises.
        """
        self._codec = Codec.from_pretrained(folder, device=device)
        self.name = f"{folder}, bottleneck bypassed"
        self.identity = f"model {self._codec.fingerprint}, bypassed"
        self.sample_rate = self._codec.sample_rate

    @torch.no_grad()
    def reconstruct(self, utterance: Utterance, reference: Tensor) -> Reconstruction:
        """See :meth:`System.reconstruct`."""
        batch = reference[None, None].to(self._codec.device)  # (1, 1, T)
        return Reconstruction(self._codec(batch, bypass_quantizer=True).audio[0, 0].cpu())


class GroundTruth:
    """The references themselves: the ceiling of every metric."""

    name = "ground truth"
    identity = "ground truth"
    rate = None

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate

    def reconstruct(self, utterance: Utterance, reference: Tensor) -> Reconstruction:
        """See :meth:`System.reconstruct`."""
        return Reconstruction(reference, from_file=True)


class Resampling:
    """The references at a lower rate and back: what a band of that width costs before anything is coded."""

    rate = None

    def __init__(self, through_rate: int, sample_rate: int) -> None:
        """Through ``through_rate`` Hz, compared at ``sample_rate`` Hz.

        Raises:
            CodecError: a rate that cannot be resampled to.
        """
        audio_io.resample(torch.zeros(1), sample_rate, through_rate)  # refuses now rather than once an utterance
        self._through_rate = through_rate
        self.name = self.identity = f"resample:{through_rate}"
        self.sample_rate = sample_rate

    def reconstruct(self, utterance: Utterance, reference: Tensor) -> Reconstruction:
        """See :meth:`System.reconstruct`."""
        narrow = audio_io.resample_sharply(reference, self.sample_rate, self._through_rate)
        return Reconstruction(audio_io.resample_sharply(narrow, self._through_rate, self.sample_rate)[: len(reference)])

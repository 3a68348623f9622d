"""EnCodec, DAC and Mimi as systems, by ``transformers``: the neural codecs that people compare with.

Their numbers of codebooks, not a file format, set their rates: nothing is written, and bits a second are nominal.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from codec import audio as audio_io
from codec.errors import CodecError
from codec.evaluation import hub
from codec.evaluation.systems import Rate, Reconstruction
from codec.manifest import Utterance


class NeuralPeer(ABC):
    """A residual codec of several codebooks, one utterance at a time, at its own rate.

    Args:
        name: as given to ``--system``.
        source: folder, or repository in the hub's cache; None: the default of its kind.
        sample_rate: Hz at which it is compared.
        device: of the network.
    """

    kind: ClassVar[str]  # what --system and codec fetch call it
    network_class: ClassVar[str]  # in transformers

    def __init__(self, name: str, source: str | Path | None, sample_rate: int, device: torch.device | str) -> None:
        """Load the network.

        Raises:
            SystemUnavailableError: the library or the weights are not here.
        """
        library = hub.transformers()
        folder = hub.find(source or hub.REPOSITORIES[self.kind], self.kind)
        self._device = torch.device(device)
        self.network = hub.load(getattr(library, self.network_class), folder, self._device)
        self.name, self.sample_rate = name, sample_rate
        self._identity = f"{name}, weights {hub.fingerprint(folder)[:16]}"

    @property
    def identity(self) -> str:
        """See :class:`codec.evaluation.systems.System`."""
        return self._identity

    @property
    def own_rate(self) -> int:
        """Hz at which the network works."""
        return self.network.config.sampling_rate

    @property
    def frame_rate(self) -> float:
        """Frames a second, each of one token a codebook."""
        return self.network.config.frame_rate

    @property
    @abstractmethod
    def codebooks(self) -> int:
        """How many are used."""

    @property
    def rate(self) -> Rate:
        """See :class:`codec.evaluation.systems.System`. How codes are used is said where there is one codebook."""
        size, frame_rate = self.network.config.codebook_size, self.frame_rate
        bitrate_bps = self.codebooks * frame_rate * math.log2(size)
        return Rate(bitrate_bps, size, frame_rate) if self.codebooks == 1 else Rate(bitrate_bps)

    @abstractmethod
    def encode(self, waveform: Tensor) -> Any:
        """(1, 1, T) -> codes (..., codebooks, F), as :meth:`decode` takes them."""

    @abstractmethod
    def decode(self, codes: Any) -> Tensor:
        """The waveform, (1, 1, T') or (1, T')."""

    @torch.inference_mode()
    def reconstruct(self, utterance: Utterance, reference: Tensor) -> Reconstruction:
        """See :meth:`codec.evaluation.systems.System.reconstruct`."""
        speech = audio_io.resample_sharply(reference, self.sample_rate, self.own_rate)
        started = time.perf_counter()
        codes = self.encode(speech[None, None].to(self._device))
        first = codes.reshape(-1, codes.shape[-1])[0].cpu()  # (F,); waits for the device
        between = time.perf_counter()
        waveform = self.decode(codes).flatten().cpu()
        ended = time.perf_counter()
        waveform = audio_io.resample_sharply(waveform, self.own_rate, self.sample_rate)[: len(reference)]
        return Reconstruction(
            F.pad(waveform, (0, len(reference) - len(waveform))),
            first if self.codebooks == 1 else None,
            encode_s=between - started,
            decode_s=ended - between,
        )


class EnCodec(NeuralPeer):
    """EnCodec (arXiv 2210.13438) of 24 kHz speech at a rate in kbit/s."""

    kind: ClassVar[str] = "encodec"
    network_class: ClassVar[str] = "EncodecModel"

    def __init__(self, kbps: float, source: str | Path | None, sample_rate: int, device: torch.device | str) -> None:
        """One of the network's target rates; see :class:`NeuralPeer`.

        Raises:
            SystemUnavailableError: as :class:`NeuralPeer`.
            CodecError: another rate, or a network of several channels.
        """
        super().__init__(f"encodec:{kbps:g}", source, sample_rate, device)
        config = self.network.config
        if config.audio_channels != 1 or config.chunk_length is not None:
            raise CodecError(
                f"encodec:{kbps:g}: made for {config.audio_channels} channels in chunks; name the 24 kHz one"
            )
        if kbps not in config.target_bandwidths:
            known = ", ".join(f"encodec:{rate:g}" for rate in config.target_bandwidths)
            raise CodecError(f"encodec:{kbps:g}: no rate of this network; known are {known}")
        self._kbps = kbps

    @property
    def codebooks(self) -> int:
        """See :class:`NeuralPeer`."""
        return self.network.quantizer.get_num_quantizers_for_bandwidth(self._kbps)

    def encode(self, waveform: Tensor) -> Tensor:
        """See :class:`NeuralPeer`."""
        return self.network.encode(waveform, bandwidth=self._kbps).audio_codes

    def decode(self, codes: Tensor) -> Tensor:
        """See :class:`NeuralPeer`. The 24 kHz network has no scales."""
        return self.network.decode(codes, [None]).audio_values


class _Residual(NeuralPeer):
    """One whose number of codebooks is chosen."""

    def __init__(
        self, codebooks: int | None, source: str | Path | None, sample_rate: int, device: torch.device | str
    ) -> None:
        """``codebooks``: the first so many; None: all. See :class:`NeuralPeer`.

        Raises:
            SystemUnavailableError: as :class:`NeuralPeer`.
            CodecError: more than there are, or none.
        """
        super().__init__(self.kind if codebooks is None else f"{self.kind}:{codebooks}", source, sample_rate, device)
        most = self.most_codebooks()
        if codebooks is not None and not 1 <= codebooks <= most:
            raise CodecError(
                f"{self.name}: this network has 1 to {most} codebooks; give {self.kind}:1 to {self.kind}:{most}"
            )
        self._codebooks = codebooks or most

    @property
    def codebooks(self) -> int:
        """See :class:`NeuralPeer`."""
        return self._codebooks

    @abstractmethod
    def most_codebooks(self) -> int:
        """How many the network has."""


class DAC(_Residual):
    """Descript audio codec (arXiv 2306.06546) with some of its codebooks."""

    kind: ClassVar[str] = "dac"
    network_class: ClassVar[str] = "DacModel"

    def most_codebooks(self) -> int:
        """See :class:`_Residual`."""
        return self.network.config.n_codebooks

    @property
    def frame_rate(self) -> float:
        """See :class:`NeuralPeer`."""
        return self.own_rate / self.network.config.hop_length

    def encode(self, waveform: Tensor) -> Tensor:
        """See :class:`NeuralPeer`. Whole frames, as its feature extractor gives them: the encoder drops the rest."""
        hop = self.network.config.hop_length
        whole = F.pad(waveform, (0, -waveform.shape[-1] % hop))
        return self.network.encode(whole, n_quantizers=self._codebooks).audio_codes

    def decode(self, codes: Tensor) -> Tensor:
        """See :class:`NeuralPeer`."""
        return self.network.decode(audio_codes=codes).audio_values


class Mimi(_Residual):
    """Mimi (arXiv 2410.00037), 12.5 frames a second, with some of its codebooks."""

    kind: ClassVar[str] = "mimi"
    network_class: ClassVar[str] = "MimiModel"

    def most_codebooks(self) -> int:
        """See :class:`_Residual`."""
        return self.network.config.num_quantizers

    def encode(self, waveform: Tensor) -> Tensor:
        """See :class:`NeuralPeer`."""
        return self.network.encode(waveform, num_quantizers=self._codebooks).audio_codes

    def decode(self, codes: Tensor) -> Tensor:
        """See :class:`NeuralPeer`."""
        return self.network.decode(codes).audio_values

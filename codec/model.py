"""The codec: waveform to tokens and back."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from copy import deepcopy
from numbers import Integral
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

import codec.audio as audio_io
from codec import fingerprints
from codec.bitstream import Header, read_tokens, write_tokens
from codec.config import ModelConfig, build
from codec.devices import pick_device
from codec.errors import CodecError
from codec.files import read_json
from codec.inference import Inference
from codec.modules.decoder import Decoder
from codec.modules.seanet import SEANetEncoder
from codec.modules.unset import UnsetWeights
from codec.pretrained import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    check_sums,
    find_model,
    load_weights,
    read_model_weights,
    replacing_model,
)
from codec.quantizers import QuantizerOutput, build_quantizer
from codec.tensors import as_latents, as_lengths, as_recordings
from codec.tokens import AnyTokens, Tokens, id_batch_of, tokens_of_file

Audio = Tensor | Sequence[Tensor | np.ndarray]


class CodecOutput(NamedTuple):
    """A training pass."""

    audio: Tensor  # (B, 1, T), as long as the input
    quantizer: QuantizerOutput
    latent: Tensor  # (B, D, F)


class Codec(nn.Module):
    """A speech codec with one codebook.

    >>> codec = Codec.from_pretrained("exp/mini/tiny/best")
    >>> tokens = codec.encode(audio, sample_rate=16_000)   # (T,), (B, T) or (B, 1, T)
    >>> back = codec.decode(tokens)                         # (B, 1, T'), T' = T at the codec's rate
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = SEANetEncoder(config.encoder)
        self.quantizer = build_quantizer(config.encoder.latent_dim, config.quantizer)
        self.decoder = Decoder(config.encoder.latent_dim, config.hop_length, config.decoder)
        self.inference = Inference()

    # Modules with weight norm cannot be pickled; settings, weights (of one type) and modes can, and worker processes
    # want whole models. What else somebody has put on the modules stays behind.
    def __reduce__(self) -> tuple[Any, ...]:
        learns = [weight.requires_grad for weight in self.parameters()]
        modes = [module.training for module in self.modules()]
        return _rebuilt, (type(self), self.config, self.state_dict(), modes, learns, self.inference)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:  # which would take the same way, and lose hooks
        memo[id(self)] = twin = type(self).__new__(type(self))
        twin.__setstate__(deepcopy(self.__getstate__(), memo))
        return twin

    # -- facts ----------------------------------------------------------------------------------------------------

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.config.sample_rate

    @property
    def hop_length(self) -> int:
        """Samples a token."""
        return self.config.hop_length

    @property
    def frame_rate(self) -> float:
        """Tokens a second."""
        return self.sample_rate / self.hop_length

    @property
    def codebook_size(self) -> int:
        """Number of codes, K."""
        return self.quantizer.codebook_size

    @property
    def bitrate_bps(self) -> float:
        """Nominal rate in bits per second: tokens a second times log2 K."""
        return self.frame_rate * math.log2(self.codebook_size)

    @property
    def latent_dim(self) -> int:
        """Width of the latents, D."""
        return self.config.encoder.latent_dim

    @property
    def is_causal(self) -> bool:
        """Whether encoder and decoder both see the past only. This decoder (attention, group norm) never does."""
        return False

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def fingerprint(self) -> str:
        """16 hex digits that name this model: equal settings and weights, equal fingerprint."""
        return fingerprints.of_model(self.config, self.state_dict())

    @property
    def token_fingerprint(self) -> str:
        """16 hex digits that name this model's tokens, as ``.svq`` files and token datasets carry them.

        They follow from settings and weights of encoder and bottleneck. Models that differ in the decoder alone
        (``training.frozen=[encoder,quantizer]``) have one and the same, and decode each other's tokens; to all others
        they mean nothing.
        """
        return fingerprints.of_tokens(self.config, self.state_dict())

    def decodes(self, fingerprint: str) -> bool:
        """Whether tokens that carry a fingerprint are this model's; costs a look at all weights.

        Files of earlier versions carry :attr:`fingerprint` in the place of :attr:`token_fingerprint`.
        """
        return fingerprint == self.token_fingerprint or fingerprint == self.fingerprint

    # -- training -------------------------------------------------------------------------------------------------

    def forward(self, audio: Tensor, *, bypass_quantizer: bool = False) -> CodecOutput:
        """Reconstruct (B, 1, T) with gradients; ``bypass_quantizer`` makes it a plain autoencoder."""
        latent = self.encoder(audio)
        quantizer = self.quantizer.bypass if bypass_quantizer else self.quantizer
        quantized: QuantizerOutput = quantizer(latent)
        return CodecOutput(self.decoder(quantized.quantized)[..., : audio.shape[-1]], quantized, latent)

    # -- use ------------------------------------------------------------------------------------------------------

    @torch.no_grad()  # not inference mode: whoever trains on the tokens could not save them for backward
    def encode(self, audio: Audio, sample_rate: int | None = None, lengths: Tensor | None = None) -> Tokens:
        """Turn audio into tokens.

        Args:
            audio: (T,), (B, T) or (B, 1, T), float in [-1, 1], on any device; or a list of recordings (T,) of any
                lengths, tensors or arrays.
            sample_rate: of ``audio``, Hz; resampled where it differs from the codec's. None: it is the codec's.
            lengths: (B,) samples that are real in each row of a padded batch. None: all.

        Returns:
            Tokens (B, ceil(T / hop)) with lengths in samples at the codec's rate. What follows a shorter item's own
            frames is code 0.

        Raises:
            CodecError: no tensor, wrong shape, no samples, not finite, lengths outside the batch or beside a list, or a
                sample rate that is no whole number.
        """
        latent, own = self._latents(audio, sample_rate, lengths)
        tokens = self._zero_behind(self.quantizer.encode(latent), own)
        return Tokens(tokens, torch.tensor(own, device=self.device))

    @torch.no_grad()
    def decode(self, tokens: AnyTokens, length: int | None = None) -> Tensor:
        """Turn tokens into audio, in one pass: time and memory grow with the square of the length.

        What is longer than 30 s goes through :func:`codec.streaming.decode_chunks`, in windows, as commands have it.

        Args:
            tokens: what :meth:`encode` gave; plain tokens (B, F) or (F,), or a list of such (F,) of any lengths; or
                what :func:`codec.bitstream.read_tokens` read.
            length: samples to return, the first of the decoding; None: the encoded length, or F * hop for plain tokens.

        Returns:
            (B, 1, T) float32. Items that are shorter than T end in zeros.

        Raises:
            CodecError: no tensor, wrong shape or type, a token outside the codebook, a length that the tokens do not
                reach, or a file of another model.
        """
        quantized, own = self._embed(tokens)
        frames = quantized.shape[-1]
        if length is not None and not isinstance(length, Integral):
            raise CodecError(f"length={length!r}: expected one whole number of samples, or Tokens with their lengths")
        if length is not None and not 0 < length <= frames * self.hop_length:
            raise CodecError(f"length={length}: {frames} tokens hold 1 to {frames * self.hop_length} samples")
        return self._audio(quantized, own, length)

    # What lies on both sides of the bottleneck, for models of continuous latents.

    @torch.no_grad()
    def latents(self, audio: Audio, sample_rate: int | None = None, lengths: Tensor | None = None) -> Tensor:
        """Turn audio into latents, which no code has replaced yet; ``quantizer.encode`` makes :meth:`encode`'s tokens.

        Args:
            audio: as for :meth:`encode`, and so the others.
            sample_rate: of ``audio``, Hz.
            lengths: (B,) samples that are real in each row.

        Returns:
            (B, D, F) float32, F = ceil(T / hop). What follows a shorter item's own frames is 0.

        Raises:
            CodecError: as :meth:`encode`.
        """
        return self._latents(audio, sample_rate, lengths)[0]

    @torch.no_grad()
    def embed(self, tokens: AnyTokens) -> Tensor:
        """Look the codes of tokens up, as the decoder sees them: of SimVQ the projected rows, not the frozen table's.

        Args:
            tokens: as for :meth:`decode`.

        Returns:
            (B, D, F) float32. What follows a shorter item's own frames is 0.

        Raises:
            CodecError: as :meth:`decode`.
        """
        return self._embed(tokens)[0]

    @torch.no_grad()
    def decode_latents(self, latents: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Turn latents into audio: those of :meth:`embed`, of :meth:`latents` (unquantised), or of a model of them.

        Args:
            latents: (B, D, F), or (D, F), floats.
            lengths: (B,) samples at the codec's rate that each row holds, :attr:`Tokens.lengths`. None: F * hop.

        Returns:
            (B, 1, T) float32, T the longest of ``lengths``. Items that are shorter end in zeros.

        Raises:
            CodecError: no tensor, another width, no frames, not finite, or lengths that the frames do not reach.
        """
        self._check_weights()
        batch = as_latents(latents, self.latent_dim).to(self.device)
        reach = batch.shape[-1] * self.hop_length
        return self._audio(batch, as_lengths(lengths, len(batch), reach, "latents"))

    def _latents(self, audio: Audio, sample_rate: int | None, lengths: Tensor | None) -> tuple[Tensor, list[int]]:
        """(B, D, F) and samples of each row at the codec's rate."""
        if sample_rate is not None and not isinstance(sample_rate, Integral):
            raise CodecError(f"sample_rate={sample_rate!r}: expected whole Hz; give an int")
        self._check_weights()
        items = as_recordings(audio, lengths, self.device, self.hop_length)
        if sample_rate is not None and sample_rate != self.sample_rate:
            items = [audio_io.resample(item, sample_rate, self.sample_rate) for item in items]
        own = [item.shape[-1] for item in items]
        padded = torch.zeros(len(items), 1, max(own), dtype=torch.float32, device=self.device)
        for row, item in zip(padded, items, strict=True):
            row[:, : item.shape[-1]] = item
        lengths = None if min(own) == max(own) else torch.tensor(own, device="cpu")
        latent = self.inference.latents(self.encoder, padded, lengths)
        return self._zero_behind(latent, own), own

    def _embed(self, tokens: AnyTokens) -> tuple[Tensor, list[int]]:
        """(B, D, F) and samples of each row."""
        self._check_weights()
        ids, own = id_batch_of(self, tokens)
        return self._zero_behind(self.quantizer.decode(ids.to(self.device)), own), own

    def _audio(self, quantized: Tensor, own: list[int], length: int | None = None) -> Tensor:
        """(B, D, F) -> (B, 1, T), ``own`` samples of each row and zeros behind them."""
        audio = torch.zeros(len(own), 1, length or max(own), dtype=torch.float32, device=self.device)
        frames = [-(-item // self.hop_length) for item in own]
        longest = max(frames)
        # The decoder's attention and group norm would mix padding into the speech: they are told where a row ends.
        own_frames = None if min(frames) == longest else torch.tensor(frames, device="cpu")
        decoded = self.inference.audio(self.decoder, quantized[..., :longest], own_frames)
        for row, item, waveform in zip(audio, own, decoded, strict=True):
            given = min(item, audio.shape[-1])  # cut last: what a sample is depends on all tokens
            row[:, :given] = waveform[:, :given]
        return audio

    def _zero_behind(self, batch: Tensor, own: list[int]) -> Tensor:
        """(B, ..., F) with zeros behind the frames of ``own`` samples, in place."""
        for row, item in zip(batch, own, strict=True):
            row[..., -(-item // self.hop_length) :] = 0
        return batch

    def _check_weights(self) -> None:
        """Tokens are those of float32 weights: of others they would be other tokens."""
        if (dtype := next(self.parameters()).dtype) != torch.float32:
            raise CodecError(
                f"the model's weights are {dtype}: encoding and decoding take float32; call .float(), and for a faster "
                'decoder load the model with dtype="bfloat16"'
            )

    # -- files ----------------------------------------------------------------------------------------------------

    def save_tokens(self, path: str | Path, tokens: Tokens | Tensor) -> None:
        """Write the tokens of one recording as ``codec encode`` does, a ``.svq`` file; at once or not at all.

        Args:
            path: of the file; what is there is replaced.
            tokens: what :meth:`encode` gave for one recording, or plain tokens (F,) or (1, F).

        Raises:
            CodecError: tokens that :meth:`decode` refuses, several recordings, or a place that cannot be written.
        """
        ids, own = id_batch_of(self, tokens)
        if len(ids) != 1:
            raise CodecError(
                f"tokens of {len(ids)} recordings: a .svq file holds one; give Tokens(tokens.tokens[i : i + 1], "
                "tokens.lengths[i : i + 1]) for each"
            )
        header = Header(self.token_fingerprint, self.sample_rate, self.hop_length, self.codebook_size, own[0])
        write_tokens(path, header, ids[0, : header.frames_of(own[0])].cpu().numpy())

    def load_tokens(self, path: str | Path) -> Tokens:
        """Read the tokens of one recording from a ``.svq`` file, for :meth:`decode`; on the CPU.

        Raises:
            CodecError: no such file, a damaged one, or one of another model's tokens.
        """
        return tokens_of_file(read_tokens(path), self, str(path))

    def save_pretrained(self, directory: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors``; a model that is there stays until this one is whole.

        Raises:
            CodecError: the folder cannot be written, or the disk is full; what was there is untouched then.
        """
        weights = {name: value.detach().contiguous().cpu() for name, value in self.state_dict().items()}
        settings = json.dumps(json.loads(self.config.model_dump_json()), indent=2) + "\n"
        with replacing_model(Path(directory), [CONFIG_FILE, WEIGHTS_FILE]) as paths:
            paths[CONFIG_FILE].write_text(settings, encoding="utf-8")
            paths[WEIGHTS_FILE].write_bytes(save(weights))  # save_file has an error of its own for a full disk

    def push_to_hub(
        self, repository: str, *, licence: str | None = None, private: bool = False, revision: str | None = None
    ) -> str:
        """Upload the model with card and checksums to "owner/name" on the hub, and return the commit's address.

        ``codec push`` does it for a run's folder, whose card then tells training and scores.

        Raises:
            CodecError: off line, not logged in, or refused by the hub.
        """
        from codec.sharing import prepare, push  # which loads models

        with TemporaryDirectory(prefix="codec-") as name:
            self.save_pretrained(Path(name, "model"))
            prepare(Path(name, "model"), Path(name, "shared"), repository, licence=licence)
            return push(Path(name, "shared"), repository, private=private, revision=revision)

    @classmethod
    def from_pretrained(
        cls,
        name_or_dir: str | Path,
        device: str | torch.device = "auto",
        *,
        revision: str | None = None,
        dtype: str | torch.dtype = "float32",
        compile: bool = False,
    ) -> Self:
        """Load a model folder, in eval mode.

        Args:
            name_or_dir: a folder with ``config.json`` and ``model.safetensors`` (or its parts); else the name of a
                model that ships ("simvq-24khz-0.9kbps"); else that of a hub repository ("owner/name"; fetched once and
                kept, off line from what was kept). Half-precision weights are computed with in float32.
            device: ``auto`` takes CUDA, then MPS, then the CPU.
            revision: branch, tag or commit of a hub repository; None: its main branch.
            dtype: of the decoder's matrix products, float32 or bfloat16, as torch's or by name; tokens never depend on
                it.
            compile: the decoder by torch.compile, when it first runs (see docs/speed.md for what it costs and gains).

        Raises:
            CodecError: no such folder, a missing or damaged file, one that is not that of ``SHA256SUMS`` (which shared
                models have), weights that do not fit the settings, an unknown
                ``dtype``, or a device that this machine does not have.
        """
        inference = Inference(dtype, compile=compile)
        directory = find_model(name_or_dir, revision)
        check_sums(directory)
        settings = directory / CONFIG_FILE
        config = build(ModelConfig, read_json(settings, "give the folder of a model"), str(settings))
        target = pick_device(device)
        # Weights made under a caller's inference mode could never be trained.
        with torch.inference_mode(False):
            weights = read_model_weights(directory)
            with UnsetWeights():
                codec = cls(config)
            load_weights(codec, weights, str(directory))
            codec.inference = inference
            return codec.to(target, torch.float32).eval()  # whatever torch's default was while it was made


def _rebuilt(
    cls: type[Codec],
    config: ModelConfig,
    weights: dict[str, Tensor],
    modes: list[bool],
    learns: list[bool],
    inference: Inference,
) -> Codec:
    """A codec out of a pickle."""
    with UnsetWeights():
        codec = cls(config)
    some = next(iter(weights.values()))
    codec.to(some.device, some.dtype).load_state_dict(weights)
    for weight, learning in zip(codec.parameters(), learns, strict=True):
        weight.requires_grad_(learning)
    codec.inference = inference
    for module, mode in zip(codec.modules(), modes, strict=True):
        module.training = mode
    return codec

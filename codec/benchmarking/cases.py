"""What is timed: a stage of the codec at one size, batch, length and number of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
from torch import Tensor

from codec.benchmarking.operations import count_operations, search_operations
from codec.config import ModelConfig, build, preset
from codec.errors import CodecError
from codec.inference import Inference
from codec.model import Codec, Tokens
from codec.quantizers.simvq import SimVQ

Stage = Literal["encode", "search", "decode", "round_trip", "train_step"]
STAGES: tuple[Stage, ...] = get_args(Stage)
CODEBOOKS = (4096, 16_384, 65_536, 262_144)
UNTRAINED_GAIN = 1.3  # of the encoder's first weights: without it all latents are nearly the same


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    stage: Stage
    size: str  # a preset
    codebook_size: int
    batch: int
    seconds: float
    threads: int

    @property
    def audio_s(self) -> float:
        """Seconds of speech in one call."""
        return self.batch * self.seconds

    @property
    def name(self) -> str:
        """Without the threads."""
        return f"{self.stage} {self.size} K={self.codebook_size} {self.batch}x{self.seconds:g}s"


def standard_cases(threads: list[int], *, quick: bool = False) -> Iterator[Case]:
    """The sweeps over sizes, codebooks, lengths and batches.

    Args:
        threads: each is a line of its own.
        quick: one length and two codebooks, and the published sizes only where they take seconds.
    """
    for count in threads:
        for size in ("tiny", "reference"):
            books = CODEBOOKS[:1] if size == "tiny" or quick else CODEBOOKS
            yield from _sweep(size, books, count, search=size == "reference", quick=quick)
            yield Case("train_step", size, books[0], 2, 1.0, count)


def model_cases(name: str, codebook_size: int, threads: list[int], *, quick: bool = False) -> Iterator[Case]:
    """The same for one model, without training.

    Args:
        name: in the place of a size.
        codebook_size: K.
        threads: each is a line of its own.
        quick: one length.
    """
    for count in threads:
        yield from _sweep(name, (codebook_size,), count, search=True, quick=quick)


def _sweep(size: str, books: tuple[int, ...], threads: int, *, search: bool, quick: bool) -> Iterator[Case]:
    """Inference; the codebooks at one length, the first of them at others."""
    for K in books:
        yield Case("round_trip", size, K, 1, 10.0, threads)
        yield Case("encode", size, K, 1, 10.0, threads)
        if search:
            yield Case("search", size, K, 1, 10.0, threads)
    yield Case("decode", size, books[0], 1, 10.0, threads)
    if not quick:
        for seconds in (1.0, 30.0):
            yield Case("round_trip", size, books[0], 1, seconds, threads)
        yield Case("round_trip", size, books[0], 8, 3.0, threads)


class Subject:
    """A codec, and something to code.

    Args:
        codec: in eval mode.
        device: where it is.
        speech: (T,) at the codec's rate, repeated as needed; noise where none is given.
    """

    def __init__(self, codec: Codec, device: torch.device, speech: Tensor | None = None) -> None:
        self.codec = codec
        self.device = device
        noise = 0.1 * torch.randn(self.codec.sample_rate, generator=torch.Generator().manual_seed(0))
        self.speech = noise if speech is None else speech

    def audio(self, case: Case) -> Tensor:
        """(B, T), each row at another place of the speech."""
        samples = round(case.seconds * self.codec.sample_rate)
        repeats = -(-(samples + case.batch) // len(self.speech)) + 1
        long = self.speech.repeat(repeats)
        step = len(self.speech) // case.batch
        return torch.stack([long[row * step :][:samples] for row in range(case.batch)]).to(self.device)

    def work(self, case: Case) -> Callable[[], object]:
        """One call of the stage, through the public methods. Training has its own module."""
        audio = self.audio(case)
        if case.stage == "encode":
            return lambda: self.codec.encode(audio)
        if case.stage == "round_trip":
            return lambda: self.codec.decode(self.codec.encode(audio))
        if case.stage == "decode":
            tokens: Tokens = self.codec.encode(audio)
            return lambda: self.codec.decode(tokens)
        if case.stage == "search":
            latent = self.latents(case)
            return lambda: self.codec.quantizer.encode(latent)
        raise AssertionError(case.stage)

    @torch.no_grad()
    def latents(self, case: Case) -> Tensor:
        """Of :meth:`audio`, (B, D, F)."""
        return self.codec.encoder(self.audio(case).unsqueeze(1))

    @torch.no_grad()
    def operations(self, case: Case) -> int:
        """Of encoder, full search and decoder, as far as the stage has them."""
        codec, audio = self.codec, self.audio(case).unsqueeze(1)
        latent = codec.encoder(audio)
        total = 0
        if case.stage in ("encode", "round_trip"):
            total += count_operations(lambda: codec.encoder(audio), codec.encoder)
        if case.stage in ("encode", "round_trip", "search"):
            total += self._bottleneck_operations(latent)
        if case.stage in ("decode", "round_trip"):
            quantized = latent.new_zeros(latent.shape)
            tokens = latent.new_zeros(latent.shape[0], latent.shape[2], dtype=torch.long)
            total += count_operations(lambda: codec.decoder(quantized))
            total += count_operations(lambda: codec.quantizer.decode(tokens))
        return total

    def _bottleneck_operations(self, latent: Tensor) -> int:
        """Of SimVQ's search all inner products, though ours leaves some out; of others what they compute."""
        quantizer = self.codec.quantizer
        if isinstance(quantizer, SimVQ):
            return search_operations(latent.shape[0] * latent.shape[2], self.codec.codebook_size, self.codec.latent_dim)
        return count_operations(lambda: quantizer.encode(latent))


def untrained(size: str, codebook_size: int, dtype: str = "float32", *, compile: bool = False) -> Codec:
    """A preset with seeded random weights that keep the latents alive, in eval mode.

    Raises:
        CodecError: no such preset.
    """
    settings = preset(size).model_dump(mode="json")
    settings["encoder"]["init_gain"] = UNTRAINED_GAIN
    settings["quantizer"]["codebook_size"] = codebook_size
    with torch.random.fork_rng():
        torch.manual_seed(0)
        codec = Codec(build(ModelConfig, settings)).eval()
    codec.inference = Inference(dtype, compile=compile)
    return codec


def check_stages(names: list[str]) -> list[Stage]:
    """Names to stages, in the order given: what is cut short has measured the first ones.

    Raises:
        CodecError: an unknown one.
    """
    for name in names:
        if name not in STAGES:
            raise CodecError(f"stage {name!r} is not known; stages are {', '.join(STAGES)}")
    return cast(list[Stage], list(dict.fromkeys(names)))

"""Latents to quantise: Gaussians, mixtures of them, real speech and images of digits; every set at mean variance 1.

Speech and digits are kept in ``exp/collapse/latents`` once made (``python egs/collapse/sources.py``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from digits import digit_latents
from safetensors.torch import load_file, save_file
from torch import Tensor

from codec import Codec
from codec.audio import read
from codec.cli import run
from codec.errors import CodecError
from codec.files import replacing
from codec.manifest import read_manifest

KEPT = Path("exp/collapse/latents")
MODEL = Path("exp/mini/tiny/best")
DATA = Path("exp/mini/data")
DIM = 16  # of the Gaussians
MODES = 64  # of the mixture
TRAIN, TEST = 65_536, 8192  # latents drawn
DECAY = 0.8  # variances of the Gaussian's directions fall by this factor from one to the next
SPREAD = 0.1  # variance within a mode of the mixture; modes ~ N(0, 1)

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Source:
    """A set of latents."""

    name: str
    train: Tensor  # (B, D, ...), of the rank that the encoder gives
    test: Tensor
    entropy_bits: float | None  # differential entropy of a latent, where the density is known

    @property
    def dim(self) -> int:
        """D."""
        return self.train.shape[1]

    def rows(self, part: str = "train") -> Tensor:
        """(N, D)."""
        latents = self.train if part == "train" else self.test
        return latents.movedim(1, -1).reshape(-1, self.dim)


def gaussian(seed: int = 0) -> Source:
    """One Gaussian with falling variances; its rate-distortion function is known exactly."""
    generator = torch.Generator().manual_seed(seed)
    variances = DECAY ** torch.arange(DIM)
    variances = variances / variances.mean()
    drawn = torch.randn(TRAIN + TEST, DIM, generator=generator) * variances.sqrt()
    entropy = 0.5 * float((2 * math.pi * math.e * variances).log2().sum())
    return Source("gaussian", drawn[:TRAIN], drawn[TRAIN:], entropy)


def mixture(seed: int = 0) -> Source:
    """64 equally likely Gaussians; its entropy is that of the drawn latents under the known density."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(MODES, DIM, generator=generator)
    mode = torch.randint(MODES, (TRAIN + TEST,), generator=generator)
    drawn = centres[mode] + SPREAD**0.5 * torch.randn(TRAIN + TEST, DIM, generator=generator)
    test = drawn[TRAIN:]
    logs = -torch.cdist(test, centres).square() / (2 * SPREAD) - DIM / 2 * math.log(2 * math.pi * SPREAD)
    nats = float(-(logs.logsumexp(dim=1) - math.log(MODES)).mean())
    scale = (drawn - drawn.mean(dim=0)).square().mean().rsqrt()
    drawn = drawn * scale
    return Source("mixture", drawn[:TRAIN], drawn[TRAIN:], nats / math.log(2) + DIM * math.log2(float(scale)))


@torch.no_grad()
def speech_latents(model: Path = MODEL, data: Path = DATA) -> tuple[Tensor, Tensor]:
    """Latents of the demo's training and test speech, (1, D, F) each."""
    if not model.is_dir():
        raise CodecError(f"{model}: no trained model; egs/mini/run.sh --stop-stage 2 makes it")
    codec = Codec.from_pretrained(model, device="cpu").eval()
    parts = []
    for name in ("train-mini", "test-mini"):
        latents = []
        for utterance in read_manifest(data / f"{name}.jsonl"):
            audio, rate = read(utterance.path)
            if rate != codec.sample_rate:
                raise CodecError(f"{utterance.path}: {rate} Hz; the model is for {codec.sample_rate} Hz")
            latents.append(codec.encoder(audio.reshape(1, 1, -1))[0])
        parts.append(torch.cat(latents, dim=1).unsqueeze(0).contiguous())
    return parts[0], parts[1]


def load(name: str, kept: Path = KEPT) -> Source:
    """A source by name; those of trained encoders from ``kept``.

    Raises:
        CodecError: unknown name, or latents that are not made yet.
    """
    if name == "gaussian":
        return gaussian()
    if name == "mixture":
        return mixture()
    if name not in ("speech", "digits"):
        raise CodecError(f"source {name!r}: known are gaussian, mixture, speech, digits")
    path = kept / f"{name}.safetensors"
    if not path.exists():
        raise CodecError(f"{path}: no latents; python egs/collapse/sources.py makes them")
    parts = load_file(path)
    return standardised(name, parts["train"], parts["test"])


def standardised(name: str, train: Tensor, test: Tensor) -> Source:
    """Mean 0 and mean variance 1 of the training latents, by one shift and one factor for all directions."""
    axes = [axis for axis in range(train.ndim) if axis != 1]
    mean = train.mean(dim=axes, keepdim=True)
    scale = (train - mean).square().mean().rsqrt()
    return Source(name, (train - mean) * scale, (test - mean) * scale, None)


@app.command()
def main(
    kept: Annotated[Path, typer.Option("--output", "-o", help="Folder.")] = KEPT,
    model: Annotated[Path, typer.Option(help="Folder of a trained codec.")] = MODEL,
    data: Annotated[Path, typer.Option(help="Folder with train-mini.jsonl and test-mini.jsonl.")] = DATA,
    force: Annotated[bool, typer.Option(help="Make again what is there.")] = False,
) -> None:
    """Make the latents of speech and digits."""
    for name in ("speech", "digits"):
        path = kept / f"{name}.safetensors"
        if path.exists() and not force:
            print(f"{path}: there already (--force makes it again)")
            continue
        train, test = speech_latents(model, data) if name == "speech" else digit_latents()
        with replacing(path) as temporary:
            save_file({"train": train, "test": test}, temporary)
        print(f"{path}: train {tuple(train.shape)}, test {tuple(test.shape)}")


if __name__ == "__main__":
    run(app)

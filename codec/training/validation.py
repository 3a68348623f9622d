"""Validation on fixed crops: the same on every run, step and number of processes."""

from __future__ import annotations

import hashlib
from functools import cached_property

import matplotlib
import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from codec.config import RunConfig
from codec.config.run import PICTURE_FFT
from codec.model import Codec
from codec.quantizers.usage import CodeUsage
from codec.training.data import read_manifests, stack_equal, validation_crops
from codec.training.dimensions import codebook_sample, effective_dimension
from codec.training.losses import MelLoss

BATCH = 8
LATENTS = 20_000  # at most this many for the effective dimension


class Validation:
    """Scores a codec on crops of the validation manifests, shared over the processes."""

    def __init__(self, accelerator: Accelerator, config: RunConfig) -> None:
        self.accelerator, self.config = accelerator, config
        utterances = read_manifests(config.data.validation)
        rate = config.model.sample_rate
        longest = max(PICTURE_FFT, *(scale.n_fft for scale in config.losses.mel_scales))
        least = longest // 2 + 1  # or nothing could be reflected at the ends of a spectrogram
        self.crops = validation_crops(utterances, rate, config.data, least) if utterances else []

    @cached_property
    def identity(self) -> str:
        """Of what the mel loss is measured on, and at which scales: losses of two identities do not compare."""
        digest = hashlib.sha256(str(self.config.losses.mel_scales).encode())
        for crop in self.crops:
            digest.update(crop.numpy().tobytes())
        return digest.hexdigest()

    @torch.no_grad()
    def run(self, codec: Codec, mel: MelLoss, latent_variance: Tensor, *, bypass: bool) -> dict[str, float]:
        """Mean mel loss and bottleneck error over the crops, the codes they use and the dimensions they fill.

        Empty without crops. ``latent_variance`` (): the unit of the bottleneck's loss, as in training.
        """
        if not self.crops:
            return {}
        accelerator = self.accelerator
        own = self.crops[accelerator.process_index :: accelerator.num_processes]
        usage = CodeUsage(codec.codebook_size, accelerator.device)
        sums = torch.zeros(3, device=accelerator.device)  # mel, bottleneck loss, crops
        latents = []  # (n, D) each
        for group in stack_equal(own):
            for batch in group.split(BATCH):
                real = batch.to(accelerator.device)
                output = codec(real, bypass_quantizer=bypass)
                usage.update(output.quantizer.tokens)
                latents.append(output.latent.float().transpose(1, 2).flatten(0, 1).cpu())
                sums += len(real) * torch.stack([mel(output.audio, real), output.quantizer.loss, real.new_ones(())])
        sums = accelerator.reduce(sums, "sum")
        usage.join_processes()
        everyones = torch.cat(gather_object(latents))
        values = {
            "loss/mel": float(sums[0] / sums[2]),
            "loss/commitment": float(sums[1] / sums[2] / latent_variance),
            "effective_dimension/latents": float(effective_dimension(everyones[:: -(-len(everyones) // LATENTS)])),
        }
        if not bypass:
            values |= {name: float(value) for name, value in usage.summary().items()}  # type: ignore[arg-type]
            codes = codebook_sample(codec.quantizer, codec.device)
            values["effective_dimension/codebook"] = float(effective_dimension(codes))
        return values

    @torch.no_grad()
    def draw_samples(self, codec: Codec, board: SummaryWriter, step: int, *, bypass: bool) -> None:
        """Put the first crops, original and reconstructed, into TensorBoard as audio and spectrograms."""
        for index, crop in enumerate(self.crops[: self.config.training.samples]):
            real = crop.to(codec.device)[None, None]
            fake = codec(real, bypass_quantizer=bypass).audio
            board.add_audio(f"sample_{index}/original", crop, step, codec.sample_rate)
            board.add_audio(
                f"sample_{index}/reconstruction", fake.flatten().clamp(-1, 1).cpu(), step, codec.sample_rate
            )
            image = spectrogram_image([real.flatten().cpu(), fake.flatten().cpu()])
            board.add_image(f"sample_{index}/spectrograms", image, step, dataformats="HWC")


def spectrogram_image(signals: list[Tensor], n_fft: int = PICTURE_FFT) -> np.ndarray:
    """Log spectrograms of signals (T,) above each other, as an image (H, W, 3) of bytes."""
    window = torch.hann_window(n_fft)
    powers = [torch.stft(signal, n_fft, n_fft // 4, window=window, return_complex=True).abs() for signal in signals]
    decibels = torch.cat([power.clamp(min=1e-5).log10().flip(0) for power in powers])  # high frequencies on top
    scaled = (decibels - decibels.min()) / (decibels.max() - decibels.min()).clamp(min=1e-6)
    coloured = matplotlib.colormaps["magma"](scaled.numpy())[..., :3]
    return (coloured * 255).astype(np.uint8)

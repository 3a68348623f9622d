"""The published training step, in float32 or under bfloat16 autocast."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.audio.mel import mel_bands, mel_spectrogram
from codec.config import RunConfig
from codec.model import Codec
from codec.training.discriminators import Discriminators
from naive import bottleneck, network
from naive.judges import judge

LOG_FLOOR = 1e-7


class NaiveTraining:
    """Generator first, then the discriminators on the same reconstruction; each side's losses backward by themselves.

    Real and generated speech go through all discriminators twice a step, the generator's backward pass runs through
    both of them and leaves gradients in the discriminators that are thrown away. Adam without fusing; the average of
    the weights, those of the discriminators among them, tensor by tensor.
    """

    def __init__(self, codec: Codec, discriminators: Discriminators, config: RunConfig) -> None:
        self.codec, self.discriminators, self.config = codec, discriminators, config
        settings = {"lr": config.optimizer.lr, "betas": config.optimizer.betas}
        trained = [parameter for parameter in codec.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(trained, **settings)
        settings["lr"] = config.optimizer.discriminator_lr
        self.discriminator_optimizer = torch.optim.Adam(discriminators.parameters(), **settings)
        device = next(codec.parameters()).device
        (scale,) = config.losses.mel_scales  # the published objective has one
        self.bands = mel_bands(config.model.sample_rate, scale.n_fft, scale.n_mels).to(device)
        self.hop_length = scale.hop_length
        self.averages = {
            id(parameter): parameter.detach().clone()
            for module in (codec, discriminators)
            for parameter in module.parameters()
        }

    def step(self, real: Tensor) -> None:
        """One update of both sides, (B, 1, T)."""
        weights = self.config.losses
        half = self.config.training.mixed_precision == "bf16"
        with torch.autocast(real.device.type, torch.bfloat16, enabled=half):
            quantized = bottleneck.quantize(
                self.codec.quantizer, network.encode_latents(self.codec.encoder, real).float()
            )
            features = network.features(self.codec.decoder.backbone, quantized.quantized)
            with torch.autocast(real.device.type, enabled=False):  # the published head overflows in half precision
                fake = network.synthesise(self.codec.decoder.head, features.float())
            fake = fake[..., : real.shape[-1]]
            on_real, on_fake = judge(self.discriminators, real), judge(self.discriminators, fake)
        loss = weights.mel * self._mel_distance(fake, real) + weights.commitment * quantized.loss
        for family, members in on_fake.items():
            adversarial, matching = torch.zeros((), device=real.device), torch.zeros((), device=real.device)
            for ours, theirs in zip(members, on_real[family], strict=True):
                judgement = ours[-1].float()
                if family == "dac":
                    adversarial = adversarial + (1 - judgement).square().mean()
                    ours, theirs = ours[:-1], theirs[:-1]
                else:
                    adversarial = adversarial + (1 - judgement).clamp(min=0).mean()
                for a, b in zip(ours, theirs, strict=True):
                    matching = matching + F.l1_loss(a.float(), b.float())  # real features keep their graph
            share = 1 if family == "dac" else len(members)
            loss = loss + getattr(weights, f"adversarial_{family}") * adversarial / share
            loss = loss + getattr(weights, f"feature_{family}") * matching / share
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

        with torch.autocast(real.device.type, torch.bfloat16, enabled=half):
            on_real, on_fake = judge(self.discriminators, real), judge(self.discriminators, fake.detach())
        loss = torch.zeros((), device=real.device)
        for family, members in on_fake.items():
            share = 1 if family == "dac" else len(members)
            for ours, theirs in zip(members, on_real[family], strict=True):
                on_ours, on_theirs = ours[-1].float(), theirs[-1].float()
                if family == "dac":
                    term = on_ours.square().mean() + (1 - on_theirs).square().mean()
                else:
                    term = (1 + on_ours).clamp(min=0).mean() + (1 - on_theirs).clamp(min=0).mean()
                loss = loss + getattr(weights, f"discriminator_{family}") * term / share
        self.discriminator_optimizer.zero_grad()
        loss.backward()
        self.discriminator_optimizer.step()
        self._average()

    def _mel_distance(self, fake: Tensor, real: Tensor) -> Tensor:
        one, other = (
            mel_spectrogram(signal.float(), self.bands, self.hop_length).clip(min=LOG_FLOOR).log()
            for signal in (fake, real)
        )
        return F.l1_loss(one, other)

    @torch.no_grad()
    def _average(self) -> None:
        decay = self.config.training.ema_decay
        for module in (self.codec, self.discriminators):
            for parameter in module.parameters():
                average = self.averages[id(parameter)]
                average.sub_((1 - decay) * (average - parameter))

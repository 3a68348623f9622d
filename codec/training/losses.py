"""Terms of the training objective, each a function of signals or feature maps; weights live in the settings."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional as F

from codec.config import LossConfig
from codec.training.discriminators import Features

LOG_FLOOR = 1e-7
LOUDNESS_POWER = 0.3  # of magnitudes, between the logarithm and the 0.6 of Stevens' law of loudness
LOUDNESS_FLOOR = 1e-3  # magnitude below which the slope of the power law ends

Judged = Mapping[str, list[Features]]  # family -> members -> feature maps


class MelLoss(nn.Module):
    """Mean absolute difference of log mel spectrograms, averaged over the scales.

    Published: one scale, n_fft 1024, hop 256, 100 mels (HTK), magnitude, natural log clipped at 1e-7.
    """

    def __init__(self, sample_rate: int, config: LossConfig) -> None:
        super().__init__()
        self.spectrograms = nn.ModuleList(
            torchaudio.transforms.MelSpectrogram(
                sample_rate, n_fft=scale.n_fft, hop_length=scale.hop_length, n_mels=scale.n_mels, power=1
            )
            for scale in config.mel_scales
        )

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        """(B, 1, T) twice -> ()."""
        return self.terms(fake, real, loudness=False)["mel"]

    def terms(self, fake: Tensor, real: Tensor, *, loudness: bool) -> dict[str, Tensor]:
        """(B, 1, T) twice -> ``mel`` and, where asked for, ``loudness``, () each.

        Loudness is the same spectrograms under a power law instead of the logarithm, relative to the mean of the real
        ones: what is loud counts more than silence and noise far below it, about as much as it does to the ear.
        """
        distances: dict[str, list[Tensor]] = {"mel": [], "loudness": []}
        with torch.autocast(fake.device.type, enabled=False):
            for spectrogram in self.spectrograms:
                # One transform of both signals: half the launches.
                mel = spectrogram(torch.stack([fake.float(), real.float()]))
                log_mel = mel.clamp(min=LOG_FLOOR).log()
                distances["mel"].append(F.l1_loss(log_mel[0], log_mel[1]))
                if loudness:
                    sones = (mel + LOUDNESS_FLOOR).pow(LOUDNESS_POWER)
                    distances["loudness"].append(F.l1_loss(sones[0], sones[1]) / sones[1].mean())
        return {name: torch.stack(values).mean() for name, values in distances.items() if values}


def generator_terms(fake: Judged, real: Judged) -> dict[str, Tensor]:
    """Adversarial and feature-matching terms; ``real`` is made without gradient.

    Period and resolution families: hinge, averaged over their members, features likewise. DAC family: least squares
    and L1, summed, judgements not counted as features.
    """
    terms: dict[str, Tensor] = {}
    for family, members in fake.items():
        pairs = list(zip(members, real[family], strict=True))
        if family == "dac":
            terms["adversarial_dac"] = _total((1 - f[-1]).square().mean() for f in members)
            terms["feature_dac"] = _total(
                F.l1_loss(a, b) for f, r in pairs for a, b in zip(f[:-1], r[:-1], strict=True)
            )
        else:
            hinge = _total((1 - f[-1]).clamp(min=0).mean() for f in members)
            matching = _total(F.l1_loss(a, b) for f, r in pairs for a, b in zip(f, r, strict=True))
            terms[f"adversarial_{family}"] = hinge / len(members)
            terms[f"feature_{family}"] = matching / len(members)
    return terms


def discriminator_terms(fake: Judged, real: Judged) -> dict[str, Tensor]:
    """Each family's own loss: hinge averaged over members, least squares summed for DAC."""
    terms: dict[str, Tensor] = {}
    for family, members in fake.items():
        judged = [(f[-1], r[-1]) for f, r in zip(members, real[family], strict=True)]
        if family == "dac":
            terms["discriminator_dac"] = _total(f.square().mean() + (1 - r).square().mean() for f, r in judged)
        else:
            hinge = _total((1 + f).clamp(min=0).mean() + (1 - r).clamp(min=0).mean() for f, r in judged)
            terms[f"discriminator_{family}"] = hinge / len(members)
    return terms


def weighted_sum(terms: Mapping[str, Tensor], config: LossConfig) -> Tensor:
    """The objective: every term times its weight; terms of weight 0 are for the log only. 0 where no term is left."""
    weighted = [getattr(config, name) * value for name, value in terms.items() if getattr(config, name)]
    return _total(weighted) if weighted else torch.zeros(())


def _total(terms: object) -> Tensor:
    return torch.stack([term.float() for term in terms]).sum()  # type: ignore[attr-defined]

"""Terms of the training objective, each a function of signals or feature maps; weights live in the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from codec.config import LossConfig
from codec.training.discriminators import Features
from codec.training.spectra import MelSpectrogram

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
            MelSpectrogram(sample_rate, scale.n_fft, scale.hop_length, scale.n_mels) for scale in config.mel_scales
        )

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        """(B, 1, T) twice -> ()."""
        return self.terms(fake, self.targets(real))["mel"]

    @torch.no_grad()  # in one transform with the reconstruction they would be followed back in vain
    def targets(self, real: Tensor) -> list[Tensor]:
        """The mel spectrogram of the original (B, 1, T) at each scale."""
        with torch.autocast(real.device.type, enabled=False):
            return [spectrogram(real.float()) for spectrogram in self.spectrograms]

    def terms(self, fake: Tensor, targets: Sequence[Tensor], levels: Tensor | None = None) -> dict[str, Tensor]:
        """``mel`` and, with ``levels``, ``loudness``, () each.

        Loudness is the same spectrograms under a power law instead of the logarithm, relative to the mean of the real
        ones: what is loud counts more than silence and noise far below it, about as much as it does to the ear.

        Args:
            fake: the reconstruction, (B, 1, T).
            targets: what :meth:`targets` makes of the original.
            levels: (scales,) mean loudness of all originals that one step learns from (:func:`mean_loudness`).
        """
        distances: dict[str, list[Tensor]] = {"mel": [], "loudness": []}
        with torch.autocast(fake.device.type, enabled=False):
            for scale, (spectrogram, target) in enumerate(zip(self.spectrograms, targets, strict=True)):
                mel = spectrogram(fake.float())
                distances["mel"].append(_mean_distance(_log(mel), _log(target)))
                if levels is not None:
                    distances["loudness"].append(_mean_distance(_loudness(mel), _loudness(target)) / levels[scale])
        return {name: torch.stack(values).mean() for name, values in distances.items() if values}


def mean_loudness(targets: Sequence[Tensor]) -> Tensor:
    """Of spectrograms at several scales, (scales,)."""
    return torch.stack([_loudness(target).mean() for target in targets])


def _log(mel: Tensor) -> Tensor:
    return mel.clamp(min=LOG_FLOOR).log()


def _loudness(mel: Tensor) -> Tensor:
    return (mel + LOUDNESS_FLOOR).pow(LOUDNESS_POWER)


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
                _mean_distance(a, b) for f, r in pairs for a, b in zip(f[:-1], r[:-1], strict=True)
            )
        else:
            hinge = _total((1 - f[-1]).clamp(min=0).mean() for f in members)
            matching = _total(_mean_distance(a, b) for f, r in pairs for a, b in zip(f, r, strict=True))
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


class _MeanDistance(torch.autograd.Function):
    """Mean absolute difference of a signal to one without gradient; half the passes over memory of ``F.l1_loss``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, target: Tensor) -> Tensor:
        difference = x - target
        ctx.save_for_backward(difference)
        return difference.abs().mean(dtype=torch.promote_types(difference.dtype, torch.float32))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (difference,) = ctx.saved_tensors
        scale = (gradients[0] / difference.numel()).to(difference.dtype)
        return difference.sign().mul_(scale), None


def _mean_distance(x: Tensor, target: Tensor) -> Tensor:
    return cast(Tensor, _MeanDistance.apply(x, target))


def _total(terms: object) -> Tensor:
    return torch.stack([term.float() for term in terms]).sum()  # type: ignore[attr-defined]

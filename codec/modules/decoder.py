"""The decoder: quantised latents to a waveform."""

from __future__ import annotations

from torch import Tensor, nn

from codec.config import DecoderConfig
from codec.modules.istft import ISTFTHead
from codec.modules.masked import frame_mask
from codec.modules.vocos import VocosBackbone


class Decoder(nn.Module):
    """Quantised latents (B, D, F) -> audio (B, 1, F * hop)."""

    def __init__(self, latent_dim: int, hop_length: int, config: DecoderConfig) -> None:
        super().__init__()
        self.backbone = VocosBackbone(latent_dim, config)
        self.head = ISTFTHead(config.dim, config.n_fft, hop_length)

    def forward(self, quantized: Tensor, frame_lengths: Tensor | None = None) -> Tensor:
        """(B, D, F) -> (B, 1, F * hop).

        Args:
            quantized: of a batch.
            frame_lengths: (B,) frames of each row that are its own, where the rows differ. A row's audio is then that
                of the row alone up to rounding, and zero behind it. None: all.
        """
        if frame_lengths is None:
            return self.head(self.backbone(quantized))
        mask = frame_mask(frame_lengths, quantized.shape[-1], quantized.device)
        return self.head(self.backbone(quantized, mask), mask)

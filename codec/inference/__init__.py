"""How a codec runs when it is used and not trained.

The modules of :mod:`codec.modules` are the definition, and what training differentiates. Here are forms of the same
functions that run faster without gradient: the same values up to rounding, made from the modules' weights when first
needed, and made again when those have changed. What was measured is in docs/speed.md.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from codec.errors import CodecError
from codec.inference.decoder import PreparedDecoder
from codec.inference.encoder import PreparedEncoder
from codec.inference.weights import WeightsSeen
from codec.modules.istft import ISTFTHead
from codec.modules.seanet import SEANetEncoder
from codec.modules.vocos import VocosBackbone

DecoderDtype = Literal["float32", "bfloat16"]

__all__ = ["DecoderDtype", "Inference", "PreparedDecoder", "PreparedEncoder"]


class Inference:
    """Runs a codec's encoder and decoder, in their prepared forms where these were found to be faster.

    That is on CPUs, for signals of equal lengths, in eval mode and without gradient; in ``bfloat16`` the decoder is
    prepared on every device. Everything else goes through the modules. Tokens never depend on ``dtype``.

    Args:
        dtype: of the decoder's matrix products; the encoder and the search stay in float32.

    Raises:
        CodecError: an unknown ``dtype``.
    """

    def __init__(self, dtype: str = "float32") -> None:
        if dtype not in get_args(DecoderDtype):
            raise CodecError(f"dtype={dtype!r}: expected {' or '.join(get_args(DecoderDtype))}")
        self.dtype: torch.dtype = getattr(torch, dtype)
        self._encoder: tuple[WeightsSeen, PreparedEncoder] | None = None
        self._decoder: tuple[WeightsSeen, PreparedDecoder] | None = None

    def latents(self, encoder: SEANetEncoder, audio: Tensor, lengths: Tensor | None = None) -> Tensor:
        """``encoder(audio, lengths)``: (B, 1, T) -> (B, D, F)."""
        usable = lengths is None and audio.device.type == "cpu" and PreparedEncoder.takes(encoder)
        if not usable or encoder.training or torch.is_grad_enabled():
            return encoder(audio, lengths)
        if self._encoder is None or not self._encoder[0].unchanged(encoder):
            self._encoder = WeightsSeen(encoder), PreparedEncoder(encoder)
        prepared = self._encoder[1]
        return prepared(audio) if prepared.takes_signal(audio) else encoder(audio)

    def audio(self, decoder: Any, quantized: Tensor, frame_lengths: Tensor | None = None) -> Tensor:
        """``decoder(quantized, frame_lengths)``: (B, D, F) -> (B, 1, F * hop), of a :class:`codec.model.Decoder`."""
        backbone, head = decoder.backbone, decoder.head
        assert isinstance(backbone, VocosBackbone) and isinstance(head, ISTFTHead)
        usable = frame_lengths is None and (quantized.device.type == "cpu" or self.dtype != torch.float32)
        if not usable or decoder.training or torch.is_grad_enabled():
            result: Tensor = decoder(quantized, frame_lengths)
            return result
        if self._decoder is None or not self._decoder[0].unchanged(decoder):
            self._decoder = WeightsSeen(decoder), PreparedDecoder(backbone, head, self.dtype)
        return self._decoder[1](quantized)

    def __deepcopy__(self, memo: dict[int, Any]) -> Inference:
        return Inference(str(self.dtype).removeprefix("torch."))  # a copied codec prepares its own

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_encoder": None, "_decoder": None}

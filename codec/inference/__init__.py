"""How a codec runs when it is used and not trained.

The modules of :mod:`codec.modules` are the definition, and what training differentiates. Here are forms of the same
functions that run faster without gradient: the same values up to rounding, made from the modules' weights when first
needed, and made again when those have changed. What was measured is in docs/speed.md.
"""

from __future__ import annotations

import threading
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from codec.errors import CodecError
from codec.inference.decoder import PreparedDecoder
from codec.inference.encoder import LEAST_HOPS, PreparedEncoder
from codec.inference.weights import WeightsSeen
from codec.modules.istft import ISTFTHead
from codec.modules.masked import frame_mask
from codec.modules.seanet import EncoderState, SEANetEncoder
from codec.modules.vocos import VocosBackbone
from codec.precision import full_float32

DecoderDtype = Literal["float32", "bfloat16"]

__all__ = ["DecoderDtype", "Inference", "PreparedDecoder", "PreparedEncoder", "takes_graphs"]


class Inference:
    """Runs a codec's encoder and decoder, in their prepared forms where these were found to be faster.

    That is on CPUs, for signals of equal lengths, in eval mode and without gradient; in ``bfloat16`` the decoder is
    prepared on every device, and a batch of different lengths is decoded in groups of one length each. Everything else
    goes through the modules. Tokens never depend on ``dtype``, nor on what the process allows for speed (TF32).

    Args:
        dtype: of the decoder's matrix products; the encoder and the search stay in float32.
        compile: the decoder's backbone by torch.compile; on a GPU with CUDA graphs, which want few different lengths.
            Threads other than the first do without the graphs, which torch keeps for that one.

    Raises:
        CodecError: an unknown ``dtype``, or ``compile`` with another than float32.
    """

    def __init__(self, dtype: str | torch.dtype = "float32", *, compile: bool = False) -> None:
        name = str(dtype).removeprefix("torch.")
        if name not in get_args(DecoderDtype):
            raise CodecError(f"dtype={name!r}: expected {' or '.join(get_args(DecoderDtype))}")
        if compile and name != "float32":
            raise CodecError(f"compile with dtype={name}: they do not go together; give one of them")
        self.dtype: torch.dtype = getattr(torch, name)
        self.compile = compile
        self._encoder: tuple[WeightsSeen, PreparedEncoder] | None = None
        self._decoder: tuple[WeightsSeen, PreparedDecoder] | None = None
        self._backbones: dict[bool, tuple[VocosBackbone, Any]] = {}  # and compiled forms, with CUDA graphs or without

    @full_float32()
    def latents(self, encoder: SEANetEncoder, audio: Tensor, lengths: Tensor | None = None) -> Tensor:
        """``encoder(audio, lengths)``: (B, 1, T) -> (B, D, F)."""
        prepared = self._prepared(encoder, audio) if lengths is None else None
        if prepared is None or not prepared.takes_signal(audio):
            return encoder(audio, lengths)
        return prepared(audio)

    @full_float32()
    def step(self, encoder: SEANetEncoder, audio: Tensor, state: EncoderState, *, last: bool = False) -> Tensor:
        """``encoder.step(audio, state, last=last)``: (B, 1, n) -> (B, D, m).

        Whole hops run prepared, once the encoder has begun; the few samples before and behind them through the modules.
        """
        hop = encoder.hop_length
        least = LEAST_HOPS * hop
        parts = []
        if audio.shape[-1] >= 2 * least and (prepared := self._prepared(encoder, audio)) is not None:
            begin = -state.stem.num_inputs % hop if state.out.started else least - state.stem.num_inputs % hop
            parts.append(encoder.step(audio[..., :begin], state))
            whole = (audio.shape[-1] - begin) // hop * hop
            if prepared.continues(state) and whole >= least:
                parts.append(prepared.step(audio[..., begin : begin + whole], state))
                begin += whole
            audio = audio[..., begin:]
        if audio.shape[-1] or last or not parts:
            parts.append(encoder.step(audio, state, last=last))
        return torch.cat(parts, dim=-1)

    def _prepared(self, encoder: SEANetEncoder, audio: Tensor) -> PreparedEncoder | None:
        """Where it exists and serves."""
        if encoder.training or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
            return None
        if audio.device.type != "cpu" or not PreparedEncoder.takes(encoder):
            return None
        if self._encoder is None or not self._encoder[0].unchanged(encoder):
            with torch.inference_mode(False), torch.no_grad():  # kept beyond the caller's
                self._encoder = WeightsSeen(encoder), PreparedEncoder(encoder)
        return self._encoder[1]

    def audio(self, decoder: Any, quantized: Tensor, frame_lengths: Tensor | None = None) -> Tensor:
        """``decoder(quantized, frame_lengths)``: (B, D, F) -> (B, 1, F * hop), of a :class:`codec.model.Decoder`.

        Behind each row's ``frame_lengths`` (B,) there are zeros, or nothing that counts.
        """
        backbone, head = decoder.backbone, decoder.head
        assert isinstance(backbone, VocosBackbone) and isinstance(head, ISTFTHead)
        half = self.dtype != torch.float32
        usable = half or (frame_lengths is None and quantized.device.type == "cpu")
        usable = usable and not torch.is_autocast_enabled(quantized.device.type)
        if decoder.training or torch.is_grad_enabled() or not (usable or self.compile):
            result: Tensor = decoder(quantized, frame_lengths)
            return result
        if self.compile:
            return self._compiled(decoder, quantized, frame_lengths)
        if self._decoder is None or not self._decoder[0].unchanged(decoder):
            self._decoder = WeightsSeen(decoder), PreparedDecoder(backbone, head, self.dtype)
        if frame_lengths is None:
            return self._decoder[1](quantized)
        return _by_length(self._decoder[1], quantized, frame_lengths, head.hop_length)

    def _compiled(self, decoder: Any, quantized: Tensor, frame_lengths: Tensor | None) -> Tensor:
        """The compiler takes no complex numbers: the head stays outside."""
        graphs = takes_graphs(quantized.device)
        if graphs not in self._backbones or self._backbones[graphs][0] is not decoder.backbone:
            compiled = torch.compile(decoder.backbone, dynamic=not graphs, mode="reduce-overhead" if graphs else None)
            self._backbones[graphs] = decoder.backbone, compiled
        backbone = self._backbones[graphs][1]
        if frame_lengths is None:
            return decoder.head(backbone(quantized).clone())  # a graph's output lives until its next run
        mask = frame_mask(frame_lengths, quantized.shape[-1], quantized.device)
        return decoder.head(backbone(quantized, mask).clone(), mask)

    def __deepcopy__(self, memo: dict[int, Any]) -> Inference:  # a copied codec prepares its own
        return Inference(self.dtype, compile=self.compile)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_encoder": None, "_decoder": None, "_backbones": {}}


def takes_graphs(device: torch.device) -> bool:
    """Whether torch can keep CUDA graphs here: in a thread that did not import it, it ends with a bare assertion."""
    return device.type == "cuda" and threading.current_thread() is threading.main_thread()


def _by_length(decoder: PreparedDecoder, quantized: Tensor, frame_lengths: Tensor, hop_length: int) -> Tensor:
    """The prepared decoder knows no mask: rows of one length at a time, (B, D, F), (B,) -> (B, 1, F * hop)."""
    B, _, F = quantized.shape
    audio = torch.zeros(B, 1, F * hop_length, dtype=torch.float32, device=quantized.device)
    lengths = frame_lengths.to(quantized.device)
    for frames in lengths.unique().tolist():
        rows = lengths == frames
        audio[rows, :, : frames * hop_length] = decoder(quantized[rows, :, :frames])
    return audio

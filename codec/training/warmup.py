"""The end of the autoencoder warm-up: set the codebook from what the encoder has learned (arXiv 2605.06870).

A bottleneck with random weights can kill the encoder before there is anything to reconstruct: the latents shrink to a
few points, and only a few codes are ever chosen. Warm-up trains encoder and decoder without the bottleneck first.
"""

from __future__ import annotations

import logging

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor
from torch.utils.data import Dataset

from codec.model import Codec
from codec.quantizers import Quantizer
from codec.training.dimensions import CODES, codebook_sample, effective_dimension

logger = logging.getLogger(__name__)

BATCH = 16  # crops encoded at once


@torch.no_grad()
def gather_latents(accelerator: Accelerator, codec: Codec, dataset: Dataset[Tensor], first: int, count: int) -> Tensor:
    """Encode crops from position ``first`` on until there are ``count`` latents: (N, D), the same on every process.

    However many processes share the work, these are the same latents in the same order.
    """
    was_training = codec.encoder.training  # not the codec: a frozen part of it is in eval mode all along
    codec.encoder.eval()
    collected: list[Tensor] = []
    position = first + accelerator.process_index * BATCH
    while sum(map(len, collected)) < count:
        crops = torch.stack([dataset[position + i] for i in range(BATCH)]).unsqueeze(1)
        latent = codec.encoder(crops.to(codec.device)).float()  # (B, D, F)
        collected.append(accelerator.gather(latent.transpose(1, 2).flatten(0, 1)))  # process by process
        position += accelerator.num_processes * BATCH
    codec.encoder.train(was_training)
    return torch.cat(collected)[:count]


@torch.no_grad()
def initialize_bottleneck(quantizer: Quantizer, latents: Tensor, init: str, seed: int) -> dict[str, float]:
    """Set a bottleneck from latents (N, D), the same on every process.

    Returns:
        For the log: effective dimensions of the latents, and of the codebook before and after; the squared error of
        the bottleneck over the latents' variance right after the switch.
    """
    was_training = quantizer.training
    quantizer.eval()

    def codebook_dimension() -> float:
        return float(effective_dimension(codebook_sample(quantizer, latents.device, seed)))

    facts = {
        "effective_dimension/latents": float(effective_dimension(latents)),
        "effective_dimension/codebook_before": codebook_dimension(),
    }
    quantizer.initialize(latents, init, torch.Generator().manual_seed(seed))
    for tensor in quantizer.state_dict().values():  # sums on several devices may differ in the last bit
        tensor.copy_(broadcast(tensor))
    sample = latents[:: max(1, len(latents) // CODES)]
    batch = sample.T.unsqueeze(0)  # (1, D, N)
    error = (quantizer.decode(quantizer.encode(batch)) - batch).square().mean()
    facts["effective_dimension/codebook_after"] = codebook_dimension()
    facts["relative_error_at_switch"] = float(error / sample.var(dim=0, correction=0).mean().clamp(min=1e-12))
    quantizer.train(was_training)
    logger.info(
        "bottleneck set from %d latents by %r: effective dimension of latents %d, of codes %d -> %d, "
        "squared error %.2f of the latents' variance",
        len(latents),
        init,
        facts["effective_dimension/latents"],
        facts["effective_dimension/codebook_before"],
        facts["effective_dimension/codebook_after"],
        facts["relative_error_at_switch"],
    )
    return facts

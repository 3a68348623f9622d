"""Muon: momentum whose singular values are all set to about one before it is a step.

K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; at Adam's rates by the factor of
arXiv 2502.16982 (section 2.2). ``torch.optim.Muon`` takes matrices only, and knows no ``found_inf``; here a
convolution's kernel is the matrix of its outputs over all its inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.9
NEWTON_SCHULZ_STEPS = 5
QUINTIC = (3.4445, -4.7750, 2.0315)  # of Jordan: all singular values in (0, 1] to between 0.7 and 1.2 in five steps
LEAST = 32  # rows or columns below which a matrix has too few directions to level; Adam takes it


def is_hidden_matrix(name: str, weight: Tensor) -> bool:
    """Whether ``weight`` is one that Muon is for: neither a vector, nor narrow, nor the layer that makes the output."""
    return weight.ndim >= 2 and min(weight.flatten(1).shape) >= LEAST and not name.startswith("decoder.head.")


class Muon(torch.optim.Optimizer):
    """Steps along the orthogonal matrix nearest to the (Nesterov) momentum.

    A step has root mean square ``0.2 * lr`` a weight, which is about what Adam's have, so that both go by one rate.

    Args:
        params: weights of at least two dimensions, in groups or not.
        lr: learning rate.
        weight_decay: decoupled, as AdamW's.
    """

    found_inf: Tensor | None = None  # () above 0: the step changes nothing, as of torch's fused optimisers

    def __init__(self, params: Any, lr: float = 1e-3, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of all weights that have a gradient."""
        assert closure is None
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._step(weight, group["lr"], group["weight_decay"])

    def _step(self, weight: nn.Parameter, lr: float, weight_decay: float) -> None:
        gradient = weight.grad
        assert gradient is not None
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum = state["momentum"]
        share: float | Tensor = lr
        decay: float | Tensor = MOMENTUM
        if self.found_inf is not None:  # decided on the device
            bad = self.found_inf > 0
            gradient = torch.where(bad, 0.0, gradient)
            share, decay = torch.where(bad, 0.0, lr), torch.where(bad, 1.0, MOMENTUM)
        momentum.mul_(decay).add_(gradient)
        direction = orthogonalized(gradient.add(momentum, alpha=MOMENTUM).flatten(1)).view_as(weight)
        if weight_decay:
            weight.mul_(1 - share * weight_decay)
        weight.sub_(direction.mul_(share * 0.2 * math.sqrt(max(weight.flatten(1).shape))))


def orthogonalized(matrix: Tensor) -> Tensor:
    """U V^T of about (n, m) ``matrix`` = U S V^T by Newton-Schulz, in bfloat16; zeros stay zeros.

    Singular values end near one, not at it: each is the quintic's fifth iterate of itself over the Frobenius norm.
    """
    a, b, c = QUINTIC
    wide = matrix.shape[0] <= matrix.shape[1]
    x = (matrix if wide else matrix.T).bfloat16()  # the smaller side's products
    x = x / (x.norm() + 1e-12)
    for _ in range(NEWTON_SCHULZ_STEPS):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x if wide else x.T).to(matrix.dtype, copy=True)

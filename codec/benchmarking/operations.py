"""Arithmetic operations of a piece of work: what the floor is computed from."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def count_operations(work: Callable[[], object], module: nn.Module | None = None) -> int:
    """Multiplications and additions in matrix products and convolutions (a multiply-add is two), forward and backward.

    torch's counter passes over LSTMs, so those inside ``module`` are added; with gradients, times three.
    """
    recurrent = 0

    def note(lstm: nn.Module, inputs: tuple[Tensor, ...], _: object) -> None:
        nonlocal recurrent
        assert isinstance(lstm, nn.LSTM)
        frames = inputs[0].shape[0] * inputs[0].shape[1]
        passes = 3 if torch.is_grad_enabled() and inputs[0].requires_grad else 1
        for layer in range(lstm.num_layers):
            inputs_of_layer = lstm.input_size if layer == 0 else lstm.hidden_size
            recurrent += passes * 2 * frames * 4 * lstm.hidden_size * (inputs_of_layer + lstm.hidden_size)

    lstms = [part for part in module.modules() if isinstance(part, nn.LSTM)] if module is not None else []
    hooks = [lstm.register_forward_hook(note) for lstm in lstms]
    try:
        with FlopCounterMode(display=False) as counter:
            work()
    finally:
        for hook in hooks:
            hook.remove()
    return int(counter.get_total_flops()) + recurrent


def search_operations(queries: int, codes: int, dim: int) -> int:
    """Of all inner products of a search."""
    return 2 * queries * codes * dim

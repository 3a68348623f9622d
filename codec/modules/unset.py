"""Building a network whose weights come from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, handle_torch_function, has_torch_function


def truncated_normal_(tensor: Tensor, std: float) -> Tensor:
    """``nn.init.trunc_normal_`` about zero, of which modes are asked as of its other functions.

    torch itself asks them of each step in it only, and from 2.13 on draws again until no value lies outside: where
    nothing is drawn, that never ends.
    """
    if has_torch_function((tensor,)):
        result: Tensor = handle_torch_function(truncated_normal_, (tensor,), tensor, std)
        return result
    return nn.init.trunc_normal_(tensor, std=std)


# Those of torch.nn.init that a mode is asked about, and what the others of it draw with.
_IN_PLACE = {
    truncated_normal_,
    *(getattr(nn.init, name) for name in ("normal_", "uniform_", "kaiming_uniform_")),
    *(getattr(torch.Tensor, name) for name in ("normal_", "uniform_", "erfinv_")),
}
_FACTORIES: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.randn: torch.empty,
    torch.rand: torch.empty,
    torch.randn_like: torch.empty_like,
    torch.rand_like: torch.empty_like,
}


class UnsetWeights(TorchFunctionMode):
    """Within it, random first values are not drawn: weights are whatever their memory holds.

    That costs no time, no random numbers and, for what is never read, no memory. The meta device would do the same, but
    torch 2.11 computes a weight norm there in Python, for which it imports 860 modules (its compiler and sympy among
    them): a second of every start, and 120 MB.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Leave out the drawing."""
        if func in _IN_PLACE:
            return args[0] if args else (kwargs or {})["tensor"]
        if func in _FACTORIES:
            kwargs = {name: value for name, value in (kwargs or {}).items() if name != "generator"}
            return _FACTORIES[func](*args, **kwargs)
        return func(*args, **(kwargs or {}))

"""The nearest code, decided in float64 among the few that a screen cannot rule out.

**What is the answer.** Codes are W C_k + b in exact arithmetic on the float32 weights; distances are evaluated in
float64, and the answer is the least. Distances that agree to TIE of |z - b|^2 + |z - c|^2 count as equal, and of equals
the lowest index wins: float64 resolves a thousand times less than TIE, so the answer does not depend on how the codes
are cut into chunks, on the batch, the device or the number of threads. A search in plain float32 gives the same tokens
but for the rare latent whose two nearest codes are closer than float32 can tell apart, where its answer depends on the
order in which it adds up.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from codec.precision import full_float32
from codec.quantizers.search import floats, integers
from codec.quantizers.search.codes import LinearCodes
from codec.quantizers.search.decision import decided, nearest_of_all, sharpened
from codec.quantizers.search.integer_screen import IntegerScreen
from codec.quantizers.search.screen import Screen


def nearest_linear_codes(
    queries: Tensor,
    codes: LinearCodes,
    screen: Screen | IntegerScreen,
    wider: Callable[[], Screen | IntegerScreen] | None = None,
) -> Tensor:
    """Index of the nearest code in Euclidean distance; ties go to the lowest index.

    Memory beyond codes and screen: one chunk of scores and a few numbers a query.

    Args:
        queries: (N, D).
        codes: what is searched.
        screen: of these codes.
        wider: makes a screen with all directions, for queries that one with a few does not serve.

    Returns:
        (N,) int64; 0 for a query that is not finite, and wherever no distance is.
    """
    if len(queries) == 0:
        return torch.zeros(0, dtype=torch.int64, device=queries.device)
    # Those of one recording's latents, time last, lie across memory: gathering a few of them then takes as long as all.
    centered = queries.contiguous().double() - codes.center  # (N, D)
    finite = centered.isfinite().all(dim=1)
    with torch.autocast(queries.device.type, enabled=False), full_float32():
        if not bool(finite.all()):
            centered = torch.where(finite.unsqueeze(1), centered, 0.0)
        if isinstance(screen, IntegerScreen):
            which, index, lower, crowded = integers.screened(centered, screen)
        else:
            which, index, lower, crowded = floats.screened(centered, screen)
        crowded &= finite
        tokens = decided(centered, codes, *sharpened(centered, codes, which, index, lower))
        if bool(crowded.any()):
            if wider is not None and isinstance(screen, Screen) and screen.basis is not None:
                tokens[crowded] = nearest_linear_codes(queries[crowded], codes, wider())
            else:
                tokens[crowded] = nearest_of_all(centered[crowded], codes)
    return torch.where(finite, tokens, 0)

"""Maps of codebooks: codes (those of CW, for SimVQ) on their two main axes, the larger the more often they are used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from codec.drawing import INK
from codec.evaluation.bottlenecks.panels import ACCENT, as_png, small_panels
from codec.quantizers import Quantizer

POINTS = 4096  # codes of a map: all used ones first, then others at random
DIGITS = 4  # significant, of a coordinate in a file
UNUSED = "#9aa0ac"


@dataclass(frozen=True)
class CodeMap:
    """Codes in the plane of their two largest principal components."""

    points: np.ndarray  # (n, 2)
    uses: np.ndarray  # (n,) how often each was chosen
    share: float  # of the codes' variance that the plane holds

    def to_json(self) -> dict[str, Any]:
        """For a line of results."""
        points = [[float(f"{value:.{DIGITS}g}") for value in point] for point in self.points.tolist()]
        return {"points": points, "uses": self.uses.tolist(), "share": round(self.share, DIGITS)}

    @classmethod
    def from_json(cls, data: Any) -> CodeMap:
        """The other way.

        Raises:
            ValueError: it is none.
        """
        try:
            points, uses, share = np.array(data["points"], float), np.array(data["uses"], int), float(data["share"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{error}") from None
        if points.shape != (len(uses), 2) or not len(uses) or not np.isfinite(points).all():
            raise ValueError(f"{points.shape} points of {len(uses)} codes")
        return cls(points, uses, share)


@torch.no_grad()
def code_map(quantizer: Quantizer[Any], tokens: Tensor, seed: int = 0) -> CodeMap:
    """The map of a bottleneck's codes.

    Args:
        quantizer: in eval mode, on the CPU.
        tokens: of any shape, what was chosen.
        seed: of the unused codes, where not all can be shown.
    """
    used, uses = tokens.flatten().unique(return_counts=True)
    order = uses.argsort(descending=True)[:POINTS]
    used, uses = used[order], uses[order]
    # Twice as many draws as are missing: some of them are used ones, and a large codebook is never listed whole.
    size, generator = quantizer.codebook_size, torch.Generator().manual_seed(seed)
    drawn = torch.arange(size) if size <= POINTS else torch.randint(size, (2 * POINTS,), generator=generator).unique()
    others = drawn[~torch.isin(drawn, used)]
    others = others[torch.randperm(len(others), generator=generator)][: POINTS - len(used)]
    codes = quantizer.decode(torch.cat([used, others]).unsqueeze(0))[0].T.double()  # (n, D)
    centred = codes - codes.mean(dim=0)
    variances, axes = torch.linalg.eigh(centred.T @ centred)
    total = variances.clamp(min=0).sum()
    plane = axes[:, -2:].flip(1)
    points = torch.zeros(len(codes), 2).double()
    points[:, : plane.shape[1]] = centred @ plane  # of a single dimension there is only one
    share = float(variances[-2:].clamp(min=0).sum() / total) if total > 0 else 1.0
    return CodeMap(points.numpy(), torch.cat([uses, torch.zeros_like(others)]).numpy(), share)


def draw_maps(maps: Sequence[tuple[str, CodeMap]]) -> bytes:
    """Small maps side by side as a PNG that stands on a light or a dark page alike.

    Args:
        maps: name and map, each drawn to its own scale.
    """
    figure, panels = small_panels(len(maps), height=2.4)
    for panel, (name, each) in zip(panels, maps, strict=True):
        unused = each.uses == 0
        panel.scatter(each.points[unused, 0], each.points[unused, 1], s=1, color=UNUSED, linewidths=0)
        area = 1.5 + 60 * each.uses[~unused] / max(1, each.uses.sum())
        panel.scatter(each.points[~unused, 0], each.points[~unused, 1], s=area, color=ACCENT, linewidths=0, alpha=0.8)
        used = int((~unused).sum())
        panel.set_title(f"{name}: {used:,} used\n{each.share:.0%} of the variance", fontsize=7, color=INK)
        panel.set_xticks([])
        panel.set_yticks([])
    return as_png(figure)

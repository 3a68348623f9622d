"""The toy as a figure (paths of all codes) and as a film (GIF)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import torch
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from codec.files import replacing

if TYPE_CHECKING:
    from toy import Moment

LATENT, USED, UNUSED = "#d1495b", "#2b6cb0", "#9aa0ac"


def draw_paths(path: Path, runs: Mapping[str, Sequence[Moment]], latents: Tensor, titles: Mapping[str, str]) -> None:
    """The way of every code from first to last step, and below it distance, codes used and norm of W."""
    figure = Figure(figsize=(9.6, 5.8), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(runs), height_ratios=(2, 1), squeeze=False)
    for column, (trained, moments) in enumerate(runs.items()):
        plane = axes[0][column]
        _plane(plane, titles[trained], runs, latents)
        ways = torch.stack([moment.codes for moment in moments])  # (steps + 1, K, 2)
        for k in range(ways.shape[1]):
            colour = USED if k in moments[-1].tokens else UNUSED
            plane.plot(ways[:, k, 0], ways[:, k, 1], "-", color=colour, linewidth=1)
            plane.plot(*ways[0, k], "o", color=colour, fillstyle="none", markersize=6)
            plane.plot(*ways[-1, k], "o", color=colour, markersize=6)
        below = axes[1][column]
        below.plot([m.error for m in moments], color=LATENT, label="mean squared distance")
        below.plot([m.used for m in moments], color=USED, label="codes used", drawstyle="steps-post")
        below.plot([m.norm for m in moments], color="#3a7d44", label="norm of W")
        below.set_xlabel("step")
        below.set_ylim(0, 1.05 * max(moment.error for each in runs.values() for moment in each))
    axes[1][0].legend(fontsize=8, frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})


def draw_film(path: Path, runs: Mapping[str, Sequence[Moment]], latents: Tensor, titles: Mapping[str, str]) -> None:
    """One frame a step; lines say which code each latent chose."""
    figure = Figure(figsize=(8.4, 3.2), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(runs), squeeze=False)[0]

    def frame(step: int) -> list[matplotlib.artist.Artist]:
        for plane, (trained, moments) in zip(axes, runs.items(), strict=True):
            plane.clear()
            moment = moments[step]
            _plane(plane, titles[trained], runs, latents)
            for n, k in enumerate(moment.tokens.tolist()):
                plane.plot(*torch.stack([latents[n], moment.codes[k]]).T, ":", color=USED, linewidth=1)
            for k, code in enumerate(moment.codes):
                plane.plot(*code, "o", color=USED if k in moment.tokens else UNUSED, markersize=6)
            plane.set_xlabel(f"step {step}: {moment.used} codes, |W| = {moment.norm:.2f}", fontsize=8)
        return []

    steps = min(len(moments) for moments in runs.values())
    film = FuncAnimation(figure, frame, frames=steps, init_func=lambda: [], blit=False)
    with replacing(path) as temporary:
        film.save(temporary, writer=PillowWriter(fps=4))


def _plane(axes: Axes, title: str, runs: Mapping[str, Sequence[Moment]], latents: Tensor) -> None:
    every = torch.cat([latents, *(moment.codes for moments in runs.values() for moment in moments)])
    low, high = every.min(dim=0).values - 0.5, every.max(dim=0).values + 0.5
    axes.set_title(title, fontsize=9)
    axes.plot(latents[:, 0], latents[:, 1], "x", color=LATENT, markersize=8)
    axes.set_xlim(float(low[0]), float(high[0]))
    axes.set_ylim(float(low[1]), float(high[1]))
    axes.set_aspect("equal")
    axes.tick_params(labelsize=7)

"""Pictures of many small panels side by side, for documents: they stand on a light or a dark page alike."""

from __future__ import annotations

import io
import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from codec.drawing import INK

COLUMNS = 5
WIDTH = 2.2  # inches of a panel
ACCENT = "#d1495b"


def small_panels(count: int, height: float, **sharing: Any) -> tuple[Figure, list[Axes]]:
    """A figure with ``count`` panels in rows of five, framed in the ink of the other pictures.

    Args:
        count: at least one.
        height: of a panel, inches.
        sharing: ``sharex`` and ``sharey``, as of ``Figure.subplots``.
    """
    rows, columns = math.ceil(count / COLUMNS), min(count, COLUMNS)
    figure = Figure(figsize=(WIDTH * columns, height * rows), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)  # not pyplot: it keeps figures alive and may look for a display
    panels = list(figure.subplots(rows, columns, squeeze=False, **sharing).flatten())
    for panel in panels[:count]:
        panel.spines[:].set_color(INK)
    for panel in panels[count:]:
        panel.set_visible(False)
    return figure, panels[:count]


def as_png(figure: Figure) -> bytes:
    """The figure, the same bytes whichever version of matplotlib names itself in it."""
    data = io.BytesIO()
    figure.savefig(data, format="png", transparent=True, metadata={"Software": None})
    return data.getvalue()

"""Bottlenecks beside each other: results, and the report that ``codec compare-quantizers`` draws of them."""

from codec.evaluation.bottlenecks.figures import CURVES, charts, map_pictures, use_charts, use_pictures
from codec.evaluation.bottlenecks.report import MARKS, html, markdown
from codec.evaluation.bottlenecks.results import MEASURED, VALUES, Result, read_results
from codec.evaluation.bottlenecks.tables import Summary, Table, grouped

__all__ = [
    "CURVES",
    "MARKS",
    "MEASURED",
    "VALUES",
    "Result",
    "Summary",
    "Table",
    "charts",
    "grouped",
    "html",
    "map_pictures",
    "markdown",
    "read_results",
    "use_charts",
    "use_pictures",
]

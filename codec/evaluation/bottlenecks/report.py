"""One report of what several bottlenecks reach, as Markdown and as a page that is one file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape

from codec.evaluation.bottlenecks.figures import charts, use_charts
from codec.evaluation.bottlenecks.guide import paragraph
from codec.evaluation.bottlenecks.results import Result
from codec.evaluation.bottlenecks.tables import grouped, system_names
from codec.pages import document
from codec.pages.document import data_uri

STYLE = "th, td { white-space: nowrap; } figure { margin: 0; } img { max-width: 100%; }"
NOTE = (
    "Means over seeds with 95 % t-intervals (none from one seed); the best by the first value first. Equal "
    "codebook sizes are equal rates, all codebooks of a system counted."
)
MARKS = ("<!-- report: codec compare-quantizers RESULTS... -o DIR --write THIS -->", "<!-- end of report -->")
MAP_NOTE = (
    "Codes on their two main axes (SimVQ: of CW), each system to its own scale. Grey: never chosen; red: chosen, the "
    "larger the more often. One seed."
)
USE_NOTE = "Different codes in the training crops of each log interval."
USE_PICTURE_NOTE = "Codes used over the steps of training, in the crops of each log interval; a line a seed."


def described(results: Sequence[Result]) -> list[str]:
    """A paragraph a system, as Markdown: what it does, when to choose it, what it costs."""
    return list(dict.fromkeys(text for name in system_names(results) if (text := paragraph(name))))


def markdown(
    results: Sequence[Result],
    pictures: Mapping[str, str] | None = None,
    uses: Mapping[str, str] | None = None,
    *,
    systems: bool = True,
) -> str:
    """The report for a document.

    Args:
        results: all runs.
        pictures: by the table's title, where the maps lie that are shown below it.
        uses: the same of the pictures of :func:`use_pictures`.
        systems: end with what each system is.
    """
    parts = [NOTE + "\n"]
    for table, _ in grouped(results):
        parts.append(f"### {table.title}\n")
        parts.append("| " + " | ".join(table.headings) + " |\n|---|" + "---:|" * (len(table.headings) - 1))
        parts[-1] += "".join("\n| " + " | ".join(row) + " |" for row in table.rows) + "\n"
        parts += [f"- {note}" for note in table.notes] + ([""] if table.notes else [])
        if table.title in (uses or {}):
            parts.append(f"{USE_PICTURE_NOTE}\n\n![Codes used over training]({(uses or {})[table.title]})\n")
        if table.title in (pictures or {}):
            parts.append(f"{MAP_NOTE}\n\n![Maps of the codes]({(pictures or {})[table.title]})\n")
    if systems:
        parts.append("### The systems\n")
        parts += [f"{text}\n" for text in described(results)]
    return "\n".join(parts)


def html(results: Sequence[Result], systems: Sequence[str] | None, pictures: Mapping[str, bytes]) -> str:
    """The report as a page that is one file.

    Args:
        results: all runs.
        systems: of the curves over the rate.
        pictures: of :func:`map_pictures`.
    """
    parts = [f"<h1>Bottlenecks</h1><p>{escape(NOTE)}</p>", _figures(charts(results, systems))]
    for table, _ in grouped(results):
        head = "".join(f"<th>{escape(heading)}</th>" for heading in table.headings)
        rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
        parts.append(f"<h2>{escape(table.title)}</h2><div class='scroll'><table><tr>{head}</tr>{rows}</table></div>")
        parts += [f"<p>{escape(note)}</p>" for note in table.notes]
        if table.title in pictures:
            source = data_uri("image/png", pictures[table.title])
            parts.append(f"<p>{escape(MAP_NOTE)}</p><img alt='Maps of the codes' src='{source}'>")
    if used := use_charts(results):
        parts.append(f"<h2>Use over training</h2><p>{escape(USE_NOTE)}</p>{_figures(used)}")
    parts.append("<h2>The systems</h2>")
    parts += [f"<p>{_inline(text)}</p>" for text in described(results)]
    return document("Bottlenecks", "".join(parts), style=STYLE)


def _inline(text: str) -> str:
    """Markdown of one paragraph: bold and code."""
    return re.sub(r"`(.+?)`", r"<code>\1</code>", re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", escape(text)))


def _figures(drawn: Sequence[str]) -> str:
    return "<div class='charts'>" + "".join(f"<figure>{chart}</figure>" for chart in drawn) + "</div>"

"""The page of several systems: tables, differences, distributions, scatter, worst and best, and how it was made."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from codec.evaluation.page.examples import Examples, collect_examples
from codec.evaluation.page.listening import listening_section
from codec.evaluation.table import Row, Runs, SystemTable
from codec.evaluation.table_costs import COSTS_HEADINGS, COSTS_TITLE, cost_rows, speed_note
from codec.evaluation.table_files import (
    cell_text,
    check_folder,
    difference_lead,
    difference_text,
    explanations,
    heading,
    lead,
    rate_texts,
    version_texts,
)
from codec.files import write_text
from codec.manifest import Utterance
from codec.pages import Group, box_chart, document, json_script

PAGE_FILE = "report.html"
HERE = Path(__file__).parent


def write_page(
    folder: str | Path, table: SystemTable, runs: Runs, utterances: Sequence[Utterance], *, sound_bytes: int
) -> int:
    """Write ``report.html``, at once or not at all.

    Args:
        folder: where it goes.
        table: what is shown.
        runs: the scores that it is made of.
        utterances: the test set, for the originals' sounds; may be empty.
        sound_bytes: that all sounds and pictures may take in it.

    Returns:
        Bytes of the page.

    Raises:
        CodecError: the folder holds the scores of a system or cannot be written to; a sound that cannot be read.
    """
    check_folder(folder)
    examples = collect_examples(table, runs, utterances, sound_bytes)
    text = page(table, runs, examples, sound_bytes)
    write_text(Path(folder) / PAGE_FILE, text)
    return len(text.encode())


def page(table: SystemTable, runs: Runs, examples: Examples, sound_bytes: int) -> str:
    """The whole document."""
    several = len(runs.evaluations) > 1
    body = "".join(
        (
            _header(table),
            _table(table),
            _costs(table),
            _differences(table) if table.differences else "",
            _distributions(table, runs),
            _scatter(table, runs, examples) if several else "",
            listening_section(table, examples, sound_bytes),
            _notes(table),
        )
    )
    return document(
        f"{_title(table)}",
        body,
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        script=(HERE / "scatter.js").read_text(encoding="utf-8") if several else "",
    )


def _title(table: SystemTable) -> str:
    count = len(table.scored)
    return f"{count} system{'s' if count > 1 else ''} on {table.test_set}"


def _header(table: SystemTable) -> str:
    return (
        f'<header><p class="kicker">Speech codecs, scored</p><h1 class="wide">{escape(_title(table))}</h1>'
        f'<p class="lead">{escape(lead(table))}</p></header>'
    )


def scrolling(label: str, head: Sequence[str], rows: Sequence[str]) -> str:
    """A table that scrolls within its card, by touch and by keyboard, and keeps its first column in sight."""
    heads = "".join(f'<th scope="col">{escape(text)}</th>' for text in head)
    return (
        f'<div class="card scroll" role="region" aria-label="{escape(label)}" tabindex="0"><table class="table"><thead>'
        f"<tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def small(text: str) -> str:
    """A line below; nothing where there is nothing to say."""
    return f"<small>{escape(text)}</small>" if text else ""


def _table(table: SystemTable) -> str:
    with_codes = any(row.codes_used_percent is not None for row in table.rows)
    heads = ["System", "bit/s", *map(heading, table.columns.values()), *(["codes used"] if with_codes else [])]
    rows = [_row(row, table, with_codes) for row in table.rows]
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    return f'<section><h2>Scores</h2>{scrolling("Scores", heads, rows)}<ul class="notes">{notes}</ul></section>'


def _row(row: Row, table: SystemTable, with_codes: bool) -> str:
    style = {"scored": "", "quoted": ' class="quoted"', "not available": ' class="missing"'}[row.kind]
    tag = "" if row.kind == "scored" else f' <span class="tag">{row.kind}</span>'
    below = {"scored": "", "quoted": row.test_set, "not available": row.note}[row.kind]
    nominal, in_files, codes = rate_texts(row)
    cells = [f"<td>{nominal}{small('' if row.file_bps is None else f'{in_files} in files')}</td>"]
    for value, column in table.columns.items():
        number, more = cell_text(row.cells[value], column, published=row.kind == "quoted")
        cells.append(f"<td>{escape(number)}{small(more)}</td>")
    if with_codes:
        cells.append(f"<td>{codes}</td>")
    return f"<tr{style}><td>{escape(row.name)}{tag}{small(below)}</td>{''.join(cells)}</tr>"


def _costs(table: SystemTable) -> str:
    rows = [
        f"<tr><td>{escape(name)}</td>{''.join(f'<td>{escape(text)}</td>' for text in texts)}</tr>"
        for name, texts in cost_rows(table)
    ]
    if not rows:
        return ""
    note = speed_note(table)
    said = f'<ul class="notes"><li>{escape(note)}</li></ul>' if note else ""
    return f"<section><h2>{COSTS_TITLE}</h2>{scrolling(COSTS_TITLE, ['System', *COSTS_HEADINGS], rows)}{said}</section>"


def _differences(table: SystemTable) -> str:
    rows = []
    for name, differences in table.differences.items():
        by_value = {found.value: found for found in differences}
        cells = []
        for value in table.columns:
            found = by_value.get(value)
            if found is None:
                cells.append("<td>-</td>")
                continue
            style = {"B": ' class="sure good"', "A": ' class="sure"', "": ""}[found.better]
            difference, p = difference_text(found)
            number, _, interval = difference.partition(" ")
            cells.append(f"<td{style}>{number}{small(interval.strip('()'))}{small(p)}</td>")
        rows.append(f"<tr><td>{escape(name)}</td>{''.join(cells)}</tr>")
    heads = ["System", *map(heading, table.columns.values())]
    return (
        f"<section><h2>Differences from {escape(table.against or '')}</h2>"
        f"<p>{escape(difference_lead(table))} Green: better.</p>{scrolling('Differences', heads, rows)}</section>"
    )


def _distributions(table: SystemTable, runs: Runs) -> str:
    charts = []
    for value, column in table.columns.items():
        groups = [
            Group(name, [record.scores[value] for record in evaluation.records.values() if value in record.scores])
            for name, evaluation in runs.evaluations.items()
            if value in evaluation.definitions
        ]
        if groups:
            charts.append(f'<div class="card">{box_chart(heading(column), groups)}</div>')
    return (
        "<section><h2>Distributions</h2><p>Over the utterances: the box holds half of them, the line in it is the "
        "median, the diamond the mean, the whiskers go from the 5th to the 95th percentile.</p>"
        f'<div class="charts">{"".join(charts)}</div></section>'
    )


def _scatter(table: SystemTable, runs: Runs, examples: Examples) -> str:
    names = list(runs.evaluations)
    ids = sorted({id_ for evaluation in runs.evaluations.values() for id_ in evaluation.records})
    values = {}
    for value, column in table.columns.items():
        scores = [
            [_rounded(run.records[id_].scores.get(value), column.digits) if id_ in run.records else None for id_ in ids]
            for run in runs.evaluations.values()
        ]
        if any(score is not None for row in scores for score in row):
            facts: dict[str, Any] = {"label": column.label, "unit": column.unit, "better": column.better}
            values[value] = {**facts, "digits": column.digits, "scores": scores}
    data = {"ids": ids, "systems": names, "values": values, "heard": list(examples.heard)}
    scored = {value: heading(table.columns[value]) for value in values}
    return (
        "<section><h2>Two systems, utterance by utterance</h2>"
        '<div class="card"><div class="chooser">'
        f"{_chooser('value', 'Metric', scored, next(iter(scored), ''))}"
        f"{_chooser('first', 'Across', dict(enumerate(names)), len(names) - 2)}"
        f"{_chooser('second', 'Up', dict(enumerate(names)), len(names) - 1)}"
        '</div><div id="scatter"><noscript>The plot is drawn by a script within this file.</noscript></div>'
        '<p id="scatter-said" class="soft wide" aria-live="polite"></p></div>'
        f"{json_script('scores', data)}</section>"
    )


def _chooser(name: str, label: str, options: dict[Any, str], chosen: object) -> str:
    shown = "".join(
        f'<option value="{escape(str(key))}"{" selected" if key == chosen else ""}>{escape(text)}</option>'
        for key, text in options.items()
    )
    return f'<label>{label}<select id="scatter-{name}">{shown}</select></label>'


def _rounded(score: float | None, digits: int) -> float | None:
    """For a plot, where more digits than these are bytes alone."""
    return None if score is None else round(score, digits + 1)


def _notes(table: SystemTable) -> str:
    lines = "".join(f"<li>{escape(line)}</li>" for line in explanations(table))
    versions = escape(", ".join(version_texts(table.versions)))
    sources = "".join(
        f"<tr><td>{escape(row.name)}</td><td>{escape(str(row.facts['identity']))}</td>"
        f"<td>{row.facts['sample_rate']} Hz</td><td>{escape(row.source)}</td></tr>"
        for row in table.scored
    )
    return (
        f'<section><h2>What is missing, what failed, what is quoted</h2><ul class="notes">{lines}</ul></section>'
        "<section><h2>How it was made</h2><p>Scored by <code>recipes/evaluate.py</code>, set together by "
        "<code>codec report</code>; <code>docs/evaluation.md</code> says how each metric is computed and when it "
        'fails.</p><div class="card scroll"><table class="plain"><thead><tr><th>System</th><th>Identity</th>'
        f"<th>Compared at</th><th>Scores</th></tr></thead><tbody>{sources}</tbody></table></div>"
        f'<p class="soft">Versions: {versions}.</p></section>'
    )

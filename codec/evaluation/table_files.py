"""The table of several systems as files: ``summary.json`` and ``.csv`` for programs, ``summary.md`` for people."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from codec.errors import CodecError
from codec.evaluation.compare import Difference
from codec.evaluation.records import RECORDS_FILE, SETTINGS_FILE
from codec.evaluation.report import ARROWS, CSV_COLUMNS, NONE
from codec.evaluation.significance import LEVEL, how_tested
from codec.evaluation.table import Cell, Column, Row, SystemTable
from codec.evaluation.table_costs import COSTS_HEADINGS, COSTS_TITLE, cost_rows, costs, speed_note
from codec.files import write_text

TABLE_COLUMNS = (*CSV_COLUMNS, "kind", "source")
NAMES = ("summary.json", "summary.csv", "summary.md")


def check_folder(folder: str | Path) -> None:
    """Refuse a folder whose summary is that of one system.

    Raises:
        CodecError: it holds the scores of a system.
    """
    for name in (SETTINGS_FILE, RECORDS_FILE):
        if (Path(folder) / name).exists():
            raise CodecError(f"{folder}: holds the scores of one system ({name}); give another folder with -o")


def write_table(folder: str | Path, table: SystemTable) -> None:
    """Write the three files, each at once or not at all.

    Raises:
        CodecError: what :func:`check_folder` raises, or the folder cannot be written to.
    """
    check_folder(folder)
    contents = (as_json(table), table_csv(table), table_markdown(table))
    for name, content in zip(NAMES, contents, strict=True):
        write_text(Path(folder) / name, content)


def as_json(table: SystemTable) -> str:
    """The content of ``summary.json``: the whole table, numbers as they are."""
    facts = asdict(table)
    facts["differences"] = {
        name: [
            {**{key: value for key, value in asdict(found).items() if key != "definition"}, "better": found.better}
            for found in differences
        ]
        for name, differences in table.differences.items()
    }
    return json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def table_csv(table: SystemTable) -> str:
    """The content of ``summary.csv``: a line a value, in the columns of a single system's file and two more."""
    text = io.StringIO()
    writer = csv.DictWriter(text, TABLE_COLUMNS, lineterminator="\n")
    writer.writeheader()
    over = "speaker_mean" if table.average == "speakers" else "mean"
    for row in table.rows:
        common = {"system": row.name, "kind": row.kind, "source": row.source}
        if row.kind == "scored":
            common |= {"test_set": table.test_set, "protocol": table.protocol}
        elif row.kind == "quoted":
            common |= {"test_set": row.test_set, "protocol": "published"}
        for value, cell in row.cells.items():
            low, high = cell.ci95 or (None, None)
            counts = {"n_ok": cell.n_ok, "n_failed": cell.n_failed} if row.kind == "scored" else {}
            column = table.columns[value]
            shown = {"value": value, "unit": column.unit, "better": column.better, over: cell.mean}
            note = row.note if row.kind == "not available" else cell.missing
            writer.writerow({**common, **shown, **counts, "ci95_low": low, "ci95_high": high, "note": note})
        for value, number in (rates(row) | costs(row)).items():
            timed = {"note": row.speed.conditions} if row.speed is not None and value.endswith("_rtf") else {}
            writer.writerow({**common, "value": value, "mean": number, **timed})
    return text.getvalue()


def rates(row: Row) -> dict[str, float]:
    """What a system costs, as far as it is known."""
    known = {"bitrate_bps": row.bitrate_bps, "file_bps": row.file_bps, "codes_used_percent": row.codes_used_percent}
    return {key: number for key, number in known.items() if number is not None}


def heading(column: Column) -> str:
    """PESQ-WB ↑, pitch RMSE (cents) ↓."""
    unit = f" ({column.unit})" if column.unit else ""
    return f"{column.label}{unit} {ARROWS[column.better]}"


def cell_text(cell: Cell, column: Column, *, published: bool = False) -> tuple[str, str]:
    """(mean, what stands below it): interval and failures, or why there is no number.

    A number that is quoted has the two digits that were published, or more.
    """
    if cell.mean is None:
        if cell.missing is not None and cell.missing.startswith("not available"):
            return "not available", ""
        return NONE, f"{cell.n_failed} failed" if cell.n_failed else ""
    if published:
        return f"{cell.mean:.2f}" if round(cell.mean, 2) == cell.mean else f"{cell.mean:g}", ""
    number = f"{cell.mean:.{column.digits}f}"
    below = []
    if cell.ci95 is not None:
        below.append(f"{cell.ci95[0]:.{column.digits}f} to {cell.ci95[1]:.{column.digits}f}")
    if cell.n_failed:
        below.append(f"{cell.n_failed} failed")
    return number, ", ".join(below)


def rate_texts(row: Row) -> tuple[str, str, str]:
    """Bits a second nominal and in the files, codes used."""
    bits = [NONE if rate is None else f"{rate:.0f}" for rate in (row.bitrate_bps, row.file_bps)]
    return bits[0], bits[1], NONE if row.codes_used_percent is None else f"{row.codes_used_percent:.1f} %"


def lead(table: SystemTable) -> str:
    """What the table is of, in a sentence or two."""
    over = "speakers' means" if table.average == "speakers" else "utterances"
    return (
        f"{table.utterances} utterances of {table.speakers} speakers, {table.duration_s / 60:.1f} minutes; protocol "
        f"{table.protocol}. Means over {over}, with 95 % intervals: percentile bootstrap over "
        f"{table.average.value}, {table.bootstrap['resamples']} resamples, seed {table.bootstrap['seed']}. A failure "
        "is counted and left out of the mean."
    )


def table_markdown(table: SystemTable) -> str:
    """The content of ``summary.md``."""
    with_codes = any(row.codes_used_percent is not None for row in table.rows)
    headings = ["bit/s", "in the files", *(["codes used"] if with_codes else []), *map(heading, table.columns.values())]
    lines = [f"# {len(table.scored)} systems on {_plain(table.test_set)}", "", lead(table), ""]
    lines += [_line("system", *headings), _line("---", *["---:"] * len(headings))]
    for row in table.rows:
        texts = [_below(*cell_text(row.cells[v], c, published=row.kind == "quoted")) for v, c in table.columns.items()]
        name = _plain(row.name) + ("" if row.kind == "scored" else f" (*{row.kind}*)")
        lines.append(_line(name, *(rate_texts(row) if with_codes else rate_texts(row)[:2]), *texts))
    lines.append("")
    lines += _cost_lines(table)
    if table.against is not None:
        lines += _difference_lines(table)
    if notes := [*table.notes, *explanations(table)]:
        lines += [*(f"- {_plain(note)}" for note in notes), ""]
    lines.append(f"Versions: {', '.join(version_texts(table.versions))}.")
    return "\n".join(lines) + "\n"


def explanations(table: SystemTable) -> list[str]:
    """Why numbers are missing, why utterances failed, and where quoted ones come from; each reason once."""
    lines: dict[str, list[str]] = {}
    for row in table.rows:
        if row.kind == "not available":
            lines.setdefault(f"not available: {row.note}", []).append(row.name)
        for value, cell in row.cells.items():
            label = table.columns[value].label
            if row.kind == "scored" and cell.missing and cell.missing.startswith("not available"):
                lines.setdefault(f"{label} {cell.missing}", []).append(row.name)
            for reason, count in cell.failures.items():
                lines.setdefault(f"{label} failed: {reason}", []).append(f"{row.name} ({count})")
    for row in table.rows:
        if row.kind == "quoted":
            lines.setdefault(f"quoted from {row.source}, on {row.test_set}", []).append(row.name)
            if row.note:
                lines.setdefault(row.note, []).append(f"{row.name}, as quoted")
    return [
        f"{'every scored system' if names == [r.name for r in table.scored] and len(names) > 1 else '; '.join(names)}: "
        f"{text}"
        for text, names in lines.items()
    ]


def version_texts(versions: Mapping[str, Mapping[str, list[str]]]) -> list[str]:
    """``torch 2.11.0``; where systems were scored with several, which with which."""
    texts = []
    for library, found in versions.items():
        for version, names in found.items():
            texts.append(f"{library} {version}" + (f" ({', '.join(names)})" if len(found) > 1 else ""))
    return texts


def difference_text(found: Difference) -> tuple[str, str]:
    """(difference and its interval, p); of one pair neither interval nor p."""
    digits = found.definition["digits"]
    number = f"{found.difference:+.{digits}f}"
    if found.ci95 is None or found.p is None:
        return number, f"{found.pairs} pair"
    low, high = found.ci95
    return f"{number} ({low:+.{digits}f} to {high:+.{digits}f})", f"p = {found.p:.4f}, {found.pairs} pairs"


def difference_lead(table: SystemTable) -> str:
    """What the differences are."""
    return (
        f"Each system minus {table.against}, utterance by utterance: mean difference, its 95 % interval and a "
        f"two-sided p ({how_tested()}). Bold: p < {LEVEL}, each metric by itself. Quoted rows have no utterances and "
        "are not here."
    )


def _cost_lines(table: SystemTable) -> list[str]:
    if not (rows := cost_rows(table)):
        return []
    lines = [f"{COSTS_TITLE}:", "", _line("system", *COSTS_HEADINGS), _line("---", *["---:"] * len(COSTS_HEADINGS))]
    lines += [_line(_plain(name), *texts) for name, texts in rows]
    note = speed_note(table)
    return [*lines, "", *([_plain(note), ""] if note else [])]


def _difference_lines(table: SystemTable) -> list[str]:
    columns = table.columns.items()
    lines = [_plain(difference_lead(table)), ""]
    lines += [_line("system", *(heading(column) for _, column in columns)), _line("---", *["---:"] * len(columns))]
    for name, differences in table.differences.items():
        by_value = {found.value: found for found in differences}
        texts = []
        for value, _ in columns:
            found = by_value.get(value)
            text = NONE if found is None else difference_text(found)[0]
            texts.append(f"**{text}**" if found is not None and found.better else text)
        lines.append(_line(_plain(name), *texts))
    return [*lines, ""]


def _below(number: str, more: str) -> str:
    """For one line: the mean, and the rest in brackets."""
    return f"{number} ({more})" if more else number


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """Text that Markdown leaves as it is: a name of a system is anything that a file may be called."""
    for mark in "\\`*_<>|[]":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())

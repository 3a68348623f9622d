"""The summary as files: ``summary.json`` and ``summary.csv`` for programs, ``summary.md`` for people."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codec.files import write_text

ARROWS = {"higher": "↑", "lower": "↓"}
ERRORS_SHOWN = 10
SUMMARY_FILES = ("summary.json", "summary.csv", "summary.md")
NONE = "-"

CSV_COLUMNS = (
    *("system", "test_set", "protocol", "value", "unit", "better", "mean", "ci95_low", "ci95_high", "speaker_mean"),
    *("n_ok", "n_failed", "note"),
)


def write_report(folder: str | Path, summary: Mapping[str, Any]) -> None:
    """Write the three files, each at once or not at all.

    Raises:
        CodecError: the folder cannot be written to.
    """
    folder = Path(folder)
    as_json = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    for name, text in zip(SUMMARY_FILES, (as_json, as_csv(summary), as_markdown(summary)), strict=True):
        write_text(folder / name, text)


def as_csv(summary: Mapping[str, Any]) -> str:
    """The content of ``summary.csv``: a line a value, so that the files of several systems can be stacked.

    Rates follow the metrics, without interval; a metric that is not available has a line with the reason alone.
    """
    common = {"system": summary["system"]["name"], "test_set": summary["test_set"], "protocol": summary["protocol"]}
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for name, result in summary["metrics"].items():
        low, high = result["ci95"] or (None, None)
        definition = {key: summary["definitions"][name][key] for key in ("unit", "better")}
        numbers = {key: result[key] for key in ("mean", "speaker_mean", "n_ok", "n_failed")}
        writer.writerow({**common, "value": name, **definition, **numbers, "ci95_low": low, "ci95_high": high})
    for name, value in (summary["rate"] or {}).items():
        writer.writerow({**common, "value": name, "mean": value})
    for name, reason in summary["not_available"].items():
        writer.writerow({**common, "value": name, "note": f"not available: {reason}"})
    return text.getvalue()


def metric_rows(summary: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Rows of the table: metric, mean, 95 % interval, mean over speakers, scored, failed."""
    rows: list[tuple[str, ...]] = []
    for name, result in summary["metrics"].items():
        definition = summary["definitions"][name]
        unit = f" ({definition['unit']})" if definition["unit"] else ""
        digits = definition["digits"]
        interval = result["ci95"]
        rows.append(
            (
                f"{definition['label']}{unit} {ARROWS[definition['better']]}",
                _number(result["mean"], digits),
                f"{_number(interval[0], digits)} to {_number(interval[1], digits)}" if interval else NONE,
                _number(result["speaker_mean"], digits),
                str(result["n_ok"]),
                str(result["n_failed"]),
            )
        )
    rows += [(name, "not available", "", "", "", "") for name in summary["not_available"]]
    return rows


def as_markdown(summary: Mapping[str, Any]) -> str:
    """The content of ``summary.md``."""
    system, minutes = summary["system"], summary["duration_s"] / 60
    lines = [
        f"# {system['name']} on {summary['test_set']}",
        "",
        f"{summary['utterances']} utterances of {summary['speakers']} speakers, {minutes:.1f} minutes; "
        f"protocol {summary['protocol']}, {system['sample_rate']} Hz, {system['identity']}.",
        "",
        "| metric | mean | 95 % interval | mean over speakers | scored | failed |",
        "|---|---:|---:|---:|---:|---:|",
        *(f"| {' | '.join(row)} |" for row in metric_rows(summary)),
        "",
    ]
    if summary["rate"]:
        lines += _rate_lines(summary["rate"])
    lines += _failure_lines(summary)
    bootstrap = summary["bootstrap"]
    lines += [
        "A failure is counted and left out of the mean. Intervals: percentile bootstrap over utterances, "
        f"{bootstrap['resamples']} resamples, seed {bootstrap['seed']}.",
        "",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in summary["versions"].items()) + ".",
    ]
    return "\n".join(lines) + "\n"


def _rate_lines(rate: Mapping[str, Any]) -> list[str]:
    lines = ["| rate | |", "|---|---:|", f"| bits a second, nominal | {rate['bitrate_bps']:.1f} |"]
    if "file_bps" in rate:
        lines.append(f"| bits a second, in the files | {rate['file_bps']:.1f} |")
    if rate.get("tokens"):
        share = rate["codes_used"] / rate["codebook_size"]
        lines += [
            f"| bits a second, entropy of the tokens | {rate['entropy_bps']:.1f} |",
            f"| codes used | {rate['codes_used']} of {rate['codebook_size']} ({share:.1%}) |",
            f"| perplexity | {rate['perplexity']:.1f} |",
            f"| entropy (bits a token) | {rate['entropy_bits']:.3f} |",
            f"| normalised entropy | {rate['normalized_entropy']:.3f} |",
            f"| tokens | {rate['tokens']} |",
        ]
    return [*lines, ""]


def _failure_lines(summary: Mapping[str, Any]) -> list[str]:
    lines = [
        f"- {summary['definitions'][name]['label']}: {reason} ({count})"
        for name, result in summary["metrics"].items()
        for reason, count in result["failures"].items()
    ]
    errors = [f"{id_}: {reason}" for id_, reason in summary["errors"].items()]
    left_out = [f"not scored: {reason}" for reason in summary["left_out"]]
    for found, what in ((errors, "without reconstruction"), (left_out, "lines of the manifest not scored")):
        lines += [f"- {line}" for line in found[:ERRORS_SHOWN]]
        if len(found) > ERRORS_SHOWN:
            lines.append(f"- and {len(found) - ERRORS_SHOWN} more {what}, see summary.json")
    lines += [f"- {name}: not available: {reason}" for name, reason in summary["not_available"].items()]
    return ["Failures:", "", *lines, ""] if lines else []


def _number(value: float | None, digits: int) -> str:
    return NONE if value is None else f"{value:.{digits}f}"

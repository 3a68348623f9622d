"""What systems cost beside bits: how evenly their codebook is used, and how fast they were where they were scored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from codec.evaluation.report import NONE
from codec.evaluation.table import Row, SystemTable

COSTS_TITLE = "Rate and speed"
COSTS_HEADINGS = ("codes used", "perplexity", "normalised entropy", "RTF of encoding", "RTF of decoding")
_OF_TOKENS = ("codes_used", "perplexity", "normalized_entropy")  # as a single system's summary calls them
_SPEEDS = ("encode_rtf", "decode_rtf")


def costs(row: Row) -> dict[str, float]:
    """Codes used, perplexity (codes), normalised entropy (0 to 1) and real-time factors, as far as they are known."""
    rate = row.facts.get("rate") or {}
    known = {key: rate[key] for key in _OF_TOKENS if key in rate}
    if row.speed is not None:
        known |= {key: getattr(row.speed, key) for key in _SPEEDS}
    return known


def cost_rows(table: SystemTable) -> list[tuple[str, Sequence[str]]]:
    """(system, its texts under :data:`COSTS_HEADINGS`) of all that were scored; nothing where nothing is known."""
    return [(row.name, _texts(row)) for row in table.scored] if any(map(costs, table.scored)) else []


def speed_note(table: SystemTable) -> str:
    """What the real-time factors are of; empty where none is known."""
    found: dict[str, list[str]] = {}
    whole = True
    for row in table.scored:
        if row.speed is not None:
            whole = whole and row.speed.utterances >= table.utterances
            some = f" ({row.speed.utterances} of {table.utterances} utterances)"
            name = row.name + (some if row.speed.utterances < table.utterances else "")
            found.setdefault(row.speed.conditions, []).append(name)
    if not found:
        return ""
    alike = len(found) == 1 and whole
    conditions = "; ".join(f"{'all' if alike else ', '.join(names)} ({said})" for said, names in found.items())
    return (
        "RTF: real-time factor, seconds of work for a second of audio, below 1 faster than the speech, on the machine "
        "that scored the system, in the last run that reconstructed anything. Speeds of other machines or conditions "
        f"do not compare. Conditions: {conditions}."
    )


def _texts(row: Row) -> Sequence[str]:
    known = costs(row)
    return (
        f"{known['codes_used']} of {row.facts['rate']['codebook_size']}" if "codes_used" in known else NONE,
        f"{known['perplexity']:.1f}" if "perplexity" in known else NONE,
        f"{known['normalized_entropy']:.3f}" if "normalized_entropy" in known else NONE,
        *(_three_digits(known[key]) if key in known else NONE for key in _SPEEDS),
    )


def _three_digits(number: float) -> str:
    """Three that count, never as a power of ten: real-time factors span 0.0001 to 100."""
    return np.format_float_positional(number, precision=3, fractional=False, trim="-")

"""The part of the page that is heard: the worst and the best utterances."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from codec.evaluation.page.examples import CLIP_S, ORIGINAL, Example, Examples, Extreme, Version
from codec.evaluation.table import SystemTable
from codec.pages import data_uri


def listening_section(table: SystemTable, examples: Examples, sound_bytes: int) -> str:
    """A list of all extremes, and a card for each utterance that can be heard."""
    number = {id_: index for index, id_ in enumerate(examples.heard)}
    rows = []
    for worst, best in zip(examples.extremes[::2], examples.extremes[1::2], strict=True):
        column = table.columns[worst.value]
        rows.append(
            f"<tr><td>{escape(column.label)}</td><td>{escape(worst.system)}</td>"
            f"<td>{_link(worst, table, number)}</td><td>{_link(best, table, number)}</td></tr>"
        )
    cards = "".join(_card(example, number[id_], table) for id_, example in examples.heard.items())
    said = [f"Sounds are lossless (FLAC), the first {CLIP_S:g} s of each utterance."]
    if examples.heard:
        said.append(
            f"Sounds and pictures take {examples.bytes_used / 1e6:.1f} of at most {sound_bytes / 1e6:g} MB of this page"
            + (f"; {examples.left_out} of the extremes did not fit and are listed alone." if examples.left_out else ".")
        )
    if examples.silent:
        said.append(f"No sound was kept of {', '.join(examples.silent)}: score with --save-audio to hear them.")
    return (
        f'<section><h2>Worst and best</h2><p class="wide">{escape(" ".join(said))}</p>'
        '<details class="card"><summary>The worst and the best utterance of each system, by metric</summary>'
        '<div class="scroll" role="region" aria-label="Worst and best utterances" tabindex="0"><table class="plain">'
        "<thead><tr><th>Metric</th><th>System</th><th>Worst</th><th>Best</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div></details>{cards}</section>"
    )


def _link(extreme: Extreme, table: SystemTable, number: dict[str, int]) -> str:
    """Score and utterance; a link where it can be heard."""
    score = f"{extreme.score:.{table.columns[extreme.value].digits}f}"
    name = escape(extreme.id)
    if extreme.id in number:
        name = f'<a href="#utterance-{number[extreme.id]}">{name}</a>'
    return f"{score}<small>{name}</small>"


def _card(example: Example, number: int, table: SystemTable) -> str:
    utterance = example.utterance
    text = f"<blockquote>“{escape(utterance.text)}”</blockquote>" if utterance and utterance.text else ""
    speaker = f"Speaker {escape(utterance.speaker)}, " if utterance and utterance.speaker else ""
    # The original first, whenever it came.
    versions = sorted(example.versions, key=lambda version: version.name != ORIGINAL)
    missing = (
        ""
        if any(version.name == ORIGINAL for version in versions)
        else ('<p class="soft">The original is not here: give --manifest, with its recordings in place.</p>')
    )
    return (
        f'<article class="card" id="utterance-{number}"><h3 class="wide">{escape(example.id)}</h3>'
        f'<div class="soft">{speaker}{example.duration_s:.1f} s</div>{text}{missing}'
        f'<div class="versions">{"".join(_version(version, example, table) for version in versions)}</div></article>'
    )


def _version(version: Version, example: Example, table: SystemTable) -> str:
    name = "Original" if version.name == ORIGINAL else version.name
    about = escape(f"{name}, {example.id}")
    return (
        f"<div><h3>{escape(name)}</h3>"
        f'<audio controls preload="metadata" aria-label="{about}" '
        f'src="{data_uri("audio/flac", version.sound)}"></audio>'
        f'<img alt="{about}: waveform above mel spectrogram" loading="lazy" width="480" height="264" '
        f'src="{data_uri("image/png", version.picture)}">{_reasons(version.name, example.shown_for, table)}</div>'
    )


def _reasons(system: str, shown_for: Sequence[Extreme], table: SystemTable) -> str:
    lines = []
    for extreme in shown_for:
        if extreme.system == system:
            column = table.columns[extreme.value]
            unit = f" {column.unit}" if column.unit else ""
            lines.append(f"<li>{extreme.kind} {escape(column.label)}: {extreme.score:.{column.digits}f}{unit}</li>")
    return f'<ul class="reasons">{"".join(lines)}</ul>' if lines else ""

"""The report as one HTML page: text, style, sounds and pictures in a single file."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from report_data import Example, Shipped, System, Training, Version

from codec.charts import Curve, line_chart
from codec.pages import data_uri, document, duration

CREATIVE_COMMONS = {
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
}
CORPORA = {  # credit that CC BY asks for, by the name in brackets behind the licence
    "LibriTTS": "LibriTTS, Zen et al. 2019",
    "VCTK": "VCTK, Yamagishi, Veaux, MacDonald 2019",
}


def page(
    shipped: Shipped | None,
    training: Training | None,
    systems: Sequence[System],
    examples: Sequence[Example],
    script: str,
) -> str:
    """The whole document.

    Args:
        shipped: the model that ships, where it is shown.
        training: a run, where it is shown.
        systems: ours, then others, with their scores.
        examples: recordings to listen to.
        script: the shell script that made all this.
    """
    scored = [system for system in systems if system.summary is not None]
    first = scored[0].summary
    assert first is not None  # ours are first, and are always scored
    body = "".join(
        (
            _headline(shipped, training),
            _scores(scored, [system for system in systems if system.summary is None]),
            _examples(examples, first["definitions"]),
            _curves(training) if training else "",
            _licences(examples),
            _commands(script, first),
        )
    )
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    return document("A speech codec, heard", body, style=style)


def _headline(shipped: Shipped | None, training: Training | None) -> str:
    parts = []
    if shipped:
        kilo = f"{shipped.sample_rate / 1000:g} kHz"
        parts.append(
            f"<h1>Speech through {shipped.bitrate_bps:,.0f} bits a second</h1>"
            f'<p class="lead">Each second of {kilo} speech becomes {shipped.frame_rate:g} tokens from one codebook of '
            f"{shipped.codebook_size:,}, and speech again. Below: the model that ships, <code>{escape(shipped.name)}"
            "</code>, beside codecs that people use at higher rates, on speakers that it has not heard.</p>"
        )
        tiles = (
            ("parameters", f"{shipped.parameters / 1e6:.2f} M", "of the shipped model"),
            ("weights", f"{shipped.weights_bytes / 1e6:.1f} MB", "in half precision"),
            ("rate", f"{shipped.bitrate_bps:,.0f} bit/s", f"{shipped.frame_rate:g} tokens a second"),
        )
        parts.append(f'<dl class="tiles">{"".join(_tile(*tile) for tile in tiles)}</dl>')
    if training:
        parts.append(_trained(training, first=not shipped))
    return f'<header><p class="kicker">SimVQ speech codec</p>{"".join(parts)}</header>'


def _trained(training: Training, *, first: bool) -> str:
    model = training.config.model
    tokens_per_s = model.sample_rate / model.hop_length
    tiles = (
        ("trainable parameters", f"{training.parameters / 1e6:.2f} M", ""),
        ("training", duration(training.time_s), f"{training.steps:,} steps"),
        (
            "audio seen",
            duration(training.audio_s),
            f"in crops of {duration(training.corpus_s)}" if training.corpus_s else "",
        ),
        ("rate", f"{training.bitrate_bps:,.0f} bit/s", f"{tokens_per_s:g} tokens a second"),
    )
    heading = "h1" if first else "h2"
    return (
        f"<{heading}>Learned here in {duration(training.time_s)}</{heading}>"
        f'<p class="lead">A model of {tokens_per_s:g} tokens a second and {model.quantizer.codebook_size:,} codes, '
        "trained by the demo on the recordings that come with the repository, and the same network with random "
        "weights. A few minutes of training show that the road is whole, not how good a codec can be.</p>"
        f'<dl class="tiles">{"".join(_tile(*tile) for tile in tiles)}</dl>'
    )


def _tile(name: str, value: str, more: str) -> str:
    return f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(more)}</small></dd></div>"


def _scores(systems: Sequence[System], absent: Sequence[System]) -> str:
    summaries = [system.summary for system in systems if system.summary is not None]
    first = summaries[0]
    rates = [summary["rate"] or {} for summary in summaries]
    rows = [
        _row("Rate<small>nominal, bits a second</small>", [rate.get("bitrate_bps") for rate in rates], 0),
        _row("Rate<small>of the files, headers and all</small>", [rate.get("file_bps") for rate in rates], 0),
    ]
    for name, definition in first["definitions"].items():
        results = [summary["metrics"].get(name) for summary in summaries]
        means = [result["mean"] if result else None for result in results]
        unit = f", in {definition['unit']}" if definition["unit"] else ""
        note = f"{definition['better']} is better{escape(unit)}"
        label = f"{escape(definition['label'])}<small>{note}</small>"
        counts = [f"{r['n_ok']} ok, {r['n_failed']} failed" if r else "" for r in results]
        rows.append(_row(label, means, definition["digits"], counts, _best(means, definition["better"])))
    for key, label, digits in (
        ("codes_used", f"Codes used<small>of {rates[0].get('codebook_size', 0):,}</small>", 0),
        ("perplexity", "Perplexity<small>of the tokens</small>", 1),
        ("entropy_bps", "Entropy of the tokens<small>bits a second</small>", 0),
    ):
        rows.append(_row(label, [rate.get(key) for rate in rates], digits))
    missing = "".join(f"<p>{escape(system.name)} is not here: {escape(system.reason)}.</p>" for system in absent)
    heads = "".join(f"<th>{escape(system.name)}</th>" for system in systems)
    return (
        "<section><h2>Scores</h2>"
        f"<p>{first['utterances']} held-out recordings of {first['speakers']} speakers, "
        f"{duration(first['duration_s'])}. Means over the recordings that could be scored (ok); a failure is counted "
        "and left out. The intervals and the means over speakers are in <code>summary.md</code> of each evaluation.</p>"
        f'<div class="card scroll"><table><thead><tr><th>Metric</th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>{missing}</section>"
    )


def _row(
    label: str, values: Sequence[float | None], digits: int, notes: Sequence[str] = (), best: int | None = None
) -> str:
    cells = []
    for index, value in enumerate(values):
        number = "none" if value is None else f"{value:,.{digits}f}"
        small = f"<small>{escape(notes[index])}</small>" if notes and notes[index] else ""
        emphasis = ' class="better"' if index == best else ""
        cells.append(f"<td{emphasis}>{number}{small}</td>")
    return f"<tr><td>{label}</td>{''.join(cells)}</tr>"


def _best(values: Sequence[float | None], better: str) -> int | None:
    """Index of the best of several scores; None where fewer than two are there or the best are equal."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return None
    best = max(known) if better == "higher" else min(known)
    return values.index(best) if known.count(best) == 1 else None


def _examples(examples: Sequence[Example], definitions: dict[str, Any]) -> str:
    return (
        "<section><h2>Listen</h2>"
        "<p>The first recording of each of the first speakers, not chosen by ear, through <code>codec encode</code> "
        "and <code>codec decode</code>, and through the others' programs. The pictures of a recording have one scale; "
        "the sound is lossless.</p>"
        f"{''.join(_example(example, definitions) for example in examples)}</section>"
    )


def _example(example: Example, definitions: dict[str, Any]) -> str:
    utterance = example.utterance
    if utterance.text:
        text = f"<blockquote>“{escape(utterance.text)}”</blockquote>"
    else:
        text = '<p class="soft">No transcript comes with this recording.</p>'
    versions = "".join(_version(version, definitions) for version in example.versions)
    return (
        f'<article class="card"><h3>Speaker {escape(utterance.speaker)}, {utterance.duration_s:.1f} s</h3>'
        f'<div class="soft">{escape(utterance.id)}</div>{text}<div class="versions">{versions}</div></article>'
    )


def _version(version: Version, definitions: dict[str, Any]) -> str:
    facts = {}
    if version.tokens is not None:
        facts["tokens"] = f"{version.tokens:,}"
    if version.size is not None:
        facts["16-bit samples" if version.name == "Original" else "file"] = f"{version.size:,} bytes"
    for name, definition in definitions.items():
        if name in version.scores:
            unit = f" {definition['unit']}" if definition["unit"] else ""
            facts[definition["label"]] = f"{version.scores[name]:.{definition['digits']}f}{unit}"
        elif name in version.failures:
            facts[definition["label"]] = f"failed ({version.failures[name]})"
    name = escape(version.name)
    items = "".join(f"<div><dt>{escape(key)}</dt><dd>{escape(value)}</dd></div>" for key, value in facts.items())
    return (
        f"<div><h3>{name}</h3>"
        f'<audio controls preload="metadata" src="{data_uri("audio/flac", version.flac)}"></audio>'
        f'<img alt="{name}: waveform above mel spectrogram" src="{data_uri("image/png", version.png)}" '
        f'width="800" height="440"><dl class="scores">{items}</dl></div>'
    )


def _curves(training: Training) -> str:
    def both(key: str) -> list[Curve]:
        return [Curve(kind, training.curve(kind, key)) for kind in ("train", "validation")]

    def adversarial(prefix: str, name: str) -> list[Curve]:
        families = sorted({key for line in training.lines for key in line if key.startswith(f"loss/{prefix}_")})
        return [Curve(f"{name} {key.rpartition('_')[2]}", training.curve("train", key)) for key in families]

    mark = (training.switch, "codebook in use") if training.switch is not None else None
    charts = [
        line_chart("Log-mel loss", both("loss/mel"), log_y=True, mark=mark),
        line_chart("Codes used", both("codes_used"), from_zero=True, mark=mark),
        line_chart("Perplexity", both("perplexity"), from_zero=True, mark=mark),
        line_chart("Bottleneck loss", both("loss/commitment"), log_y=True, mark=mark),
        line_chart("Discriminator losses", adversarial("discriminator", "against"), from_zero=True, mark=mark),
        line_chart(
            "Gradient norm of the generator",
            [Curve("train", training.curve("train", "grad_norm/generator"))],
            log_y=True,
            mark=mark,
        ),
    ]
    warmup = ""
    if training.switch is not None:
        warmup = (
            f" Up to step {training.switch:,} the network was a plain autoencoder; then its codebook was set from the "
            "latents, and training went on through it."
        )
    return (
        f"<section><h2>Training</h2><p>Losses over the steps; validation is on other speakers.{warmup}</p>"
        f'<div class="charts">{"".join(f"<div class=card>{chart}</div>" for chart in charts)}</div></section>'
    )


def _licences(examples: Sequence[Example]) -> str:
    rows = []
    for example in examples:
        source = example.source
        licence, _, corpus = source.get("licence", "not known").removesuffix(")").partition(" (")
        link = CREATIVE_COMMONS.get(licence)
        shown = f'<a href="{link}">{escape(licence)}</a>' if link else escape(licence)
        credit = CORPORA.get(corpus, corpus) or source.get("repository", "")
        rows.append(f"<tr><td>{escape(example.utterance.id)}</td><td>{escape(credit)}</td><td>{shown}</td></tr>")
    return (
        "<section><h2>The recordings and their licences</h2>"
        "<p>They were resampled to 24 kHz where they were not, cut at silences and renamed; here they stand as FLAC, "
        "and beside them what the codecs made of them. <code>egs/mini/corpus/README.md</code> has the credit for "
        "the training recordings.</p>"
        '<div class="card scroll"><table class="plain"><thead><tr><th>Recording</th><th>From</th><th>Licence</th></tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _commands(script: str, summary: dict[str, Any]) -> str:
    versions = ", ".join(f"{escape(name)} {escape(version)}" for name, version in summary.get("versions", {}).items())
    return (
        "<section><h2>How it was made</h2><p><code>make demo</code> runs <code>egs/mini/run.sh</code>: this script, on "
        "the recordings that come with the repository.</p>"
        f'<details class="card"><summary>egs/mini/run.sh</summary><pre>{escape(script)}</pre></details>'
        f'<p class="soft">Versions: {versions}.</p></section>'
    )

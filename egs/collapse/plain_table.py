"""Tables and plots of what ``plain.py`` has measured so far.

    python egs/collapse/plain_table.py exp/collapse/quick/results.jsonl            # beside the results
    python egs/collapse/plain_table.py exp/collapse/quick/results.jsonl --write egs/collapse/RESULTS.md

Means over seeds, with the smallest and the largest in brackets where there are several.
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from plain import read_results

from codec.cli import run
from codec.documents import find_place
from codec.errors import CodecError
from codec.files import replacing, write_text

MARKS = ("<!-- tables: python egs/collapse/plain_table.py RESULTS.JSONL --write egs/collapse/RESULTS.md -->",
         "<!-- end of tables -->")  # fmt: skip
COLLAPSE = "speech"  # latents of the figure of collapse
DRAWN = ("kmeans", "dictionary", "vq", "ema", "simvq", "simvq-trainable", "fsq", "residual_simvq")

app = typer.Typer(add_completion=False)
Line = dict[str, Any]


def unique(lines: list[Line], key: str) -> list[Any]:
    """Values of a key in the order of their first appearance; numbers rising."""
    values = list(dict.fromkeys(line[key] for line in lines))
    return sorted(values) if all(isinstance(value, int) for value in values) else values


def spread(lines: list[Line], key: str, digits: int) -> str:
    """Mean over seeds (smallest to largest); a dash where nothing was measured."""
    values = [line[key] for line in lines if key in line]
    if not values:
        return "-"
    text = f"{sum(values) / len(values):,.{digits}f}"
    low, high = f"{min(values):,.{digits}f}", f"{max(values):,.{digits}f}"
    return text if low == high else f"{text} ({low} to {high})"


def table(lines: list[Line], source: str, size: int) -> str:
    """One source and codebook size: a line a system, the least distortion first."""
    here = [line for line in lines if (line["source"], line["codebook_size"]) == (source, size)]
    groups = {name: [line for line in here if line["system"] == name] for name in unique(here, "system")}
    ordered = sorted(groups.items(), key=lambda item: sum(line["distortion"] for line in item[1]) / len(item[1]))
    first = here[0]
    facts = [f"{first['train_latents']:,} latents to train on, {first['test_latents']:,} to measure"]
    facts.append(f"Gaussian of the same covariance (water-filling) {first['water_filling']:.4f}")
    if "shannon_lower_bound" in first:
        facts.append(f"Shannon lower bound {first['shannon_lower_bound']:.4f}")
    parts = [f"### {source}, K = {size:,}\n", "; ".join(facts) + ".\n"]
    parts.append(
        "| system | seeds | distortion | codes used | perplexity | used on C | different among the used | eff. dim. |"
    )
    parts.append("|---|" + "---:|" * 7)
    for name, group in ordered:
        cells = [f"`{name}`", str(len(group)), spread(group, "distortion", 4), spread(group, "codes_used", 0)]
        cells += [spread(group, "perplexity", 0), spread(group, "codes_used_on_c", 0)]
        cells += [spread(group, "different_codes", 0), spread(group, "effective_dimension", 0)]
        parts.append("| " + " | ".join(cells) + " |")
    real = [line for line in here if "real_coefficient" in line]
    if real:
        parts.append(f"\nDictionary with real coefficients, which have no rate: {spread(real, 'real_coefficient', 4)}.")
    return "\n".join(parts) + "\n"


def markdown(lines: list[Line]) -> str:
    """All tables."""
    budgets = sorted({(line["steps"], line["batch"]) for line in lines})
    said = ", ".join(f"{steps} steps of {batch} latents" for steps, batch in budgets)
    seconds = sum(line["cpu_s"] for line in lines)
    parts = [f"{len(lines)} runs of {said}; {seconds / 60:.1f} min of CPU time in all.\n"]
    for source in unique(lines, "source"):
        for size in unique([line for line in lines if line["source"] == source], "codebook_size"):
            parts.append(table(lines, source, size))
    return "\n".join(parts)


def draw(path: Path, lines: list[Line]) -> None:
    """Distortion (above) and share of codes used (below) over the rate, a column a source."""
    sources = unique(lines, "source")
    figure = Figure(figsize=(3 * len(sources), 5.4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(sources), squeeze=False)
    for column, source in enumerate(sources):
        here = [line for line in lines if line["source"] == source]
        _bound(axes[0][column], here, "water_filling", "Gaussian, water-filling", "--")
        _bound(axes[0][column], here, "shannon_lower_bound", "Shannon lower bound", ":")
        for number, name in enumerate(DRAWN):  # a system's colour is the same in all columns
            if name not in unique(here, "system"):
                continue
            mine = [line for line in here if line["system"] == name]
            colour = f"C{number}"
            _curve(axes[0][column], mine, "distortion", name, colour)
            _curve(axes[1][column], [{**m, "share": m["codes_used"] / _usable(m)} for m in mine], "share", name, colour)
        axes[0][column].set_title(source, fontsize=10)
        axes[0][column].set_yscale("log")
        axes[1][column].set_ylim(0, 1.05)
        axes[1][column].set_xlabel("bits a latent")
    axes[0][0].set_ylabel("mean squared error")
    axes[1][0].set_ylabel("codes used of those possible")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, ncols=5, loc="outside lower center", frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})


def draw_collapse(path: Path, lines: list[Line], source: str) -> None:
    """Codes used over codes there are, both logarithmic, and the error: who has use for a larger codebook."""
    here = [line for line in lines if line["source"] == source]
    figure = Figure(figsize=(8, 3.4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for number, name in enumerate(DRAWN):  # colours as in the other figure
        mine = [line for line in here if line["system"] == name]
        if len(unique(mine, "codebook_size")) > 1:
            _curve(left, mine, "codes_used", name, f"C{number}")
            _curve(right, mine, "distortion", name, f"C{number}")
    sizes = unique(here, "codebook_size")
    bits = [math.log2(size) for size in sizes]
    left.plot(bits, sizes, "--", color="black", label="all codes")
    left.axhline(here[0]["test_latents"], linestyle=":", color="black", label="as many as test latents")
    left.set_yscale("log")
    left.set_ylabel("codes used")
    right.set_ylabel("mean squared error")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.set_xlabel("bits a latent, log2 K")
        axes.set_title(source, fontsize=10)
    figure.legend(*left.get_legend_handles_labels(), fontsize=8, ncols=5, loc="outside lower center", frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})


def _usable(line: Line) -> int:
    return min(line["codebook_size"], line["test_latents"])


def _curve(axes: Axes, lines: list[Line], key: str, label: str, colour: str) -> None:
    sizes = unique(lines, "codebook_size")
    groups = [[line[key] for line in lines if line["codebook_size"] == size] for size in sizes]
    bits = [math.log2(size) for size in sizes]
    axes.plot(bits, [sum(group) / len(group) for group in groups], "o-", color=colour, label=label, markersize=3)
    axes.fill_between(bits, [min(g) for g in groups], [max(g) for g in groups], color=colour, alpha=0.2, linewidth=0)


def _bound(axes: Axes, lines: list[Line], key: str, label: str, style: str) -> None:
    found = sorted({(math.log2(line["codebook_size"]), line[key]) for line in lines if key in line})
    if found:
        marker = "_" if len(found) == 1 else None  # a line of one point would not be seen
        axes.plot(*zip(*found, strict=True), style, color="black", label=label, marker=marker, markersize=24)


@app.command()
def main(
    results: Annotated[Path, typer.Argument(metavar="RESULTS.JSONL", help="What plain.py wrote.")],
    write: Annotated[Path | None, typer.Option(help="Markdown file with the tables' marks.")] = None,
) -> None:
    """Write plain.md and the figures beside the results, and put the tables into a document and its ``figures``."""
    lines = read_results(results)
    if not lines:
        raise CodecError(f"{results}: nothing is measured yet; run egs/collapse/plain.py first")
    text = markdown(lines)
    write_text(results.with_name("plain.md"), text)
    draw(results.with_name("plain.png"), lines)
    pictures = ["plain.png"]
    if any(line["source"] == COLLAPSE for line in lines):
        draw_collapse(results.with_name("collapse.png"), lines, COLLAPSE)
        pictures.append("collapse.png")
    print(f"{len(lines)} runs: {results.parent}: plain.md, {', '.join(pictures)}")
    if write is not None:
        place = find_place(write, MARKS)
        for picture in pictures:
            with replacing(write.parent / "figures" / picture) as temporary:
                shutil.copyfile(results.with_name(picture), temporary)
        place.fill(text)


if __name__ == "__main__":
    run(app)

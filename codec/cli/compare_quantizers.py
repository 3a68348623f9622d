"""``codec compare-quantizers``: what several bottlenecks reach, in one report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare_quantizers(
    results: Annotated[
        list[Path], typer.Argument(metavar="RESULTS...", help="JSON lines, one a run (egs/collapse/plain.py).")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of report.html and report.md.")],
    systems: Annotated[str | None, typer.Option(help="Comma-separated: at most four to draw; tables have all.")] = None,
) -> None:
    """Tables with intervals over seeds, curves over the rate, and a line a system: HTML and Markdown."""
    from codec.errors import CodecError
    from codec.evaluation import bottlenecks
    from codec.files import write_text

    read = bottlenecks.read_results(results)
    names = None if systems is None else [name.strip() for name in systems.split(",") if name.strip()]
    known = sorted({result.system for result in read})
    if unknown := [name for name in names or () if name not in known]:
        raise CodecError(f"--systems: {', '.join(unknown)} not in the results; known are {', '.join(known)}")
    if names is not None and not 1 <= len(names) <= bottlenecks.CURVES:
        raise CodecError(f"--systems: {len(names)} names; expected 1 to {bottlenecks.CURVES}")
    write_text(output / "report.html", bottlenecks.html(read, names))
    write_text(output / "report.md", bottlenecks.markdown(read))
    typer.echo(f"{output}: report.html and report.md of {len(read)} runs of {len(known)} systems")

"""``codec compare-quantizers``: what several bottlenecks reach, in one report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from codec.cli.console import comma_separated


def compare_quantizers(
    results: Annotated[
        list[Path], typer.Argument(metavar="RESULTS...", help="JSON lines, one a run (egs/collapse/plain.py).")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of report.html and report.md.")],
    write: Annotated[
        Path | None, typer.Option(help="Document that gets the tables too, between the marks of a report.")
    ] = None,
    systems: Annotated[str | None, typer.Option(help="Comma-separated: at most four to draw; tables have all.")] = None,
) -> None:
    """Tables with intervals over seeds, curves over rate and training, maps of the codes: HTML and Markdown."""
    from codec.documents import find_place
    from codec.errors import CodecError
    from codec.evaluation import bottlenecks
    from codec.files import write_text

    read = bottlenecks.read_results(results)
    names = None if systems is None else comma_separated(systems)
    known = sorted({result.system for result in read})
    if unknown := [name for name in names or () if name not in known]:
        raise CodecError(f"--systems: {', '.join(unknown)} not in the results; known are {', '.join(known)}")
    if names is not None and not 1 <= len(names) <= bottlenecks.CURVES:
        raise CodecError(f"--systems: {len(names)} names; expected 1 to {bottlenecks.CURVES}")
    place = None if write is None else find_place(write, bottlenecks.MARKS)
    maps, uses = bottlenecks.map_pictures(read), bottlenecks.use_pictures(read)
    write_text(output / "report.html", bottlenecks.html(read, names, maps))
    files = _write_pictures(output, maps, "maps"), _write_pictures(output, uses, "use")
    write_text(output / "report.md", bottlenecks.markdown(read, *files))
    if place is not None:
        folder, stem = place.document.parent, place.document.stem
        files = _write_pictures(folder, maps, f"{stem}_maps"), _write_pictures(folder, uses, f"{stem}_use")
        place.fill(bottlenecks.markdown(read, *files, systems=False))
    typer.echo(f"{output}: report.html and report.md of {len(read)} runs of {len(known)} systems")


def _write_pictures(folder: Path, pictures: Mapping[str, bytes], kind: str) -> dict[str, str]:
    """Their names by title."""
    from codec.files import writing_bytes

    files = {title: f"{kind}_{number}.png" for number, title in enumerate(pictures)}
    for title, png in pictures.items():
        with writing_bytes(folder / files[title]) as file:
            file.write(png)
    return files

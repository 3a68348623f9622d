"""Show what a training run did, in one HTML file that needs no network.

    python egs/mini/report.py --run exp/mini/tiny --evaluations exp/mini/scores/trained exp/mini/scores/untrained \
        --audio exp/mini/audio -o exp/mini/report.html

The folder of --audio holds, for each recording to be shown, ``trained/ID.svq``, ``trained/ID.wav`` and the same below
``untrained/``, as ``codec encode`` and ``codec decode`` wrote them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from report_data import collect_examples, read_records, read_sources, read_summary, read_training
from report_page import page

from codec.cli import run
from codec.files import write_text
from codec.manifest import read_manifest

HERE = Path(__file__).parent

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    run_folder: Annotated[Path, typer.Option("--run", help="Folder of the training run.")],
    evaluations: Annotated[tuple[Path, Path], typer.Option(help="Results of the trained and the untrained model.")],
    audio_folder: Annotated[Path, typer.Option("--audio", help="What both models made, trained/ID.wav and so on.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.")],
    manifest: Annotated[Path, typer.Option(help="The held-out recordings.")] = Path("exp/mini/data/test-mini.jsonl"),
    sources: Annotated[Path, typer.Option(help="Licences of the recordings.")] = HERE / "corpus" / "SOURCES.csv",
) -> None:
    """Write one HTML file that shows a run: scores, sounds, pictures, curves."""
    training = read_training(run_folder)
    summaries = [read_summary(folder) for folder in evaluations]
    records = [read_records(folder) for folder in evaluations]
    examples = collect_examples(read_manifest(manifest), audio_folder, records, read_sources(sources))
    script = (HERE / "run.sh").read_text(encoding="utf-8")
    write_text(output, page(training, summaries, examples, script))
    typer.echo(f"{output}: open it in a browser")


if __name__ == "__main__":
    run(app)

"""Speech to listen to, through our models and through others', in one HTML file that needs no network.

    python egs/mini/report.py --shipped exp/mini/scores/shipped --peer exp/mini/peers/opus-6 --audio exp/mini/audio \
        -o exp/mini/report.html
    python egs/mini/report.py --run exp/mini/tiny --evaluations exp/mini/scores/trained exp/mini/scores/untrained \
        --audio exp/mini/audio -o exp/mini/report.html

The folder of --audio holds, for each recording to be shown and each of our models, ``shipped/ID.svq`` and
``shipped/ID.wav``, as ``codec encode`` and ``codec decode`` wrote them, and the same below ``trained/`` and
``untrained/``. A --peer is what ``recipes/evaluate.py --save-audio`` wrote, or its note that the program is not there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from report_data import collect_examples, read_ours, read_peer, read_shipped, read_sources, read_training
from report_page import page

from codec.bundled import DEFAULT_MODEL
from codec.cli import run
from codec.errors import CodecError
from codec.files import write_text
from codec.manifest import read_manifest

HERE = Path(__file__).parent

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    audio_folder: Annotated[Path, typer.Option("--audio", help="What our models made, trained/ID.wav and so on.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.")],
    shipped: Annotated[Path | None, typer.Option(help="Results of the model that ships.")] = None,
    run_folder: Annotated[Path | None, typer.Option("--run", help="Folder of a training run.")] = None,
    evaluations: Annotated[
        tuple[Path, Path] | None, typer.Option(help="With --run: results of the trained and the untrained model.")
    ] = None,
    peers: Annotated[
        list[Path] | None, typer.Option("--peer", help="Results of another codec; again for more.")
    ] = None,
    manifest: Annotated[Path, typer.Option(help="The held-out recordings.")] = Path("exp/mini/data/test-mini.jsonl"),
    sources: Annotated[Path, typer.Option(help="Licences of the recordings.")] = HERE / "corpus" / "SOURCES.csv",
) -> None:
    """Write one HTML file: scores, sounds and pictures of our models and others, and the curves of a run."""
    if (run_folder is None) != (evaluations is None) or (shipped is None and run_folder is None):
        raise CodecError("what is to be shown? give --shipped DIR, or --run DIR with --evaluations DIR DIR, or both")
    training = None if run_folder is None else read_training(run_folder)
    systems = [] if shipped is None else [read_ours("shipped", shipped, audio_folder)]
    if evaluations is not None:
        pairs = zip(("trained", "untrained"), evaluations, strict=True)
        systems += [read_ours(kind, folder, audio_folder) for kind, folder in pairs]
    systems += [read_peer(folder) for folder in peers or ()]
    examples = collect_examples(read_manifest(manifest), systems, read_sources(sources))
    script = (HERE / "run.sh").read_text(encoding="utf-8")
    facts = None if shipped is None else read_shipped(DEFAULT_MODEL)
    write_text(output, page(facts, training, systems, examples, script))
    typer.echo(f"{output}: open it in a browser")


if __name__ == "__main__":
    run(app)

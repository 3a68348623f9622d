"""Prepare LibriTTS, LibriTTS-R or a corpus laid out like them: one manifest a split.

    python recipes/prepare_libritts.py /data/LibriTTS -o data/libritts --jobs 16
    python recipes/prepare_libritts.py egs/mini/corpus -o exp/mini/data
    python recipes/prepare_libritts.py /data/LibriTTS_R -o data/libritts-r --stage 1 --corpus libritts-r \\
        --split train-clean-100 --split dev-clean

Stages: 1 download, 2 verify, 3 extract, 4 manifests. Without --stage only the manifests are made. Running it twice does
nothing twice; a corpus folder that has changed since is prepared again. With LibriTTS-R come the lists of utterances
whose restoration failed, which stage 4 leaves out.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from codec.cli import run
from codec.corpora import failed_lists, libritts, openslr
from codec.corpora.console import counting, say, show, transferring
from codec.corpora.download import RemoteFile
from codec.errors import CodecError

STAGES = (("download", openslr.fetch), ("verify", openslr.verify), ("extract", openslr.unpack))  # and 4, manifests

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def prepare(
    folder: Annotated[Path, typer.Argument(metavar="CORPUS", help="Folder of train-clean-100, test-clean, ...")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the manifests, SPLIT.jsonl each.")],
    split: Annotated[list[str] | None, typer.Option(help="Only this one; may be given again. [default: all]")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Threads that open files.")] = min(8, os.cpu_count() or 1),
    force: Annotated[bool, typer.Option("--force", help="Write manifests again that are up to date.")] = False,
    stage: Annotated[int, typer.Option(min=1, max=4, help="First stage: 1 download, ..., 4 manifests.")] = 4,
    stop_stage: Annotated[int, typer.Option(min=1, max=4, help="Last stage.")] = 4,
    corpus: Annotated[str, typer.Option(help="What to download: libritts or libritts-r.")] = "libritts",
    archives: Annotated[Path | None, typer.Option(help="Folder of the archives. [default: CORPUS/archives]")] = None,
    mirror: Annotated[list[str] | None, typer.Option(help="Download from here first; may be given again.")] = None,
) -> None:
    """Write a manifest for each split and compare it with what is published about the corpus."""
    if stage > stop_stage:
        raise CodecError(f"--stage {stage} comes after --stop-stage {stop_stage}; give a stop stage of {stage} to 4")
    published = openslr.corpus(corpus)
    mirrors = [*(mirror or ()), *openslr.MIRRORS]
    for name, work in STAGES[stage - 1 : stop_stage]:
        if (lists := published.failed_lists(mirrors)) is not None:
            _prepare_lists(name, lists, archives or folder / "archives", folder)
        for chosen in split or published.checksums:
            archive = published.archive(chosen, mirrors)
            with transferring(f"{name} {archive.name}") as progress:
                worked = work(archive, archives or folder / "archives", folder / chosen, progress)
            say(f"{name} {chosen}: {'done' if worked else 'nothing to do, the folder is there'}")
    if stop_stage == 4:
        with counting("reading headers") as progress:
            summaries = list(libritts.prepare(folder, output, split or [], jobs=jobs, force=force, progress=progress))
        show(summaries, output)


def _prepare_lists(stage: str, archive: RemoteFile, archives_dir: Path, folder: Path) -> None:
    """What a stage does for the lists of badly restored utterances, and what it leaves undone."""
    if stage == "verify":
        say(f"verify {archive.name}: not done, no checksum of it is known")
        return
    work = {"download": failed_lists.fetch, "extract": failed_lists.unpack}[stage]
    with transferring(f"{stage} {archive.name}") as progress:
        worked = work(archive, archives_dir, folder, progress)
    if worked or libritts.find_failed_lists(folder) is not None:
        say(f"{stage} {archive.name}: {'done' if worked else 'nothing to do, the lists are there'}")
    else:
        say(f"{stage} {archive.name}: it is not in {archives_dir}, so what failed stays in; --stage 1 downloads it")


if __name__ == "__main__":
    run(app)

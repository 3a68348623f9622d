"""Memory of a loader's worker that knows a large manifest: a list of utterances against flat tensors. Linux only.

    python benchmarks/loader_memory.py --utterances 354780 --workers 2

A manifest of made-up paths, as long as those of LibriTTS, is written and read. Each way is then sent to workers as a
``DataLoader`` sends it, and every worker tells what its memory grew by: what is its own, and what it shares.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sized
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch.multiprocessing as multiprocessing
import typer

from codec.cli import run
from codec.manifest import Utterance, read_manifest, walk_manifest, write_manifest
from codec.training.recordings import ManifestRecordings

app = typer.Typer(add_completion=False)


@app.command()
def measure(
    utterances: Annotated[int, typer.Option(min=1)] = 354_780,  # of all training splits of LibriTTS
    workers: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Print the memory of each worker, both ways."""
    with TemporaryDirectory(prefix="codec-") as folder:
        manifest = Path(folder) / "train.jsonl"
        write_manifest(manifest, (_made_up(Path(folder), number) for number in range(utterances)))
        typer.echo(f"{utterances} utterances, a manifest of {manifest.stat().st_size / 1e6:.0f} MB, {workers} workers")
        typer.echo("kept as         own MB a worker  shared MB  seconds to start all")
        for name, kept in (("list", lambda: read_manifest(manifest)), ("flat tensors", lambda: _flat(manifest))):
            recordings = kept()
            own_mb, shared_mb, seconds = _measured(recordings, workers)
            typer.echo(f"{name:14}  {own_mb:15.1f}  {shared_mb:9.1f}  {seconds:20.1f}")
            del recordings


def _made_up(folder: Path, number: int) -> Utterance:
    speaker, chapter = number % 2456, number // 100
    id_ = f"{speaker}_{chapter}_{number % 100:06d}_{number % 7:06d}"
    text = "and then he said that it was as good a text as any " * 2
    path = folder / "LibriTTS" / "train-other-500" / str(speaker) / str(chapter) / f"{id_}.wav"
    return Utterance(id_, path, 24_000 * (1 + number % 20), 24_000, str(speaker), "train-other-500", text)


def _flat(manifest: Path) -> ManifestRecordings:
    return ManifestRecordings(walk_manifest(manifest))


def _measured(recordings: Sized, workers: int) -> tuple[float, float, float]:
    """Own MB of the largest worker beyond one that got nothing, MB shared by all, seconds."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    started = time.perf_counter()
    found: list[dict[str, float]] = []
    for sent in ([], recordings):
        processes = [context.Process(target=_worker, args=(sent, answers)) for _ in range(workers)]
        started = time.perf_counter()
        for process in processes:
            process.start()
        heard = [json.loads(answers.get()) for _ in processes]
        elapsed_s = time.perf_counter() - started
        for process in processes:
            process.join()
        found.append({key: max(item[key] for item in heard) for key in heard[0]})
    empty, full = found
    return full["own"] - empty["own"], full["shared"] - empty["shared"], elapsed_s


def _worker(recordings: Any, answers: Any) -> None:
    count = len(recordings)
    for place in range(0, count, max(1, count // 1000)):
        assert recordings[place].num_samples
    if isinstance(recordings, ManifestRecordings):
        recordings.pick(0, 0, 0)  # an epoch's order is part of it
    kilobytes = {"own": 0, "shared": 0}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        key, _, rest = line.partition(":")
        if key in ("Private_Clean", "Private_Dirty"):
            kilobytes["own"] += int(rest.split()[0])
        if key in ("Shared_Clean", "Shared_Dirty"):
            kilobytes["shared"] += int(rest.split()[0])
    answers.put(json.dumps({key: value * 1024 / 1e6 for key, value in kilobytes.items()}))


if __name__ == "__main__":
    run(app)

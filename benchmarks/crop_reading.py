"""Processor time of reading crops: from files and from tar shards, FLAC, Opus and wave.

    python benchmarks/crop_reading.py --manifest exp/mini/data/train-mini.jsonl

Processor time and not the clock, so that it may run beside other work; the files are in the page cache after the first
round. ``crops/s`` are those of one core; ``bytes/crop`` is what the reader asks the system for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

import codec.audio as audio_io
from codec.cli import run
from codec.config import DataConfig
from codec.manifest import read_manifest
from codec.tarshards import find_shards
from codec.tarshards.writing import Options, write_shards
from codec.training.data import CropDataset
from codec.training.recordings import ManifestRecordings, Recordings, ShardRecordings

app = typer.Typer(add_completion=False)


@app.command()
def measure(
    manifest: Annotated[Path, typer.Option(help="Recordings.")],
    crops: Annotated[int, typer.Option(min=1, help="Read for each figure.")] = 400,
) -> None:
    """Print what a crop costs, of each kind of storage."""
    utterances = read_manifest(manifest)
    rate = utterances[0].sample_rate
    mean_s = sum(item.duration_s for item in utterances) / len(utterances)
    with TemporaryDirectory(prefix="codec-") as name:
        folder = Path(name)
        waves = []
        for number, item in enumerate(utterances):
            audio, _ = audio_io.read(item.path)
            audio_io.write(folder / "wave" / f"{number}.wav", audio, item.sample_rate)
            waves.append(replace(item, path=folder / "wave" / f"{number}.wav"))
        kinds: dict[str, Callable[[], Recordings]] = {
            "wave files": lambda: ManifestRecordings(waves),
            f"{utterances[0].path.suffix[1:]} files": lambda: ManifestRecordings(utterances),
        }
        for format_name in ("flac", "opus"):
            write_shards(utterances, folder / format_name, Options(format_name, shard_mb=20))
            kinds[f"{format_name} shards"] = lambda f=format_name: ShardRecordings(find_shards([str(folder / f)]), 8)
            size = sum(path.stat().st_size for path in (folder / format_name).glob("*.tar"))
            hours = sum(item.duration_s for item in utterances) / 3600
            typer.echo(f"{format_name}: {8 * size / hours / 3.6e6:.1f} kbit/s, {size / hours / 1e6:.1f} MB/h with tar")
        typer.echo(f"{len(utterances)} utterances at {rate} Hz, {mean_s:.1f} s on average; one core")
        typer.echo("storage       crop s   ms/crop  crops/s  bytes/crop")
        for kind, make in kinds.items():
            for crop_s in (1.0, 3.0):
                data = CropDataset(make(), rate, DataConfig(crop_s=crop_s), seed=0)
                for position in range(min(crops, 50)):
                    data[position]
                read_before, started = _bytes_read(), time.process_time()
                for position in range(50, 50 + crops):
                    data[position]
                seconds = (time.process_time() - started) / crops
                per_crop = (_bytes_read() - read_before) / crops
                typer.echo(f"{kind:12}  {crop_s:6.0f}  {1000 * seconds:8.2f}  {1 / seconds:7.0f}  {per_crop:10.0f}")


def _bytes_read() -> int:
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:  # not Linux
        return 0
    return int(next(line.split()[1] for line in lines if line.startswith("rchar")))


if __name__ == "__main__":
    run(app)

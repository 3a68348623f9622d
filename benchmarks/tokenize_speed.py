"""Hours of speech that ``recipes/tokenize.py`` turns into tokens in an hour, on the device at hand.

    python benchmarks/tokenize_speed.py --manifest exp/mini/data/train-mini.jsonl --preset reference --minutes 4
    python benchmarks/tokenize_speed.py --manifest exp/mini/data/train-mini.jsonl --preset tiny --minutes 20
    python benchmarks/tokenize_speed.py --manifest data/train-clean-100.jsonl --model MODEL --minutes 600 --batch-s 400

Reading, encoding and writing shards all take part. The utterances are repeated under other ids until they last as long
as is asked for; a first short round, which is not timed, warms up. One process; several share the shards and add up.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from window_difference import untrained

from codec.cli import run

app = typer.Typer(add_completion=False)


@app.command()
def measure(
    manifest: Annotated[Path, typer.Option(help="Recordings.")],
    model: Annotated[str | None, typer.Option(metavar="DIR", help="Folder of a trained model.")] = None,
    preset_name: Annotated[str, typer.Option("--preset", help="Untrained model, where none is given.")] = "reference",
    minutes: Annotated[float, typer.Option(min=0.01, help="Of speech.")] = 10.0,
    batch_s: Annotated[float | None, typer.Option(min=0.1, help="As of the recipe.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="That read audio, as of the recipe.")] = 2,
    format_: Annotated[str, typer.Option("--format", help="As of the recipe.")] = "parquet",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON file.")] = None,
) -> None:
    """Time a whole tokenisation and print what it was measured on."""
    import torch
    from accelerate import PartialState

    from codec import Codec
    from codec.devices import on_cpu
    from codec.files import write_text
    from codec.manifest import read_manifest
    from codec.tokenstore.encoding import default_batch_s
    from codec.tokenstore.tokenizing import Options, tokenize

    state = PartialState(cpu=on_cpu())
    codec = Codec.from_pretrained(model, state.device) if model else untrained(preset_name).to(state.device)
    options = Options(format_, 1.0, batch_s or default_batch_s(state.device), threads)
    recordings = read_manifest(manifest)
    chosen, total_s = [], 0.0
    while total_s < 60 * minutes:
        item = recordings[len(chosen) % len(recordings)]
        chosen.append(replace(item, id=str(len(chosen))))
        total_s += item.duration_s
    with TemporaryDirectory(prefix="codec-") as folder:
        tokenize(codec, "warm-up", chosen[:4], Path(folder, "warm-up"), options, state=state)
        started, cpu = time.perf_counter(), time.process_time()
        index = tokenize(codec, "timed", chosen, Path(folder, "timed"), options, state=state)
        elapsed_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    assert not index.failed
    cuda = state.device.type == "cuda"
    result = {
        "model": model or f"{preset_name}, untrained",
        "device": torch.cuda.get_device_name() if cuda else state.device.type,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "reading_threads": threads,
        "batch_s": options.batch_s,
        "format": format_,
        "utterances": index.utterances,
        "audio_s": total_s,
        "elapsed_s": elapsed_s,
        "cpu_s": cpu_s,
        "hours_an_hour": total_s / elapsed_s,  # which is times real time
        "hours_a_cpu_hour": total_s / cpu_s,
        "codes_used": index.codes_used,
    }
    if output:
        write_text(output, json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    run(app)

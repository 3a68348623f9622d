"""Encoding with the LSTM tried in parts (codec/inference/lstm.py) and without, by one model in turn.

python benchmarks/lanes.py egs/mini/corpus --model simvq-24khz-0.9kbps --threads 2
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer

import codec.audio as audio_io
from codec import Codec
from codec.benchmarking.machine import with_threads
from codec.benchmarking.timing import Work, measure
from codec.cli import run
from codec.folders import recordings_below
from codec.inference import PreparedEncoder
from codec.inference.lstm import RUN_UPS

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    speech: Annotated[Path, typer.Argument(help="A recording, or a folder of them; joined.")],
    model: Annotated[str, typer.Option(help="Folder or name.")] = "simvq-24khz-0.9kbps",
    seconds: Annotated[list[float] | None, typer.Option(help="Several times for several; default: 6, 10, 30.")] = None,
    threads: Annotated[int, typer.Option(min=1)] = 1,
    runs: Annotated[int, typer.Option(min=1)] = 9,
) -> None:
    """Print the medians of both, which of them is chosen, and how many tokens differ."""
    codec = Codec.from_pretrained(model, "cpu")
    lengths = [round(each * codec.sample_rate) for each in seconds or (6.0, 10.0, 30.0)]
    audio = torch.zeros(0)
    for path in recordings_below(speech):
        if len(audio) < max(lengths):
            audio = torch.cat([audio, audio_io.load(path, codec.sample_rate)])
    prepared = PreparedEncoder(codec.encoder)
    run_up = prepared.run_up
    chosen = "one pass" if run_up is None else f"a pass in parts with a run-up of {run_up} frames"
    print(f"{model}, {threads} threads: {chosen} is chosen")
    for length in lengths:
        signal = audio[:length].view(1, 1, -1)

        def encode(in_lanes: bool, signal: torch.Tensor = signal) -> torch.Tensor:
            prepared.run_up = (run_up or max(RUN_UPS)) if in_lanes else None
            return codec.quantizer.encode(prepared(signal))

        contestants: dict[str, Work] = {"one pass": lambda: encode(False), "tried": lambda: encode(True)}
        with torch.no_grad():
            differ = int((encode(False) != encode(True)).sum())
            timings = with_threads(threads, partial(measure, contestants, codec.device, runs=runs))
        one, tried = timings["one pass"].median_s, timings["tried"].median_s
        print(
            f"{signal.shape[-1] / codec.sample_rate:5.1f} s: one pass {1000 * one:.0f} ms, tried {1000 * tried:.0f} ms,"
            f" {one / tried:.2f} of it; {differ} tokens differ"
        )


if __name__ == "__main__":
    run(app)

"""Memory and time of ``codec encode`` and ``codec decode`` on long recordings. Linux only.

    python benchmarks/long_audio.py egs/mini/corpus --minutes 5 --minutes 20

The speech below the folder is repeated to the length that is asked for, at 44.1 kHz, so that resampling takes part.
Each command runs in a process of its own, whose peak is read from the kernel (VmHWM). Then three minutes are encoded in
one pass, and the tokens compared.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import torch
import typer
from window_difference import joined, untrained

from codec import Codec
from codec.audio.blocks import reading, writing
from codec.bitstream import read_tokens
from codec.cli import run
from codec.streaming import encode_chunks

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
RATE = 44_100  # Hz
EXCERPT_S = 180.0
CHILD = """
import sys
from codec.cli import main
try:
    main(sys.argv[1:])
finally:
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            print(line.split()[1], file=sys.stderr)
"""


@app.command()
def measure(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Recordings.")],
    minutes: Annotated[list[float], typer.Option(help="Length; may be given again.")],
    loop: Annotated[float, typer.Option(help="Seconds of speech that are repeated to each length.")] = EXCERPT_S,
    model: Annotated[str | None, typer.Option(metavar="DIR", help="Folder of a trained model.")] = None,
    preset_name: Annotated[str, typer.Option("--preset", help="Untrained model, where none is given.")] = "reference",
) -> None:
    """Print peak memory and speed for each length, and whether three minutes have the tokens of one pass."""
    with TemporaryDirectory(prefix="codec-") as name:
        scratch = Path(name)
        if model is None:
            model = str(scratch / "model")
            untrained(preset_name).save_pretrained(model)
        speech = joined(folder, RATE, loop)
        typer.echo("minutes  command  peak MB  times real time")
        for length in minutes:
            with writing(scratch / "a.wav", RATE) as writer:
                for _ in range(round(60 * length * RATE / len(speech))):
                    writer.write(speech)
            duration_s = writer.num_samples / RATE
            for command, source, output in (("encode", "a.wav", "a.svq"), ("decode", "a.svq", "b.wav")):
                paths = [str(scratch / source), "-o", str(scratch / output), "--force"]
                peak_mb, elapsed_s = _run([command, *paths, "--model", model, "--device", "cpu"])
                typer.echo(f"{duration_s / 60:7.1f}  {command}   {peak_mb:7.0f}  {duration_s / elapsed_s:15.1f}")
            assert read_tokens(scratch / "a.svq").is_whole
        codec = Codec.from_pretrained(model, "cpu")
        with writing(scratch / "a.wav", RATE) as writer:
            writer.write(speech[: round(EXCERPT_S * RATE)])
        with reading(scratch / "a.wav", codec.sample_rate) as reader:
            blocks = list(reader.blocks())
        chunks = torch.cat(list(encode_chunks(codec, blocks)))
        whole = codec.encode(torch.cat(blocks)).tokens[0]
        typer.echo(
            f"{len(whole)} tokens of {writer.num_samples / RATE:.0f} s, {len(whole.unique())} codes: "
            f"{int((chunks != whole).sum())} differ from those of one pass"
        )


def _run(arguments: list[str]) -> tuple[float, float]:
    """Peak memory in MB and seconds."""
    started = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    return int(ended.stderr.split()[-1]) * 1024 / 1e6, time.perf_counter() - started


if __name__ == "__main__":
    run(app)

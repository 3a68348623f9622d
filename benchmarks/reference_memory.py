"""Peak memory and time of ``codec encode`` and ``codec decode`` at the published sizes, with random weights.

    python benchmarks/reference_memory.py egs/mini/corpus --seconds 10

The audio is real speech, one recording after another up to the length asked for. Each command runs in a process of its
own, whose largest resident size is read when it ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from itertools import cycle
from pathlib import Path
from typing import Annotated

import typer

from codec.cli import run

app = typer.Typer(add_completion=False)


@app.command()
def main(
    corpus: Annotated[Path, typer.Argument(help="Folder with flac files at 24 kHz.")],
    seconds: Annotated[float, typer.Option(min=0.1)] = 10.0,
    preset: Annotated[str, typer.Option()] = "reference",
) -> None:
    """Encode and decode ``seconds`` of speech through a randomly initialised preset."""
    import torch

    import codec.audio as audio_io
    from codec import Codec, CodecError
    from codec import preset as model_preset

    files = sorted(corpus.glob("**/*.flac"))
    if not files:
        raise CodecError(f"{corpus}: no flac files below it; give a folder of recordings")
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        codec = Codec(model_preset(preset))
        codec.save_pretrained(f"{folder}/model")
        wanted, pieces, have = round(seconds * codec.sample_rate), [], 0
        for file in cycle(files):
            pieces.append(audio_io.load(file, codec.sample_rate))
            have += len(pieces[-1])
            if have >= wanted:
                break
        audio_io.write(f"{folder}/in.wav", torch.cat(pieces)[:wanted], codec.sample_rate)
        for source, target in (("in.wav", "tokens.svq"), ("tokens.svq", "out.wav")):
            command = "encode" if target.endswith(".svq") else "decode"
            call = "from codec.cli import main; main()"
            arguments = [command, f"{folder}/{source}", "-o", f"{folder}/{target}", "--model", f"{folder}/model"]
            process = subprocess.Popen([sys.executable, "-c", call, *arguments])
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            print(f"{command}: exit {process.returncode}, peak {usage.ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    run(app)

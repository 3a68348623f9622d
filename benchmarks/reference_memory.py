"""Speed and peak memory of ``codec encode`` and ``codec decode``: of a model, or at the published sizes.

    OMP_NUM_THREADS=2 python benchmarks/reference_memory.py egs/mini/corpus --model simvq-24khz-0.9kbps --seconds 60
    python benchmarks/reference_memory.py egs/mini/corpus --seconds 10    # random weights at the published sizes

The audio is real speech, one recording after another up to the length asked for. Each command runs in a process of its
own, which says its largest resident size when it ends. Times are those that the command itself gives: from the loaded
model on, reading and writing of the files included, the median of ``--runs``. Beside them stands the whole process,
with the start of Python and the loading of the model.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from codec.cli import run

app = typer.Typer(add_completion=False)
# The command, and the largest resident size that the system saw of its program. What it tells of a process that has
# ended (ru_maxrss) is no smaller than its parent was when it started it.
CALL = """
from pathlib import Path
from codec.cli import main
try:
    main()
finally:
    status = Path("/proc/self/status")
    if status.exists():
        print(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")))
"""


class Ended(NamedTuple):
    """What one process took."""

    times_real_time: float  # as the command says it
    whole_s: float  # start of the process to its end
    peak_bytes: int


@app.command()
def main(
    corpus: Annotated[Path, typer.Argument(help="Folder with flac files.")],
    seconds: Annotated[float, typer.Option(min=0.1)] = 10.0,
    model: Annotated[str | None, typer.Option(help="Model folder or name. [default: a preset, random weights]")] = None,
    preset: Annotated[str, typer.Option(help="Sizes, where no model is given.")] = "reference",
    runs: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Encode and decode ``seconds`` of speech, and print speed and peak memory of both commands."""
    import torch

    import codec.audio as audio_io
    from codec import Codec, CodecError
    from codec import preset as model_preset

    files = sorted(corpus.glob("**/*.flac"))
    if not files:
        raise CodecError(f"{corpus}: no flac files below it; give a folder of recordings")
    with tempfile.TemporaryDirectory() as folder:
        if model is None:
            torch.manual_seed(0)
            codec = Codec(model_preset(preset))
            model = f"{folder}/model"
            codec.save_pretrained(model)
        else:
            codec = Codec.from_pretrained(model, "cpu")
        wanted, pieces, have = round(seconds * codec.sample_rate), [], 0
        for file in cycle(files):
            pieces.append(audio_io.load(file, codec.sample_rate))
            have += len(pieces[-1])
            if have >= wanted:
                break
        audio_io.write(f"{folder}/in.wav", torch.cat(pieces)[:wanted], codec.sample_rate)
        print(f"{seconds:g} s of speech, {torch.get_num_threads()} threads, median of {runs}")
        speeds = []
        for command, source, target in (("encode", "in.wav", "tokens.svq"), ("decode", "tokens.svq", "out.wav")):
            arguments = [command, f"{folder}/{source}", "-o", f"{folder}/{target}", "--model", model, "--force"]
            ended = [_run([*arguments, "--device", "cpu"]) for _ in range(runs)]
            speeds.append(statistics.median(one.times_real_time for one in ended))
            print(
                f"{command}: {speeds[-1]:.1f} times faster than the speech (the process took "
                f"{statistics.median(one.whole_s for one in ended):.1f} s), peak "
                f"{max(one.peak_bytes for one in ended) / 1e6:.0f} MB"
            )
        print(f"together: {1 / sum(1 / speed for speed in speeds):.1f} times faster than the speech")


def _run(arguments: list[str]) -> Ended:
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", CALL, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    found = re.search(r"([\d.]+) times real time", said)
    if process.returncode or found is None:
        raise SystemExit(f"codec {arguments[0]} ended with code {process.returncode}: {said}")
    told = re.search(r"VmHWM:\s+(\d+) kB", said)
    peak = int(told[1]) * 1024 if told else usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Ended(float(found[1]), time.perf_counter() - started, peak)


if __name__ == "__main__":
    run(app)

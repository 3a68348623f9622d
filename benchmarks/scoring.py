"""How long scoring takes: metrics one after another, and in a pool of processes beside the system.

    python benchmarks/scoring.py egs/mini/corpus --utterances 100 --seconds 5 --workers 2

Real speech is cut into utterances of one length, and the system is the cheapest there is (resampling), so that the
metrics are what is timed. Nothing is cached, every process has one thread. The libraries' own functions, called one
after another as the published script calls them, are timed on the first ``--direct`` utterances, because torchcrepe's
network takes most of an hour for all of them.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codec.cli import run
from codec.errors import CodecError

if TYPE_CHECKING:
    from codec.manifest import Utterance

app = typer.Typer(add_completion=False)

RATE = 24_000
METRICS = ("pesq", "stoi", "f1", "mel")


@app.command()
def main(
    corpus: Annotated[Path, typer.Argument(help="Folder with flac files at 24 kHz.")],
    utterances: Annotated[int, typer.Option(min=1)] = 100,
    seconds: Annotated[float, typer.Option(min=0.5)] = 5.0,
    workers: Annotated[int, typer.Option(min=1)] = 2,
    direct: Annotated[int, typer.Option(min=0, help="Utterances for the libraries called directly.")] = 3,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON file.")] = None,
) -> None:
    """Time the same scores one after another and in a pool."""
    import torch

    from codec.evaluation import MetricOptions, SystemOptions, build_metrics, build_system, evaluate

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="codec-") as name:
        folder = Path(name)
        test_set = _test_set(corpus, folder, utterances, round(seconds * RATE))
        system = build_system("resample:16000", SystemOptions(RATE))
        facts: dict[str, Any] = {"utterances": utterances, "seconds": seconds, "metrics": METRICS, "workers": workers}
        # The first Viterbi decoding compiles; that is not what is measured.
        evaluate(system, test_set[:1], build_metrics(METRICS, MetricOptions(RATE)), folder / "warm")
        for label, count in (("one after another", 0), (f"{workers} workers", workers)):
            started, cpu_started = time.perf_counter(), _cpu_s()
            evaluate(system, test_set, build_metrics(METRICS, MetricOptions(RATE)), folder / label, workers=count)
            facts[f"{label}, s"] = round(time.perf_counter() - started, 2)
            facts[f"{label}, CPU s"] = round(_cpu_s() - cpu_started, 2)
        records = [
            (folder / label / "utterances.jsonl").read_bytes() for label in ("one after another", f"{workers} workers")
        ]
        if records[0] != records[1]:
            raise CodecError("the pool gave other scores; report this as a bug")
        if direct:
            took_s = _call_directly([utterance.path for utterance in test_set[:direct]])
            facts["libraries directly, s (extrapolated)"] = round(took_s / min(direct, utterances) * utterances, 1)
    text = json.dumps(facts, indent=2)
    if output is not None:
        output.write_text(text + "\n", encoding="utf-8")
    typer.echo(text)


def _cpu_s() -> float:
    """CPU time of this process and of those that have ended: what tells on a machine that does other things too."""
    return sum(os.times()[:4])


def _test_set(corpus: Path, folder: Path, count: int, length: int) -> list[Utterance]:
    """``count`` utterances of ``length`` samples, cut one after another from the recordings."""
    import torch

    from codec import audio as audio_io
    from codec.manifest import Utterance

    files = sorted(corpus.glob("**/*.flac"))
    if not files:
        raise CodecError(f"{corpus}: no flac files; give a folder of recordings")
    rest = torch.zeros(0)
    found: list[Utterance] = []
    for file in cycle(files):
        rest = torch.cat([rest, audio_io.load(file, RATE)])
        while len(rest) >= length and len(found) < count:
            path = folder / "speech" / f"u{len(found):03}.wav"
            audio_io.write(path, rest[:length], RATE)
            found.append(Utterance(path.stem, path, length, RATE))
            rest = rest[length:]
        if len(found) == count:
            return found
    raise AssertionError("cycle() has no end")


def _call_directly(files: list[Path]) -> float:
    """Seconds that the libraries' own functions take, one after another."""
    import torchcrepe
    from pesq import pesq
    from pystoi import stoi

    from codec import audio as audio_io

    started = time.perf_counter()
    for file in files:
        reference = audio_io.load(file, RATE)
        narrow = audio_io.resample(reference, RATE, 16_000)
        degraded = audio_io.resample(narrow, 16_000, RATE)[: len(reference)]
        pesq(16_000, narrow.numpy(), audio_io.resample(degraded, RATE, 16_000).numpy(), "wb")
        stoi(reference.numpy(), degraded.numpy(), RATE, extended=False)
        for signal in (narrow, audio_io.resample(degraded, RATE, 16_000)):
            torchcrepe.predict(signal[None], 16_000, 160, 50.0, 550.0, "full", return_periodicity=True, pad=False)
    return time.perf_counter() - started


if __name__ == "__main__":
    run(app)

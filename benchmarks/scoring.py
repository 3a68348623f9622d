"""How long scoring takes: metrics one after another, and in a pool of processes beside the system.

    python benchmarks/scoring.py egs/mini/corpus --utterances 100 --seconds 5 --workers 2

Real speech is cut into utterances of one length, and the system is the cheapest there is (resampling), so that the
metrics are what is timed. Nothing is cached. Three ways, in one run:

* the libraries' own functions, one after another in one process as the published script calls them, torch with as many
  threads as there are cores (its default); on ``--direct`` utterances spread over the set, times their number, because
  torchcrepe's network would take an hour for all of them (``--direct 100`` takes them all);
* the metrics here, one after another in one process of one thread;
* the metrics here in ``--workers`` processes of one thread, which is what recipes/evaluate.py does.

The last two must give the same bytes (``--no-sequential`` leaves the first of them out). ``ratio`` is the time of the
last over that of the first.
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
    sequential: Annotated[bool, typer.Option(help="Time our metrics one after another, too.")] = True,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON file.")] = None,
) -> None:
    """Time the same scores one after another and in a pool."""
    import torch

    from codec.evaluation import MetricOptions, SystemOptions, build_metrics, build_system, evaluate

    with tempfile.TemporaryDirectory(prefix="codec-") as name:
        folder = Path(name)
        test_set = _test_set(corpus, folder, utterances, round(seconds * RATE))
        system = build_system("resample:16000", SystemOptions(RATE))
        facts: dict[str, Any] = {"utterances": utterances, "seconds": seconds, "metrics": METRICS, "workers": workers}
        # The first Viterbi decoding compiles; that is not what is measured.
        evaluate(system, test_set[:1], build_metrics(METRICS, MetricOptions(RATE)), folder / "warm")
        if direct:
            torch.set_num_threads(facts.setdefault("threads of the libraries", os.cpu_count() or 1))
            chosen = test_set[:: max(1, utterances // direct)][:direct]
            took_s, cpu_s = _call_directly([utterance.path for utterance in chosen])
            facts["libraries, s"] = round(took_s / len(chosen) * utterances, 1)
            facts["libraries, CPU s"] = round(cpu_s / len(chosen) * utterances, 1)
            facts["libraries, timed on"] = len(chosen)
        torch.set_num_threads(1)
        ways = {"one after another": 0} if sequential else {}
        for label, count in (*ways.items(), (f"{workers} workers", workers)):
            started, cpu_started = time.perf_counter(), _cpu_s()
            evaluate(system, test_set, build_metrics(METRICS, MetricOptions(RATE)), folder / label, workers=count)
            facts[f"{label}, s"] = round(time.perf_counter() - started, 2)
            facts[f"{label}, CPU s"] = round(_cpu_s() - cpu_started, 2)
        records = {(folder / label / "utterances.jsonl").read_bytes() for label in (*ways, f"{workers} workers")}
        if len(records) > 1:
            raise CodecError("the pool gave other scores; report this as a bug")
        if direct:
            facts["ratio"] = round(facts[f"{workers} workers, s"] / facts["libraries, s"], 3)
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


def _call_directly(files: list[Path]) -> tuple[float, float]:
    """Seconds, and of CPU time, that the libraries' own functions take, one after another."""
    import librosa
    import numpy as np
    import torchaudio
    import torchcrepe
    from pesq import pesq
    from pystoi import stoi

    from codec import audio as audio_io

    mel = torchaudio.transforms.MelSpectrogram(RATE, n_fft=1024, hop_length=256, n_mels=100, power=1)
    weights = librosa.fft_frequencies(sr=16_000, n_fft=1024)
    started, cpu_started = time.perf_counter(), _cpu_s()
    for file in files:
        reference = audio_io.load(file, RATE)
        narrow = audio_io.resample(reference, RATE, 16_000)
        degraded = audio_io.resample(narrow, 16_000, RATE)[: len(reference)]
        narrow_degraded = audio_io.resample(degraded, RATE, 16_000)
        pesq(16_000, narrow.numpy(), narrow_degraded.numpy(), "wb")
        stoi(reference.numpy(), degraded.numpy(), RATE, extended=False)
        for signal in (narrow, narrow_degraded):
            torchcrepe.predict(signal[None], 16_000, 160, 50.0, 550.0, "full", return_periodicity=True, pad=False)
            with np.errstate(divide="ignore"):  # the weight of 0 Hz
                librosa.perceptual_weighting(
                    abs(librosa.stft(signal.numpy(), n_fft=1024, hop_length=160)) ** 2, weights
                )
        (mel(reference).clamp(min=1e-7).log() - mel(degraded).clamp(min=1e-7).log()).abs().mean()
    return time.perf_counter() - started, _cpu_s() - cpu_started


if __name__ == "__main__":
    run(app)

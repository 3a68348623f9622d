"""Do PESQ, STOI and F1 agree with their libraries called directly?

    python benchmarks/agreement.py egs/mini/corpus --utterances 50

Scores real utterances as recipes/evaluate.py does (``strict``), coded by Opus at 6 kbit/s where ``opusenc`` is
installed and with noise added otherwise, and computes every score once more by the libraries alone: ``pesq.pesq``,
``pystoi.stoi``, and ``torchcrepe.predict`` with its own convolutions. Prints the largest difference of each and exits
with code 1 where one is over 1e-6 (of pitch: 0.001 cents). torchcrepe takes 4 s of CPU time for a second of audio and
signal, so utterances are pieces of --seconds, cut from the recordings.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codec.cli import run
from codec.errors import CodecError

if TYPE_CHECKING:
    import numpy as np

    from codec.manifest import Utterance

app = typer.Typer(add_completion=False)

RATE = 24_000
TOLERANCE = 1e-6
VALUES = ("pesq_wb", "pesq_nb", "stoi", "estoi", "vuv_f1", "periodicity_rmse", "pitch_rmse_cents")


@app.command()
def main(
    corpus: Annotated[Path, typer.Argument(help="Folder of recordings at 24 kHz, searched with its folders.")],
    utterances: Annotated[int, typer.Option(min=1)] = 50,
    seconds: Annotated[float, typer.Option(min=0.5, help="Of each utterance.")] = 1.0,
) -> None:
    """Compare scores with direct calls."""
    import torch

    from codec.evaluation import MetricOptions, SystemOptions, build_metrics, build_system, evaluate

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="codec-") as name:
        folder = Path(name)
        test_set = _test_set(corpus, utterances, round(seconds * RATE), folder)
        coded = shutil.which("opusenc") is not None
        system = build_system("opus:6" if coded else f"files:{folder / 'noisy'}", SystemOptions(RATE))
        metrics = build_metrics(["pesq", "pesq-nb", "stoi", "estoi", "f1"], MetricOptions(RATE))
        records = evaluate(system, test_set, metrics, folder / "out", save_audio=coded).records
        made = folder / "out" / "audio" if coded else folder / "noisy"
        largest = dict.fromkeys(VALUES, 0.0)
        compared = dict.fromkeys(VALUES, 0)
        started = time.process_time()
        for utterance in test_set:
            direct = _directly(utterance, made / f"{utterance.id}.wav")
            found = records[utterance.id].scores
            for value, expected in direct.items():
                if value in found:
                    compared[value] += 1
                    largest[value] = max(largest[value], abs(found[value] - expected))
    typer.echo(f"{len(test_set)} utterances of {seconds:g} s through {system.name if coded else 'noise'}")
    typer.echo(f"direct calls took {time.process_time() - started:.0f} s of CPU time")
    for value in VALUES:
        typer.echo(f"{value}: largest difference {largest[value]:.1e} over {compared[value]} utterances")
    few = [value for value in ("pesq_wb", "stoi", "vuv_f1") if compared[value] < 0.9 * len(test_set)]
    if few or max(largest[value] for value in VALUES[:-1]) > TOLERANCE or largest["pitch_rmse_cents"] > 1e-3:
        typer.echo(f"over {TOLERANCE:g}, or too few scored: {', '.join(few) or 'see above'}", err=True)
        sys.exit(1)


def _test_set(corpus: Path, count: int, length: int, folder: Path) -> list[Utterance]:
    """``count`` pieces of ``length`` samples, as evenly of all recordings as it goes, and each with noise beside it."""
    import torch

    from codec import audio as audio_io
    from codec.manifest import Utterance

    files = sorted(corpus.glob("**/*.flac"))
    found: list[Utterance] = []
    offset = RATE // 2
    while len(found) < count:
        before = len(found)
        for file in files:
            clip = audio_io.load(file, RATE)[offset : offset + length]
            if len(clip) < length or len(found) == count:
                continue
            path = folder / "speech" / f"{file.stem}_{offset}.wav"
            audio_io.write(path, clip, RATE)
            noise = torch.randn(length, generator=torch.Generator().manual_seed(len(found)))
            noisy = clip + (0.003, 0.01, 0.03)[len(found) % 3] * noise
            audio_io.write(folder / "noisy" / path.name, noisy.clamp(-1, 1), RATE)
            found.append(Utterance(path.stem, path, length, RATE))
        if len(found) == before:
            raise CodecError(f"{corpus}: speech for {before} utterances, expected {count}; give a smaller --utterances")
        offset += length
    return found


def _directly(utterance: Utterance, degraded: Path) -> dict[str, float]:
    """Every value by the libraries alone; nothing of codec.evaluation takes part."""
    import numpy as np
    import soundfile
    import torch
    import torchaudio
    from pesq import PesqError, pesq
    from pystoi import stoi

    pair = [torch.from_numpy(soundfile.read(path, dtype="float32")[0]) for path in (utterance.path, degraded)]
    assert len(pair[0]) == len(pair[1])
    wide, narrow = ([torchaudio.functional.resample(x, RATE, rate).numpy() for x in pair] for rate in (16_000, 8_000))
    on_error = PesqError.RETURN_VALUES
    scores = {
        "pesq_wb": pesq(16_000, *wide, "wb", on_error=on_error),
        "pesq_nb": pesq(8_000, *narrow, "nb", on_error=on_error),
        "stoi": stoi(pair[0].numpy(), pair[1].numpy(), RATE, extended=False),
        "estoi": stoi(pair[0].numpy(), pair[1].numpy(), RATE, extended=True),
    }
    (true_hz, true), (found_hz, found) = map(_pitch, wide)
    true_voiced, found_voiced = true >= 0.21, found >= 0.21
    both = true_voiced & found_voiced
    precision, recall = both.sum() / max(1, found_voiced.sum()), both.sum() / max(1, true_voiced.sum())
    scores["periodicity_rmse"] = np.sqrt(np.mean((true.astype(np.float64) - found) ** 2))
    if both.any():
        scores["vuv_f1"] = 2 * precision * recall / (precision + recall)
        scores["pitch_rmse_cents"] = np.sqrt(np.mean((1200 * np.log2(true_hz[both] / found_hz[both])) ** 2))
    return {value: float(score) for value, score in scores.items()}


def _pitch(audio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pitch in Hz, undithered, and periodicity of every 10 ms of 16 kHz audio."""
    import librosa
    import numpy as np
    import torch
    import torchcrepe

    def bins(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found, _ = torchcrepe.decode.viterbi(logits)
        return found, 10 * 2 ** ((20 * found + 1997.3794084376191) / 1200)  # CREPE's bins of 20 cents

    frequency, periodicity = torchcrepe.predict(
        torch.from_numpy(audio)[None], 16_000, 160, 50.0, 550.0, "full", bins, return_periodicity=True, pad=False
    )
    power = np.abs(librosa.stft(audio, n_fft=1024, hop_length=160, center=False)) ** 2
    with np.errstate(divide="ignore"):
        level = librosa.perceptual_weighting(power, librosa.fft_frequencies(sr=16_000, n_fft=1024)) - 20
    track = periodicity[0].numpy().copy()
    track[level.mean(axis=0) < -60] = 0
    return frequency[0].numpy().astype(np.float64), track


if __name__ == "__main__":
    run(app)

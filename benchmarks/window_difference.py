"""How far decoding in windows is from decoding in one pass, and what it costs.

    python benchmarks/window_difference.py --model exp/mini/tiny/best egs/mini/corpus/test-mini
    python benchmarks/window_difference.py --preset reference egs/mini/corpus

The recordings below the folder are joined, in order of their names, to one of at most ``--seconds``; its tokens are
decoded in one pass and in windows. An untrained preset gets the gain that keeps its latents alive, else it would use a
single code. docs/long_audio.md has the results and the windows that were chosen by them.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from codec import Codec, audio, preset
from codec.cli import run
from codec.config import ModelConfig
from codec.evaluation.mel import LogMelDistance
from codec.folders import recordings_below
from codec.streaming import Windows, decode_chunks

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
UNTRAINED_GAIN = 1.3


@app.command()
def measure(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Recordings.")],
    model: Annotated[str | None, typer.Option(metavar="DIR", help="Folder of a trained model.")] = None,
    preset_name: Annotated[str, typer.Option("--preset", help="Untrained model, where none is given.")] = "reference",
    seconds: Annotated[float, typer.Option(help="Of speech at most.")] = 180.0,
    window: Annotated[list[float] | None, typer.Option(help="Window in seconds; may be given again.")] = None,
    overlap: Annotated[list[float] | None, typer.Option(help="Overlap in seconds; may be given again.")] = None,
    fade: Annotated[float, typer.Option(help="Crossfade in seconds.")] = Windows.fade_s,
) -> None:
    """Print a table: window, overlap, difference from one pass in dB and in log mel, time against one pass.

    The log-mel distance of both from the original tells whether the difference is a loss.
    """
    codec = Codec.from_pretrained(model, "cpu") if model else untrained(preset_name)
    speech = joined(folder, codec.sample_rate, seconds)
    tokens = codec.encode(speech).tokens[0]
    started = time.perf_counter()
    whole = codec.decode(tokens)[0, 0]
    one_pass_s = time.perf_counter() - started
    duration_s = len(speech) / codec.sample_rate
    own = _mel_distance(codec, speech, whole[: len(speech)])
    typer.echo(
        f"{model or 'untrained ' + preset_name}: {duration_s:.1f} s, {len(tokens.unique())} codes; one pass takes "
        f"{one_pass_s:.1f} s and lies {own:.4f} from the original in log mel"
    )
    typer.echo("window s  overlap s  difference dB  worst second dB  log mel  to the original  time")
    for window_s in window or (5.0, 10.0, 20.0, 30.0, 60.0):
        for overlap_s in overlap or (0.5, 1.0, 2.0):
            windows = Windows(window_s, overlap_s, fade)
            started = time.perf_counter()
            windowed = torch.cat(list(decode_chunks(codec, [tokens], windows)))
            elapsed_s = time.perf_counter() - started
            mel = _mel_distance(codec, whole, windowed)
            original = _mel_distance(codec, speech, windowed[: len(speech)])
            error, worst = _relative_error_db(whole, windowed, codec.sample_rate)
            typer.echo(
                f"{window_s:8g}  {overlap_s:9g}  {error:13.1f}  {worst:15.1f}  {mel:7.4f}  {original:15.4f}  "
                f"{elapsed_s / one_pass_s:4.2f}"
            )


def untrained(name: str) -> Codec:
    """A preset with random weights, the same every time."""
    torch.manual_seed(0)
    config = preset(name)
    encoder = config.encoder.model_copy(update={"init_gain": UNTRAINED_GAIN})
    return Codec(ModelConfig(**{**dict(config), "encoder": encoder})).eval()


def joined(folder: Path, sample_rate: int, seconds: float) -> Tensor:
    """Recordings one after another, (T,)."""
    clips, missing = [], round(seconds * sample_rate)
    for path in recordings_below(folder):
        clip, rate = audio.read(path)
        clips.append(audio.resample(audio.to_mono(clip), rate, sample_rate)[:missing])
        missing -= len(clips[-1])
        if not missing:
            break
    return torch.cat(clips)


def _relative_error_db(reference: Tensor, other: Tensor, sample_rate: int) -> tuple[float, float]:
    """Energy of the difference over the reference's, in dB: of everything, and of the worst second in which there is
    sound (at least a hundredth of the mean energy)."""
    errors = torch.stack([part.double().square().sum() for part in (reference - other).split(sample_rate)])
    energies = torch.stack([part.double().square().sum() for part in reference.split(sample_rate)])
    audible = energies > 0.01 * energies.mean()
    return _decibel(errors.sum() / energies.sum()), _decibel((errors / energies)[audible].max())


def _decibel(ratio: Tensor) -> float:
    return float(10 * ratio.clamp(min=1e-20).log10())


def _mel_distance(codec: Codec, reference: Tensor, other: Tensor) -> float:
    rate = LogMelDistance.sample_rate
    reference, other = (audio.resample(signal, codec.sample_rate, rate) for signal in (reference, other))
    return LogMelDistance().score(reference, other)["mel_distance"]


if __name__ == "__main__":
    run(app)

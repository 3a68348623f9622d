"""Whether recordings of different lengths that share a batch give the tokens and the audio that each gives alone.

    python benchmarks/batch_exactness.py egs/mini/corpus
    python benchmarks/batch_exactness.py egs/mini/corpus --preset reference
    python benchmarks/batch_exactness.py data/test-clean.jsonl --model MODEL --files 256 --longest 30

Recording number i of N is cut to i/N of ``--longest`` and a few samples that are no whole number of frames; batches
mix short and long ones, which is the worst case for padding. Exit code 2 if a token differs, or a sample by more than
1e-4 of full scale. About 1.5 times the recordings' length at `reference` sizes on one CPU core.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor
from window_difference import untrained

from codec import Codec, CodecError, audio
from codec.cli import run
from codec.folders import recordings_below
from codec.manifest import read_manifest
from codec.model import Tokens

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
MOST_DIFFERENCE = 1e-4  # of full scale


@app.command()
def measure(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Manifest (.jsonl), or a folder of recordings.")],
    model: Annotated[str | None, typer.Option(metavar="DIR", help="Folder of a trained model.")] = None,
    preset_name: Annotated[str, typer.Option("--preset", help="Untrained model, where none is given.")] = "tiny",
    files: Annotated[int, typer.Option(min=2, help="Recordings.")] = 64,
    longest: Annotated[float, typer.Option(min=0.1, help="Seconds of the longest one.")] = 4.0,
    size: Annotated[int, typer.Option(min=2, help="Recordings in a batch.")] = 16,
    device: Annotated[str, typer.Option(help="As of codec encode.")] = "cpu",
) -> None:
    """Print how many tokens differ, and the largest difference of a sample."""
    codec = (Codec.from_pretrained(model, device) if model else untrained(preset_name)).to(device)
    recordings = _cut(_paths(source, files), codec.sample_rate, longest)
    tokens = differing = 0
    difference, used = 0.0, set()
    # Every k-th: each batch has recordings from the shortest to the longest.
    step = -(-files // size)
    for batch in (recordings[first::step] for first in range(step)):
        lengths = torch.tensor([len(item) for item in batch])
        together = codec.encode(torch.nn.utils.rnn.pad_sequence(batch, batch_first=True), lengths=lengths)
        decoded = codec.decode(together)
        for item, row, waveform in zip(batch, together.tokens, decoded, strict=True):
            alone = codec.encode(item)
            own = alone.tokens.shape[1]
            tokens += own
            differing += int((row[:own] != alone.tokens[0]).sum())
            used |= set(row[:own].tolist())
            # Of the same tokens, so that a token that differs is counted once and not heard.
            single = codec.decode(Tokens(row[None, :own], alone.lengths))[0]
            difference = max(difference, float((waveform[:, : len(item)] - single).abs().max()))
    total_s = sum(map(len, recordings)) / codec.sample_rate
    counts = sorted(map(len, recordings))
    typer.echo(
        f"{model or 'untrained ' + preset_name}: {files} recordings of {counts[0]} to {counts[-1]} samples "
        f"({len(set(counts))} lengths, {total_s:.0f} s) in {step} batches of up to {-(-files // step)}\n"
        f"{differing} of {tokens} tokens differ ({len(used)} codes), audio by {difference:.1e} at most"
    )
    if differing or difference > MOST_DIFFERENCE:
        raise CodecError(f"batches are not what single recordings are: expected 0 tokens and {MOST_DIFFERENCE:g}")


def _paths(source: Path, files: int) -> list[Path]:
    paths = recordings_below(source) if source.is_dir() else [item.path for item in read_manifest(source)]
    return [paths[number % len(paths)] for number in range(files)]  # cut to another length, one may come again


def _cut(paths: list[Path], sample_rate: int, longest_s: float) -> list[Tensor]:
    """(T,) each, of evenly spread lengths; what is shorter than its share is taken as it is."""
    recordings = []
    for number, path in enumerate(paths, 1):
        wanted = round(longest_s * sample_rate * number / len(paths)) - number
        recordings.append(audio.load(path, sample_rate)[: max(1, wanted)].clone())
    return recordings


if __name__ == "__main__":
    run(app)

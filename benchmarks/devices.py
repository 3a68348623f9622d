"""Whether a device gives the tokens and the audio that the processor gives: one recording, several at once, in chunks.

    python benchmarks/devices.py egs/mini/corpus --device cuda

Encoder and decoder round otherwise on each device, and a token may differ where two codes are equally near but for
that. Everything else is an error. Exit code 2 if more than one token in two hundred differs, or a sample decoded from
the same tokens by more than 1e-3 of full scale (in bfloat16: by more than a twentieth of the signal, root mean
square): limits far from what a wrong layout in memory gives, which were set before any GPU was at hand. A quarter of
a minute on one core.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from codec import Codec, CodecError
from codec.audio import load
from codec.bundled import DEFAULT_MODEL
from codec.cli import run
from codec.devices import pick_device
from codec.files import write_text
from codec.folders import recordings_below
from codec.inference import Inference
from codec.streaming import encode_chunks

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
MOST_TOKENS = 1 / 200
MOST_DIFFERENCE = 1e-3  # of full scale
MOST_NOISE = 0.05  # of bfloat16, of the signal
CHUNK_S = 0.7


@app.command()
def main(
    speech: Annotated[Path, typer.Argument(metavar="FOLDER", help="Recordings.")],
    model: Annotated[str, typer.Option(help="A model's name or folder.")] = DEFAULT_MODEL,
    device: Annotated[str, typer.Option(help="Compared with the processor.")] = "auto",
    files: Annotated[int, typer.Option(min=2, help="Recordings.")] = 12,
    seconds: Annotated[float, typer.Option(min=0.5, help="Of the longest; the others are shorter.")] = 6.0,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON file.")] = None,
) -> None:
    """Count what differs."""
    here, there = Codec.from_pretrained(model, "cpu"), Codec.from_pretrained(model, pick_device(device))
    recordings = cut([load(path, here.sample_rate) for path in recordings_below(speech)[:files]], here, seconds)
    result: dict[str, float] = {}
    expected = [here.encode(item).tokens[0] for item in recordings]
    ways: dict[str, Callable[[], list[Tensor]]] = {
        "alone": lambda: [there.encode(item).tokens[0] for item in recordings],
        "together": lambda: list(there.encode(recordings).tokens),
        "in_chunks": lambda: [in_chunks(there, item) for item in recordings],
    }
    total = sum(map(len, expected))
    for name, encoded in ways.items():
        pairs = zip(expected, encoded(), strict=True)
        result[name] = sum(int((own != other.cpu()[: len(own)]).sum()) for own, other in pairs) / total
    audio = [here.decode(tokens) for tokens in expected]
    # Several at once too: then padding is masked, or each length decoded by itself.
    decoded = [there.decode(tokens).cpu() for tokens in expected]
    joined = there.decode(expected).cpu()
    result["difference"] = max(largest(audio, decoded), largest(audio, list(joined.unsqueeze(1))))
    there.inference = Inference("bfloat16")
    noise = [there.decode(tokens).cpu() - own for tokens, own in zip(expected, audio, strict=True)]
    result["noise_bfloat16"] = float(torch.cat(noise, dim=-1).std() / torch.cat(audio, dim=-1).std())
    record = {"device": str(there.device), "tokens": total, **result}
    print(json.dumps(record))
    if output:
        write_text(output, json.dumps(record, indent=2) + "\n")
    limits = dict.fromkeys(ways, MOST_TOKENS) | {"difference": MOST_DIFFERENCE, "noise_bfloat16": MOST_NOISE}
    wrong = {name: limit for name, limit in limits.items() if not result[name] <= limit}
    if wrong:
        found = ", ".join(f"{name} {result[name]:.3g} (at most {limit})" for name, limit in wrong.items())
        raise CodecError(f"{there.device} does not give what the processor gives: {found}")


def cut(recordings: list[Tensor], codec: Codec, seconds: float) -> list[Tensor]:
    """To different lengths, none a whole number of frames.

    Raises:
        CodecError: fewer than two.
    """
    if len(recordings) < 2:
        raise CodecError(f"{len(recordings)} recordings; two at least are needed")
    longest = round(seconds * codec.sample_rate)
    sizes = (longest * (number + 1) // len(recordings) + 7 for number in range(len(recordings)))
    return [recording.flatten()[:size] for recording, size in zip(recordings, sizes, strict=True)]


def in_chunks(codec: Codec, recording: Tensor) -> Tensor:
    """Tokens (F,)."""
    return torch.cat(list(encode_chunks(codec, recording.split(round(CHUNK_S * codec.sample_rate)))))


def largest(expected: list[Tensor], given: list[Tensor]) -> float:
    """Difference of a sample, of those that are expected."""
    pairs = zip(expected, given, strict=True)
    return max(float((own - other[..., : own.shape[-1]]).abs().max()) for own, other in pairs)


if __name__ == "__main__":
    run(app)

"""Tokens of the package's code search against those of a plain float32 search, on latents of real speech.

    python benchmarks/search_equality.py --model exp/mini/tiny/best --speech egs/mini/corpus
    python benchmarks/search_equality.py --model exp/mini/tiny/best --speech egs/mini/corpus --codebook 262144

Both in eval mode, with what is kept, and in training, where codes are projected as needed. Where tokens differ,
the distances of the two codes are compared in float64: plain float32 rounds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from codec import Codec
from codec.audio import load
from codec.cli import run
from codec.config import SimVQConfig
from codec.devices import pick_device
from codec.errors import CodecError
from codec.files import write_text
from codec.folders import recordings_below
from codec.precision import full_float32
from codec.quantizers.search import half_squared_norms, nearest_codes
from codec.quantizers.search.plain import CodeChunk
from codec.quantizers.simvq import SimVQ

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
CHUNK, QUERIES = 4096, 2048


@app.command()
def main(
    model: Annotated[str, typer.Option(help="Whose encoder makes the latents, and whose codes are searched.")],
    speech: Annotated[Path, typer.Option(help="Folder of recordings.")],
    codebook: Annotated[
        int, typer.Option(min=0, help="K codes set from the latents' covariance instead; 0: the model's own.")
    ] = 0,
    device: Annotated[str, typer.Option()] = "auto",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON file.")] = None,
) -> None:
    """Count tokens that differ."""
    codec = Codec.from_pretrained(model, pick_device(device))
    rows = speech_latents(codec, speech)
    quantizer = codec.quantizer if not codebook else covering(rows, codebook)
    if not isinstance(quantizer, SimVQ):
        raise CodecError(f"{model}: its bottleneck is {codec.config.quantizer.name}, not simvq; give --codebook")
    result: dict[str, object] = {"latents": len(rows), "K": quantizer.codebook_size, "D": quantizer.dim}
    for mode in ("eval", "training"):
        result[mode] = compare(quantizer.train(mode == "training"), rows)
        print(f"{mode}: {json.dumps(result[mode])}", flush=True)
    if output:
        write_text(output, json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


@torch.no_grad()
def speech_latents(codec: Codec, folder: Path) -> Tensor:
    """Of all recordings below ``folder``, (N, D).

    Raises:
        CodecError: there is none.
    """
    found = []
    for path in recordings_below(folder):
        audio = load(path, codec.sample_rate).to(codec.device)
        found.append(codec.inference.latents(codec.encoder, audio.view(1, 1, -1))[0].T)
    return torch.cat(found)


def covering(rows: Tensor, codes: int) -> SimVQ:
    """SimVQ whose codes have the latents' mean and covariance."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    quantizer = SimVQ(rows.shape[1], SimVQConfig(codebook_size=codes)).to(rows.device)
    quantizer.initialize(rows, "covariance", generator)
    return quantizer


@torch.no_grad()
def compare(quantizer: SimVQ, rows: Tensor) -> dict[str, float]:
    """Tokens that differ, and the largest relative difference of squared distances where they do."""
    differ, largest, used = 0, 0.0, set[int]()
    for part in rows.split(QUERIES):
        ours = quantizer.search_rows(part)
        plain = nearest_codes(part, _chunks(quantizer))
        used |= set(ours.tolist())
        where = (ours != plain).nonzero().flatten()
        differ += len(where)
        if len(where):
            near, far = (_distances(quantizer, part[where], tokens[where]) for tokens in (ours, plain))
            largest = max(largest, float((far - near).div(near).max()))
    return {"differ": differ, "farther_by_at_most": largest, "codes_used": len(used)}


def _distances(quantizer: SimVQ, rows: Tensor, tokens: Tensor) -> Tensor:
    """Squared, (N,) float64."""
    projection = quantizer.projection
    bias = None if projection.bias is None else projection.bias.double()
    codes = torch.nn.functional.linear(quantizer.codebook[tokens].double(), projection.weight.double(), bias)
    return (rows.double() - codes).square().sum(dim=1)


def _chunks(quantizer: SimVQ) -> Iterator[CodeChunk]:
    for table in quantizer.codebook.split(CHUNK):
        with full_float32():
            codes = quantizer.projection(table)
        yield codes, half_squared_norms(codes)


if __name__ == "__main__":
    run(app)

"""How many of its codes a model uses on recordings, each manifest by itself and all together.

    python egs/pretrained/codes_used.py --model simvq-24khz-0.9kbps exp/pretrained/data/test.jsonl \
        exp/pretrained/data/train/train.jsonl -o exp/pretrained/table/codes_used.json
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated

import torch
import typer

from codec import Codec, audio
from codec.bundled import DEFAULT_MODEL
from codec.cli import run
from codec.files import write_text
from codec.manifest import read_manifest
from codec.quantizers.usage import CodeUsage

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    manifests: Annotated[list[Path], typer.Argument(metavar="MANIFEST...")],
    output: Annotated[Path, typer.Option("--output", "-o", help="JSON file to write.")],
    model: Annotated[str, typer.Option(help="Folder or name.")] = DEFAULT_MODEL,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
) -> None:
    """Encode every recording and count the codes that occur."""
    logging.getLogger("codec.audio").setLevel(logging.WARNING)  # once a file that is resampled
    codec = Codec.from_pretrained(model, device)
    together, results = CodeUsage(codec.codebook_size), []
    for manifest in manifests:
        usage, seconds = CodeUsage(codec.codebook_size), 0.0
        for utterance in read_manifest(manifest):
            tokens = codec.encode(audio.load(utterance.path, codec.sample_rate)).tokens.cpu()
            usage.update(tokens)
            together.update(tokens)
            seconds += utterance.duration_s
        results.append(_facts(str(manifest), usage, seconds))
    results.append(_facts("together", together, sum(float(result["seconds"]) for result in results)))
    write_text(output, json.dumps({"model": codec.fingerprint, "results": results}, indent=2) + "\n")
    for result in results:
        typer.echo(
            f"{result['of']}: {result['codes_used']} of {codec.codebook_size} codes "
            f"({result['codes_used'] / codec.codebook_size:.1%}) in {result['tokens']} tokens, "
            f"perplexity {result['perplexity']:.0f}"
        )


def _facts(of: str, usage: CodeUsage, seconds: float) -> dict[str, int | float | str]:
    return {"of": of, "seconds": seconds, "tokens": usage.total(), **usage.summary()}


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    run(app)

"""``codec export``: a model folder as graphs for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from codec.cli.console import Force, check_output, working


def export(
    model: Annotated[str, typer.Argument(metavar="DIR", help="Model folder or hub name.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="Folder to write.")],
    speech: Annotated[
        Path, typer.Option("--speech", metavar="AUDIO", help="A recording of speech, for the comparison with PyTorch.")
    ],
    kind: Annotated[Literal["onnx"], typer.Option("--format", help="What to write.")] = "onnx",
    force: Force = False,
) -> None:
    """Write OUT/encoder.onnx and OUT/decoder.onnx, compared with PyTorch on real speech before they are kept."""
    from codec import Codec, audio
    from codec.export import DECODER_FILE, ENCODER_FILE, OPSET, export_onnx

    for name in (ENCODER_FILE, DECODER_FILE):
        check_output(output / name, force)
    codec = Codec.from_pretrained(model, "cpu")
    recording = audio.load(speech, codec.sample_rate)[: 60 * codec.sample_rate]
    with working(f"exporting {model}"):
        comparison = export_onnx(codec, output, recording)
    ties = f" but for {comparison.ties} between codes equally near" if comparison.ties else ""
    typer.echo(
        f"{output}: {kind} (opset {OPSET}); {comparison.tokens} tokens as PyTorch's{ties}, audio within "
        f"{comparison.audio_difference:.1e}"
    )

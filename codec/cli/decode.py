"""``codec decode``: tokens to audio."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from codec.cli.console import STREAM, Device, Force, Model, Output, check_output, output_of, report, summary, working


def decode(
    source: Annotated[Path, typer.Argument(metavar="IN.svq", help="Token file; - for standard input.")],
    model: Model,
    output: Output = None,
    device: Device = "auto",
    force: Force = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="Of a damaged file, decode what is whole; lost frames become silence.")
    ] = False,
) -> None:
    """Decode a token file (.svq) of any length into audio of the same length: wav, flac or ogg."""
    from codec import Codec, audio
    from codec.audio_blocks import writing
    from codec.bitstream import TokenReader, reading_tokens
    from codec.files import standard_output
    from codec.transcoding import Transcoder, check_tokens
    from codec.wave_stream import WaveStream

    target = output_of(source, output)
    if target != STREAM:
        audio.output_format(target)
        check_output(target, force)
    if source != STREAM:
        check_tokens(source, partial=partial)
    with working(f"loading {model}"):
        transcoder = Transcoder(Codec.from_pretrained(model, device), model)
    rate = transcoder.codec.sample_rate
    started = time.perf_counter()
    with (
        working(f"decoding {source}"),
        nullcontext(TokenReader(sys.stdin.buffer, "standard input"))
        if source == STREAM
        else reading_tokens(source) as reader,
    ):
        if target == STREAM:
            with standard_output("redirect it, or give -o OUT.wav") as file:
                stream = WaveStream(file, "standard output", rate, reader.num_samples)
                facts = transcoder.decode(reader, stream.write, partial=partial)
                stream.finish()
        else:
            with writing(target, rate) as writer:
                facts = transcoder.decode(reader, writer.write, partial=partial)
    report(target, summary(target, *facts, elapsed_s=time.perf_counter() - started))

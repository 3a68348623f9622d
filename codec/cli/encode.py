"""``codec encode``: audio to tokens."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from codec.cli.console import STREAM, Device, Force, Model, Output, check_output, output_of, report, summary, working


def encode(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Audio: wav, flac, ogg or mp3; - for standard input.")],
    model: Model,
    output: Output = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Encode audio of any length into a token file (.svq); channels are down-mixed, other rates resampled."""
    from codec import Codec, audio
    from codec.audio_blocks import reading, reading_stdin
    from codec.bitstream import SUFFIX
    from codec.files import standard_output, writing_bytes
    from codec.transcoding import Transcoder

    target = output_of(source, output)
    if target != STREAM:
        check_output(target, force, (SUFFIX,))
    if source != STREAM:
        audio.info(source)  # a wrong input shows before the model is loaded
    with working(f"loading {model}"):
        transcoder = Transcoder(Codec.from_pretrained(model, device), model)
    rate = transcoder.codec.sample_rate
    started = time.perf_counter()
    with (
        working(f"encoding {source}"),
        reading_stdin(rate) if source == STREAM else reading(source, rate) as reader,
        standard_output("redirect it, or give -o OUT.svq") if target == STREAM else writing_bytes(target) as file,
    ):
        facts = transcoder.encode(reader, file)
    report(target, summary(target, *facts, elapsed_s=time.perf_counter() - started))

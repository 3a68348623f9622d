"""``codec encode``: audio to tokens."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from codec.cli.console import Device, Force, Model, check_output, summary, working


def encode(
    audio: Annotated[Path, typer.Argument(metavar="IN", help="Audio: wav, flac, ogg or mp3.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT.svq", help="Token file to write.")],
    model: Model,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Encode audio into a token file (.svq); channels are down-mixed, other rates resampled."""
    from codec import Codec, bitstream
    from codec import audio as audio_files

    check_output(output, force, (bitstream.SUFFIX,))
    audio_files.info(audio)  # a wrong input shows before the model is loaded
    with working(f"loading {model}"):
        codec = Codec.from_pretrained(model, device)
    started = time.perf_counter()
    with working(f"encoding {audio}"):
        waveform = audio_files.load(audio, codec.sample_rate)
        tokens = codec.encode(waveform).tokens[0].cpu().numpy()
    header = bitstream.Header(
        fingerprint=codec.fingerprint,
        sample_rate=codec.sample_rate,
        hop_length=codec.hop_length,
        codebook_size=codec.codebook_size,
        num_samples=len(waveform),
    )
    size = bitstream.write_tokens(output, header, tokens)
    elapsed_s = time.perf_counter() - started
    typer.echo(summary(output, len(waveform) / codec.sample_rate, len(tokens), size, elapsed_s))

"""``codec decode``: tokens to audio."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codec.cli.console import Device, Force, Model, check_output, say, summary, working
from codec.errors import CodecError

if TYPE_CHECKING:
    from torch import Tensor

    from codec import Codec
    from codec.bitstream import TokenFile


def decode(
    source: Annotated[Path, typer.Argument(metavar="IN.svq", help="Token file.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT.wav", help="Audio to write: wav, flac, ogg.")],
    model: Model,
    device: Device = "auto",
    force: Force = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="Of a damaged file, decode what is whole; lost frames become silence.")
    ] = False,
) -> None:
    """Decode a token file (.svq) into audio of the same length."""
    from codec import Codec, bitstream
    from codec import audio as audio_files

    audio_files.output_format(output)
    check_output(output, force)
    recording = bitstream.read_tokens(source)
    if not recording.is_whole and not partial:
        raise CodecError(f"{source}: {recording.damage()}; get it again, or give --partial to decode what is whole")
    if not recording.whole_spans():
        reason = recording.damage() or "the recording has no samples"
        raise CodecError(f"{source}: {reason}; there is no frame to decode, encode the recording again")
    if not recording.is_whole:
        say("warning", f"{source}: {recording.damage()}", "yellow")
    with working(f"loading {model}"):
        codec = Codec.from_pretrained(model, device)
    if recording.header.fingerprint != codec.fingerprint:
        raise CodecError(
            f"{source}: made by model {recording.header.fingerprint}, but {model} is model {codec.fingerprint}; "
            "decode with the model that encoded it"
        )
    started = time.perf_counter()
    with working(f"decoding {source}"):
        waveform = _decode_whole(codec, recording)
    audio_files.write(output, waveform, codec.sample_rate)
    elapsed_s = time.perf_counter() - started
    size = source.stat().st_size
    typer.echo(summary(output, len(waveform) / codec.sample_rate, len(recording.tokens), size, elapsed_s))


def _decode_whole(codec: Codec, recording: TokenFile) -> Tensor:
    """Audio (T,) up to the last whole frame; each run of whole frames is decoded alone, the gaps are zeros."""
    import torch

    hop = codec.hop_length
    spans = recording.whole_spans()
    audio = torch.zeros(spans[-1].stop * hop)
    for span in spans:
        tokens = torch.from_numpy(recording.tokens[span.start : span.stop]).unsqueeze(0)
        audio[span.start * hop : span.stop * hop] = codec.decode(tokens)[0, 0].cpu()
    return audio[: recording.num_samples]

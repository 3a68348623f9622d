"""Decoding a token dataset, or one recording of it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from codec.cli import console
from codec.cli.batch import run_batch
from codec.cli.console import STREAM
from codec.errors import CodecError
from codec.folders import Plan, Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from codec.cli.models import Load
    from codec.tokenstore import TokenDataset, TokenEntry
    from codec.transcoding import Transcoded, Transcoder


def decode_dataset(source: Path, output: Path | None, id_: str | None, load: Load, *, jobs: int, force: bool) -> None:
    """Decode the recording ``id_`` into a file, or all into a folder: ``OUT/ID.wav``, the id percent-encoded.

    Raises:
        CodecError: no such recording, a model that did not make the tokens, or a place that cannot be written.
    """
    from codec import audio
    from codec.naming import member_key
    from codec.tokenstore import TokenDataset

    if output is None:
        raise CodecError(f"{source}: is a token dataset; give a place for its audio with -o")
    if output == STREAM:
        raise CodecError(f"{source}: is a token dataset, its audio goes into files; give another place than - with -o")
    data = TokenDataset(source)
    if id_ is not None:
        entry = data.find(id_)
        audio.output_format(output)
        console.check_output(output, force)
        facts = decode_into_file(_loaded(data, load), entry, output)
        console.report(output, f"{output}: {facts.duration_s:.2f} s, {facts.tokens} tokens")
        return
    if output.exists() and not output.is_dir():
        raise CodecError(f"{output}: is a file; give a folder for the audio of all recordings, or --id for one")
    places = {output / f"{member_key(other)}.wav": place for place, other in enumerate(data.ids())}
    transcoder, reading = _loaded(data, load), threading.Lock()

    def work(_: Path, target: Path) -> Transcoded:
        with reading:
            entry = data[places[target]]
        return decode_into_file(transcoder, entry, target)

    plan = Plan([Task(source, target) for target in places], [])
    run_batch(plan, output, work, transcoder.stop, jobs=jobs, force=force)


def _loaded(data: TokenDataset, load: Load) -> Transcoder:
    transcoder = load(lambda: (str(data.folder), data.model.fingerprint))
    data.check_model(transcoder.codec, transcoder.name)
    return transcoder


def decode_into_file(transcoder: Transcoder, entry: TokenEntry, output: Path) -> Transcoded:
    """Decode one recording into an audio file, which is written at once or not at all."""
    from codec.audio.blocks import writing

    with writing(output, transcoder.codec.sample_rate) as writer:
        return decode_entry(transcoder, entry, writer.write)


def decode_entry(transcoder: Transcoder, entry: TokenEntry, write: Callable[[Tensor], None]) -> Transcoded:
    """Decode one recording; ``write`` gets the audio (T,) piece by piece."""
    from codec.streaming import decode_chunks
    from codec.transcoding import Transcoded

    left = entry.num_samples
    for audio in decode_chunks(transcoder.codec, [entry.tokens], transcoder.windows):
        transcoder.check_stopped()
        write(audio[:left])
        left -= len(audio[:left])
    packed = -(-entry.num_tokens * (transcoder.codec.codebook_size - 1).bit_length() // 8)
    return Transcoded(entry.num_samples / transcoder.codec.sample_rate, entry.num_tokens, packed)

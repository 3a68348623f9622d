"""``codec decode``: tokens to audio."""

from __future__ import annotations

import time
from contextlib import nullcontext
from functools import partial as bind
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codec.cli import console
from codec.cli.console import STREAM, working
from codec.errors import CodecError

if TYPE_CHECKING:
    from codec.cli.models import Load
    from codec.folders import Plan
    from codec.transcoding import Transcoder


def decode(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="IN...", help="Token file (.svq, or text), folder, token dataset, or - for stdin."),
    ],
    model: console.Model = None,
    output: console.Output = None,
    device: console.Device = "auto",
    jobs: console.Jobs = 1,
    batch: console.Batch = 0.0,
    dtype: console.Dtype = "float32",
    compile_: console.Compile = False,
    window: console.Window = None,
    force: console.Force = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="Of a damaged file, decode what is whole; lost frames become silence.")
    ] = False,
    id_: Annotated[
        str | None, typer.Option("--id", help="Of a token dataset, folder or list, the one recording to decode.")
    ] = None,
) -> None:
    """Decode a token file (.svq) of any length into audio of the same length: wav, flac or ogg.

    Without -o, x.svq becomes x.decoded.wav beside it, which is never the recording that was encoded.

    A folder becomes a mirrored one: IN/x/a.wav.svq is decoded into OUT/x/a.wav, and so for flac; all else into wav. A
    token dataset becomes OUT/ID.wav for each of its recordings, or with --id one file. Several .svq files go into the
    folder OUT, named in the same way, or each beside itself.

    What codec tokens prints and .npy arrays are read like .svq files, with --model where they do not name one. Of
    several recordings OUT is a folder: OUT/ID.wav, without ids OUT/1.wav and so on.
    """
    from codec import audio
    from codec.cli.dataset import decode_dataset
    from codec.cli.models import load_transcoder
    from codec.cli.printed import decode_printed
    from codec.files import standard_input
    from codec.folders import DECODED, plan_decoding, plan_decoding_files
    from codec.tokenstore.index import is_token_dataset
    from codec.tokenstore.printed import begins_as_printed, is_printed
    from codec.transcoding import check_tokens

    def refuse(kind: str, *options: tuple[str, object]) -> None:
        for option, given in options:
            if given:
                raise CodecError(f"{source}: {option} is for .svq files, and this is {kind}; leave {option} out")

    load: Load = bind(load_transcoder, model, device, dtype=dtype, compile=compile_, window_s=window)
    source = sources[0]
    many = console.several(sources, output)
    if len(sources) > 1:
        for other in sources:
            if is_token_dataset(other) or (other.is_file() and is_printed(other)):
                raise CodecError(f"{other}: is no .svq file, given beside {len(sources) - 1} others; give it by itself")
    if is_token_dataset(source) or (id_ is not None and source.is_dir()):
        refuse("a token dataset", ("--batch", batch), ("--compile", compile_), ("--partial", partial))
        decode_dataset(source, output, id_, load, jobs=jobs, force=force)
        return
    if source == STREAM:  # what is wrong with the names needs not wait for what a pipe brings
        if output is not None and output != STREAM and output.suffix and not output.is_dir():
            audio.output_format(output)
            console.check_output(output, force)
        if model is not None:
            load = _giving(load(None))
    if begins_as_printed(standard_input()) if source == STREAM else not source.is_dir() and is_printed(source):
        refuse("a list of tokens", ("--batch", batch), ("--partial", partial))
        decode_printed(source, output, id_, load, model_is_named=model is not None, jobs=jobs, force=force)
        return
    if id_ is not None:
        raise CodecError(f"{source}: --id is for token datasets and lists, and this is none; leave --id out")
    # What is wrong with the names, and damage, show before the model is loaded.
    decode_all = bind(_decode_all, load=load, jobs=jobs, batch=batch, force=force, partial=partial)
    if many:
        decode_all(plan_decoding_files(sources, output), output)
        return
    target = console.output_of(source, output, DECODED)
    if source.is_dir():
        decode_all(plan_decoding(source, target), target)
        return
    if target != STREAM:
        audio.output_format(target)
        console.check_output(target, force, source=source)
    if source != STREAM:
        check_tokens(source, partial=partial)
    _decode_one(load, source, target, partial)


def _decode_all(
    plan: Plan, output: Path | None, *, load: Load, jobs: int, batch: float, force: bool, partial: bool
) -> None:
    from codec.cli.batch import Together, run_batch
    from codec.cli.models import maker_of

    transcoder = load(maker_of(plan.tasks))
    together = (
        Together(batch, bind(transcoder.decode_files, partial=partial), transcoder.decoding_durations_s)
        if batch
        else None
    )
    work = bind(transcoder.decode_file, partial=partial)
    run_batch(plan, output, work, transcoder.stop, jobs=jobs, force=force, together=together)


def _giving(transcoder: Transcoder) -> Load:
    return lambda _: transcoder


def _decode_one(load: Load, source: Path, target: Path, partial: bool) -> None:
    from codec.audio.blocks import writing
    from codec.audio.wave_stream import WaveStream
    from codec.bitstream import TokenReader, reading_tokens
    from codec.files import standard_input, standard_output

    with (
        nullcontext(TokenReader(standard_input(), "standard input"))
        if source == STREAM
        else reading_tokens(source) as reader,
    ):
        transcoder = load(lambda: (reader.name, reader.header.fingerprint))
        rate = transcoder.codec.sample_rate
        started = time.perf_counter()
        if target == STREAM:
            with working(f"decoding {source}"), standard_output("redirect it, or give -o OUT.wav") as file:
                stream = WaveStream(file, "standard output", rate, reader.num_samples)
                facts = transcoder.decode(reader, stream.write, partial=partial)
                stream.finish()
        else:
            with working(f"decoding {source}"), writing(target, rate) as writer:
                facts = transcoder.decode(reader, writer.write, partial=partial)
    console.report(target, console.summary(target, *facts, elapsed_s=time.perf_counter() - started))

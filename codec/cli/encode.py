"""``codec encode``: audio to tokens."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial as bind
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codec.cli import console
from codec.cli.console import STREAM, working
from codec.cli.info import begins_as_tokens
from codec.errors import CodecError

if TYPE_CHECKING:
    from codec.folders import Plan
    from codec.transcoding import Transcoder


def encode(
    sources: Annotated[
        list[Path], typer.Argument(metavar="IN...", help="Audio (wav, flac, ogg, mp3), a folder, or - for stdin.")
    ],
    model: console.Model = None,
    output: console.Output = None,
    device: console.Device = "auto",
    jobs: console.Jobs = 1,
    batch: console.Batch = 0.0,
    force: console.Force = False,
    channel: Annotated[
        int | None, typer.Option(min=1, help="Which of several channels is encoded, from 1 on; default: their mean.")
    ] = None,
) -> None:
    """Encode audio of any length into a token file (.svq); channels are down-mixed, other rates resampled.

    Without -o, x.wav becomes x.svq beside it.

    A folder becomes a mirrored one: IN/x/a.wav is encoded into OUT/x/a.wav.svq. Several files go into the folder OUT as
    OUT/a.wav.svq, or each beside itself. Files of this model that are there already are kept.
    """
    from codec import audio
    from codec.bitstream import SUFFIX
    from codec.cli.models import load_transcoder
    from codec.folders import plan_encoding, plan_encoding_files

    load = bind(load_transcoder, model, device, channel=channel)
    # What is wrong with the names shows before the model is loaded.
    if console.several(sources, output):
        for source in sources:
            _refuse_tokens(source)
        _encode_all(plan_encoding_files(sources, output), output, load, jobs=jobs, batch=batch, force=force)
        return
    source = sources[0]
    target = console.output_of(source, output, SUFFIX)
    if source.is_dir():
        _encode_all(plan_encoding(source, target), target, load, jobs=jobs, batch=batch, force=force)
        return
    _refuse_tokens(source)
    if target != STREAM:
        console.check_output(target, force, (SUFFIX,), source=source)
    if source != STREAM:
        audio.info(source)
    _encode_one(load(), source, target)


def _refuse_tokens(source: Path) -> None:
    if source.is_file() and begins_as_tokens(source):
        raise CodecError(f"{source}: holds tokens already; codec decode makes audio of it")


def _encode_all(
    plan: Plan, output: Path | None, load: Callable[[], Transcoder], *, jobs: int, batch: float, force: bool
) -> None:
    from codec.cli.batch import Together, run_batch

    transcoder = load()
    together = Together(batch, transcoder.encode_files, transcoder.encoding_durations_s) if batch else None
    run_batch(
        plan,
        output,
        transcoder.encode_file,
        transcoder.stop,
        jobs=jobs,
        force=force,
        together=together,
        check_kept=transcoder.check_kept,
    )


def _encode_one(transcoder: Transcoder, source: Path, target: Path) -> None:
    from codec.audio.blocks import reading, reading_stdin
    from codec.files import standard_output, writing_bytes

    rate, channel = transcoder.codec.sample_rate, transcoder.channel
    started = time.perf_counter()
    with (
        working(f"encoding {source}"),
        standard_output("redirect it, or give -o OUT.svq") if target == STREAM else writing_bytes(target) as file,
        # Inside: that a pipe has failed may be known at its end only, and nothing is left of the output then.
        reading_stdin(rate, channel) if source == STREAM else reading(source, rate, channel) as reader,
    ):
        facts = transcoder.encode(reader, file)
    console.report(target, console.summary(target, *facts, elapsed_s=time.perf_counter() - started))

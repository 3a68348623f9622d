"""Decoding what ``codec tokens`` prints, and arrays of tokens."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from codec.cli import console
from codec.cli.batch import run_batch
from codec.cli.console import STREAM, working
from codec.cli.dataset import decode_entry, decode_into_file
from codec.errors import CodecError
from codec.folders import DECODED, Plan, Task, decoded_names

if TYPE_CHECKING:
    from codec.cli.models import Load
    from codec.tokenstore import TokenEntry
    from codec.tokenstore.printed import PrintedTokens
    from codec.transcoding import Transcoded, Transcoder


def decode_printed(
    source: Path, output: Path | None, id_: str | None, load: Load, *, model_is_named: bool, jobs: int, force: bool
) -> None:
    """Decode the one recording of a file, or of an id, into a file or a stream; several into a folder, OUT/ID.wav.

    Raises:
        CodecError: nothing to tell the model by, another model or no such recording; several for one file, or two of
            one name. All of it shows before anything is written.
    """
    from codec import audio
    from codec.files import standard_input
    from codec.tokenstore.printed import read_printed

    name = "standard input" if source == STREAM else str(source)
    printed = read_printed(standard_input() if source == STREAM else source, name)
    if id_ is not None:
        printed = printed.chosen(id_)
    several = len(printed.ids) > 1
    # One recording goes into a folder too where OUT is one: scripts need not count.
    if several or (output not in (None, STREAM) and _is_folder(output)):
        targets = _targets(printed, source, output)
    else:
        target = console.output_of(source, output, DECODED)
        if target != STREAM:
            audio.output_format(target)
            console.check_output(target, force, source=source)
        targets = None
    fingerprint = printed.fingerprint
    if fingerprint is None and not model_is_named:
        raise CodecError(f"{name}: does not tell which model made its tokens; name it with --model")
    transcoder = load(None if fingerprint is None else lambda: (name, fingerprint))
    entries = printed.entries(transcoder.codec, transcoder.name)
    if targets is None:
        _decode_one(transcoder, entries[0], source, target)
        return
    assert output is not None
    recordings = dict(zip(targets, entries, strict=True))

    def work(_: Path, target: Path) -> Transcoded:
        return decode_into_file(transcoder, recordings[target], target)

    plan = Plan([Task(source, target) for target in targets], [])
    run_batch(plan, output, work, transcoder.stop, jobs=jobs, force=force)


def _is_folder(output: Path | None) -> bool:
    return output is not None and (output.is_dir() or not output.suffix)


def _targets(printed: PrintedTokens, source: Path, output: Path | None) -> list[Path]:
    """Where each recording goes."""
    from codec.audio.blocks import WRITABLE

    many = f"{printed.name}: holds {len(printed.ids)} recordings"
    if output is None:
        raise CodecError(f"{many}; give a folder for their audio with -o, or --id for one of them")
    if output == STREAM:
        raise CodecError(f"{many}, which go into files; give a folder with -o, or --id for one of them")
    if not output.is_dir() and (output.exists() or output.suffix.lower() in WRITABLE):
        raise CodecError(f"{many}, and {output} is one file; give a folder with -o, or --id for one of them")
    claimed: dict[Path, str] = {}
    for name, recording in zip(decoded_names(printed.ids), printed.recordings, strict=True):
        target = output / name
        if target in claimed:
            raise CodecError(
                f"{recording.where} and {claimed[target]} would both become {target}; give them different ids"
            )
        if source != STREAM and os.path.realpath(target) == os.path.realpath(source):
            raise CodecError(f"{target}: is the file that is read, which stays as it is; give another folder with -o")
        claimed[target] = recording.where
    return list(claimed)


def _decode_one(transcoder: Transcoder, entry: TokenEntry, source: Path, target: Path) -> None:
    from codec.audio.wave_stream import WaveStream
    from codec.files import standard_output

    started = time.perf_counter()
    with working(f"decoding {source}"):
        if target == STREAM:
            with standard_output("redirect it, or give -o OUT.wav") as file:
                stream = WaveStream(file, "standard output", transcoder.codec.sample_rate, entry.num_samples)
                facts = decode_entry(transcoder, entry, stream.write)
                stream.finish()
        else:
            facts = decode_into_file(transcoder, entry, target)
    console.report(target, console.summary(target, *facts, elapsed_s=time.perf_counter() - started))

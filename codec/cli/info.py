"""``codec info``: facts about a token file, a token dataset, a model or an audio file."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Annotated

import typer

from codec import bundled
from codec.cli.console import STREAM, say
from codec.errors import CodecError


def info(
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="PATH",
            help="Token file, list or folder of them or token dataset, model folder, model that ships, or audio file; "
            "- is a .svq on stdin.",
        ),
    ] = None,
) -> None:
    """Print what a token file, a token dataset, a model or an audio file holds; without PATH, which models ship."""
    from codec.pretrained import CONFIG_FILE, INNER
    from codec.tokenstore.index import is_token_dataset
    from codec.tokenstore.printed import is_printed

    if path is None:
        for model in bundled.bundled_models().values():
            typer.echo(f"{model.name}: {model.description}")
    elif path == STREAM:
        _token_file(path)
    elif is_token_dataset(path):
        _dataset(path)
    elif path.is_dir() and not any((path / name / CONFIG_FILE).exists() for name in ("", *INNER)):
        _folder(path)
    elif path.is_dir() or (not path.exists() and str(path) in bundled.bundled_models()):
        _model(path)
    elif is_token_file(path):
        _token_file(path)
    elif is_printed(path):
        _printed(path)
    else:
        _audio(path)


def is_token_file(path: Path) -> bool:
    """Whether a path is a .svq file, by its name or its first bytes.

    Raises:
        CodecError: a pipe, of which these bytes can be read once only.
    """
    from codec.bitstream import SUFFIX
    from codec.files import refuse_pipe

    refuse_pipe(path)
    return path.suffix.lower() == SUFFIX or begins_as_tokens(path)


def begins_as_tokens(path: Path) -> bool:
    """Whether a file has the first bytes of a .svq file, whatever its name."""
    from codec.bitstream import MAGIC

    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False  # reading it as audio gives the reason


def _token_file(path: Path) -> None:
    from codec.bitstream import read_tokens
    from codec.files import standard_input

    if path == STREAM:
        name, content = "standard input", standard_input().read()
        recording = read_tokens(BytesIO(content), name)
    else:
        name, recording = str(path), read_tokens(path)
    size = recording.num_bytes
    header = recording.header
    maker = bundled.find_fingerprint(header.fingerprint)
    facts = {
        "encoder": header.fingerprint + (f" (of {maker.name})" if maker else ""),
        "sample rate": f"{header.sample_rate} Hz",
        "frame rate": f"{header.frame_rate:g} tokens/s (hop {header.hop_length})",
        "codebook": f"{header.codebook_size} codes, {header.bits_per_token} bits a token",
        "tokens": str(len(recording.tokens)),
        "samples": "unknown" if recording.num_samples is None else str(recording.num_samples),
        "bytes": str(size),
    }
    if recording.is_whole and recording.num_samples:
        duration_s = recording.num_samples / header.sample_rate
        facts["duration"] = f"{duration_s:.3f} s"
        facts["rate"] = f"{8 * size / duration_s:.0f} bit/s"
    _print(f"{name}: token file", facts)
    if recording.rest():
        say("warning", f"{name}: {recording.rest()}", "yellow")
    if not recording.is_whole:
        raise CodecError(f"{name}: {recording.damage()}; get it again; codec decode --partial decodes what is whole")


def _printed(path: Path) -> None:
    """What ``codec tokens`` prints, or an array."""
    from codec.tokenstore.printed import read_printed

    printed = read_printed(path, str(path))
    tokens = [recording.tokens for recording in printed.recordings]
    least, largest = min(row.min() for row in tokens), max(row.max() for row in tokens)
    facts = {
        "recordings": str(len(tokens)),
        "tokens": f"{sum(map(len, tokens))}, from {least} to {largest}",
        "encoder": printed.fingerprint or "not told; name it with --model to decode",
    }
    _print(f"{path}: list of tokens", facts)


def _folder(path: Path) -> None:
    """Sums over the token files that ``codec encode`` of a folder makes."""
    from collections import Counter
    from functools import cache

    import torch

    from codec.bitstream import read_tokens
    from codec.folders import token_files_below
    from codec.pretrained import CONFIG_FILE
    from codec.quantizers.usage import CodeUsage

    try:
        files = token_files_below(path)
    except CodecError as error:
        raise CodecError(f"{path}: no model, as it has no {CONFIG_FILE}; {error}") from None
    made_by: Counter[str] = Counter()
    today = cache(bundled.token_fingerprint)  # which reads the index of the models that ship
    usage: CodeUsage | None = None  # of the first encoder's tokens
    tokens, num_bytes, seconds, failed = 0, 0, 0.0, 0
    for file in files:
        try:
            recording = read_tokens(file)
            if not recording.is_whole:
                raise CodecError(f"{file}: {recording.damage()}; get it again")
        except CodecError as error:
            say("error", str(error), "bold red")
            failed += 1
            continue
        header = recording.header
        samples = len(recording.tokens) * header.hop_length if recording.num_samples is None else recording.num_samples
        made_by[today(header.fingerprint)] += 1
        if len(made_by) == 1:
            usage = usage or CodeUsage(header.codebook_size)
            usage.update(torch.from_numpy(recording.tokens))
        tokens += len(recording.tokens)
        num_bytes += recording.num_bytes
        seconds += samples / header.sample_rate
    facts = {
        "files": f"{len(files)}" + (f", of which {failed} cannot be read" if failed else ""),
        "encoder": ", ".join(
            f"{name} ({count})" if len(made_by) > 1 else name for name, count in made_by.most_common()
        ),
        "tokens": str(tokens),
        "bytes": str(num_bytes),
        "duration": f"{seconds / 3600:.2f} h" if seconds >= 3600 else f"{seconds:.2f} s",
    }
    if seconds:
        facts["rate"] = f"{8 * num_bytes / seconds:.0f} bit/s"
    if usage and len(made_by) == 1:
        used = usage.summary()
        facts["codebook"] = f"{usage.codebook_size} codes, {used['codes_used']} used"
        facts["entropy"] = f"{used['entropy_bits']:.2f} bits a token"
    _print(f"{path}: folder of token files", facts)
    if len(made_by) > 1:
        say("warning", f"{path}: of several encoders; no codec decode of the whole folder can work", "yellow")
    if failed:
        raise typer.Exit(2)


def _model(path: Path) -> None:
    from codec import Codec

    codec = Codec.from_pretrained(path, device="cpu")
    facts = {
        "model": codec.fingerprint,
        "encoder": codec.token_fingerprint,  # with the bottleneck, as files of tokens carry it
        "sample rate": f"{codec.sample_rate} Hz",
        "frame rate": f"{codec.frame_rate:g} tokens/s (hop {codec.hop_length})",
        "codebook": f"{codec.codebook_size} codes",
        "rate": f"{codec.bitrate_bps:.0f} bit/s",
        "latent width": str(codec.latent_dim),
        "causal": "yes" if codec.is_causal else "no",
        "parameters": f"{sum(parameter.numel() for parameter in codec.parameters()):,}",
    }
    _print(f"{path}: model", facts)


def _dataset(path: Path) -> None:
    from codec.tokenstore.index import read_index

    folder = path if path.is_dir() else path.parent
    index = read_index(folder)
    failed = f"; {len(index.failed)} left out" if index.failed else ""
    facts = {
        "encoder": f"{index.model.fingerprint} (of {index.model.name})",
        "sample rate": f"{index.model.sample_rate} Hz",
        "frame rate": f"{index.model.frame_rate:g} tokens/s (hop {index.model.hop_length})",
        "codebook": f"{index.model.codebook_size} codes, {index.codes_used} used",
        "entropy": f"{index.entropy_bits:.2f} bits a token",
        "recordings": f"{index.utterances}, {index.hours:.2f} h{failed}",
        "tokens": str(index.tokens),
        "shards": f"{len(index.shards)}, {index.format}",
    }
    _print(f"{folder}: token dataset", facts)


def _audio(path: Path) -> None:
    from codec import audio

    if path.name == str(path) and path.suffix.lower() not in audio.AUDIO_SUFFIXES and not path.exists():
        raise CodecError(
            f"{path}: no such file, and no model that ships has this name; {bundled.suggestion(str(path))}"
        )
    facts = audio.info(path)
    _print(
        f"{path}: audio",
        {
            "sample rate": f"{facts.sample_rate} Hz",
            "channels": str(facts.channels),
            "samples": str(facts.num_samples),
            "duration": f"{facts.duration_s:.3f} s",
        },
    )


def _print(title: str, facts: dict[str, str]) -> None:
    width = max(map(len, facts))
    typer.echo(title)
    for name, value in facts.items():
        typer.echo(f"  {name:{width}}  {value}")

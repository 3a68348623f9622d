"""``codec tokens``: the tokens of audio, of token files and of token datasets, as text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from codec.cli import console
from codec.cli.console import STREAM
from codec.cli.info import is_token_file
from codec.errors import CodecError

if TYPE_CHECKING:
    from codec.tokenstore import TokenDataset, TokenEntry


class Form(StrEnum):
    """How tokens are printed."""

    LINE = "line"
    PLAIN = "plain"
    JSON = "json"


class _Recording(NamedTuple):
    tokens: list[int]
    facts: dict[str, Any]  # ready for JSON


def tokens(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Audio, .svq files or folders of them, datasets or shards, what this printed; - is a .svq on stdin.",
        ),
    ],
    model: console.Model = None,
    device: console.Device = "auto",
    form: Annotated[
        Form,
        typer.Option("--format", help="line: a recording a line; plain: a token a line; json: an object a recording."),
    ] = Form.LINE,
    ids: Annotated[
        list[str] | None,
        typer.Option("--id", metavar="ID", help="Of a dataset or folder, only this recording; again for more."),
    ] = None,
) -> None:
    """Print the tokens of recordings, and nothing else, on stdout; of those that cannot be read, nothing."""
    from codec.tokenstore.index import is_token_dataset
    from codec.tokenstore.printed import is_printed

    for path in files if ids else ():
        if not (is_token_dataset(path) or path.is_dir()):
            raise CodecError(f"{path}: --id names a recording of a token dataset, and this is none; leave --id out")
    encoder, failed = None, None
    loading = False
    for found in files if ids else _without_folders(files):
        try:
            if isinstance(found, CodecError):
                raise found
            path = found
            if ids or is_token_dataset(path):
                recordings = _of_dataset(path, ids)
            elif path == STREAM or is_token_file(path):
                recordings = _of_token_file(path)
            elif is_printed(path):
                recordings = _of_printed(path)
            else:
                loading = True
                encoder = encoder or _AudioEncoder(model, device)
                loading = False
                recordings = encoder.recordings(path)
            for recording in recordings:
                typer.echo(_as_text(recording, form))
        except CodecError as error:  # the others are printed nonetheless
            if loading:  # for all of them
                raise
            if failed is not None:
                console.say("error", str(failed), "bold red")
            failed = error
    if failed is not None:
        raise failed


def _without_folders(paths: list[Path]) -> Iterator[Path | CodecError]:
    """In the place of a folder, as ``codec encode`` makes one, the token files below it, or why there are none."""
    from codec.folders import token_files_below
    from codec.tokenstore.index import is_token_dataset

    for path in paths:
        if path.is_dir() and not is_token_dataset(path):
            try:
                yield from token_files_below(path)
            except CodecError as error:
                yield error
        else:
            yield path


def _as_text(recording: _Recording, form: Form) -> str:
    if form is Form.JSON:
        return json.dumps({**recording.facts, "tokens": recording.tokens}, ensure_ascii=False)
    return ("\n" if form is Form.PLAIN else " ").join(map(str, recording.tokens))


class _AudioEncoder:
    def __init__(self, model: str | None, device: str) -> None:
        from codec.cli.models import load_model

        self._codec, _ = load_model(model, device)
        self._fingerprint = self._codec.token_fingerprint

    def recordings(self, path: Path) -> Iterator[_Recording]:
        from codec.audio.blocks import reading
        from codec.streaming import encode_chunks

        with reading(path, self._codec.sample_rate) as reader:
            found = [token for part in encode_chunks(self._codec, reader.blocks()) for token in part.tolist()]
        facts = {"id": str(path), "num_samples": reader.num_given, "num_tokens": len(found), "model": self._fingerprint}
        yield _Recording(found, facts)


def _of_token_file(path: Path) -> Iterator[_Recording]:
    from codec.bitstream import read_tokens
    from codec.files import standard_input

    name = "standard input" if path == STREAM else str(path)
    recording = read_tokens(standard_input() if path == STREAM else path, name)
    if not recording.is_whole:
        raise CodecError(f"{name}: {recording.damage()}; get it again; codec decode --partial decodes what is whole")
    if recording.rest():
        console.say("warning", f"{name}: {recording.rest()}", "yellow")
    facts = {
        "id": name,
        "num_samples": recording.num_samples,
        "num_tokens": len(recording.tokens),
        "model": recording.header.fingerprint,
    }
    yield _Recording(recording.tokens.tolist(), facts)


def _of_printed(path: Path) -> Iterator[_Recording]:
    from codec.tokenstore.printed import read_printed

    printed = read_printed(path, str(path))
    for id_, recording in zip(printed.ids, printed.recordings, strict=True):
        told = {"num_samples": recording.num_samples, "model": recording.model}
        facts = {
            "id": id_,
            "num_tokens": len(recording.tokens),
            **{name: value for name, value in told.items() if value},
        }
        yield _Recording(recording.tokens.tolist(), facts)


def _of_dataset(path: Path, ids: list[str] | None) -> Iterator[_Recording]:
    from codec.tokenstore import TokenDataset

    data = TokenDataset(path)
    for entry in chosen(data, ids):
        yield _Recording(entry.tokens.tolist(), {**entry.facts(), "model": data.model.fingerprint})


def chosen(data: TokenDataset, ids: list[str] | None) -> Iterator[TokenEntry]:
    """The recordings of these ids, in their order; all without any.

    Raises:
        CodecError: an id that is not there.
    """
    return (data.find(id_) for id_ in ids) if ids else iter(data)

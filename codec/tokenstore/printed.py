"""Tokens as ``codec tokens`` prints them and as arrays of numpy: recordings without a container of their own.

Three forms, told apart by how they begin: JSON lines (an object a recording, with what is known of it), numbers (a
recording a line, or one recording with a token a line), and ``.npy`` arrays of integers.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import torch

from codec import bundled
from codec.config.quantizers import MAX_CODES
from codec.errors import CodecError
from codec.files import next_byte, refuse_pipe
from codec.model import Codec
from codec.tokenstore.entry import TokenEntry

_NPY = b"\x93"  # first byte of numpy's magic
_BOM = b"\xef\xbb\xbf"  # before UTF-8, by programs of Windows
_NUMBER = re.compile(rb"-?[0-9]{1,18}")
_FINGERPRINT = re.compile("[0-9a-f]{16}")
_NAMELESS = re.compile("[\0\ud800-\udfff]")  # what no file's name has
_FORMS = "expected what codec tokens prints (numbers, or JSON lines), or an .npy array of integers"


class _Recording(NamedTuple):
    where: str  # in messages
    tokens: np.ndarray  # (F,) int32, F >= 1
    id: str | None = None
    num_samples: int | None = None  # None: whatever the tokens hold
    model: str | None = None  # fingerprint of its tokens


@dataclass(frozen=True)
class PrintedTokens:
    """The recordings of one file."""

    name: str  # of the file, in messages
    ids: tuple[str, ...]  # the numbers of the recordings, where the file names none
    recordings: tuple[_Recording, ...]
    fingerprint: str | None  # of the tokens of the model that made them; None: the file does not tell

    def chosen(self, id_: str) -> PrintedTokens:
        """The one recording of an id.

        Raises:
            CodecError: there is none, or there are several.
        """
        places = [place for place, other in enumerate(self.ids) if other == id_]
        if len(places) != 1:
            found = f"{len(places)} recordings" if places else "no recording"
            some = ", ".join(self.ids[:3]) + (", ..." if len(self.ids) > 3 else "")
            raise CodecError(f"{self.name}: {found} with the id {id_!r}; expected one of {some}")
        return replace(self, ids=(id_,), recordings=(self.recordings[places[0]],))

    def entries(self, codec: Codec, model: str) -> list[TokenEntry]:
        """All recordings, once it is sure that a model can decode every one.

        Args:
            codec: the model.
            model: what messages call it.

        Raises:
            CodecError: another model made them; a token outside the codebook, or a number of samples that the tokens do
                not have.
        """
        if self.fingerprint is not None and not codec.decodes(self.fingerprint):
            raise CodecError(
                f"{self.name}: made by encoder {self.fingerprint}, but {model} has encoder {codec.token_fingerprint}; "
                "decode with the model that encoded it"
            )
        return [self._entry(*pair, codec) for pair in zip(self.ids, self.recordings, strict=True)]

    def _entry(self, id_: str, recording: _Recording, codec: Codec) -> TokenEntry:
        where, tokens, num_samples = recording.where, recording.tokens, recording.num_samples
        if tokens.max() >= codec.codebook_size:
            raise CodecError(
                f"{where}: tokens from {tokens.min()} to {tokens.max()}: this model's codebook has "
                f"{codec.codebook_size} codes (0 to {codec.codebook_size - 1}); were they made by another model?"
            )
        if num_samples is not None and -(-num_samples // codec.hop_length) != len(tokens):
            raise CodecError(
                f"{where}: num_samples={num_samples} with {len(tokens)} tokens: expected "
                f"{-(-num_samples // codec.hop_length)} of {codec.hop_length} samples each; without num_samples all "
                "that the tokens hold is decoded"
            )
        return TokenEntry(id_, torch.from_numpy(tokens), num_samples or len(tokens) * codec.hop_length)


def is_printed(path: Path) -> bool:
    """Whether a file begins as one of the forms here does.

    Raises:
        CodecError: a pipe, of which this could be read once only.
    """
    refuse_pipe(path)
    try:
        with path.open("rb") as file:
            return begins_as_printed(file)
    except OSError:
        return False  # reading it as a .svq file gives the reason


def begins_as_printed(file: BinaryIO) -> bool:
    """The same of an open file, which is left where it is."""
    byte = next_byte(file)
    return byte != b"" and byte in _NPY + _BOM[:1] + b"{[-0123456789 \t\r\n"


def read_printed(source: Path | BinaryIO, name: str) -> PrintedTokens:
    """Read all recordings of a file.

    Args:
        source: a path, or a binary file open for reading.
        name: of it, in messages.

    Raises:
        CodecError: it cannot be read; it is none of the forms; a recording without tokens, or of several models.
    """
    try:
        if isinstance(source, Path):
            with source.open("rb") as file:
                recordings = _read(file, name)
        else:
            recordings = _read(source, name)
    except OSError as error:
        raise CodecError(f"{name}: cannot be read ({error.strerror}); try again, or copy the file") from None
    told = [(recording.model, recording.where) for recording in recordings if recording.model is not None]
    for model, where in told:
        first, there = told[0]
        if model != first and bundled.token_fingerprint(model) != bundled.token_fingerprint(first):
            raise CodecError(
                f"{where}: made by encoder {model}, but {there} by {first}; give each model's recordings in a file of "
                "their own"
            )
    maker = bundled.token_fingerprint(told[0][0]) if told else None
    width = len(str(len(recordings)))
    ids = tuple(one.id or f"{number:0{width}}" for number, one in enumerate(recordings, 1))
    return PrintedTokens(name, ids, tuple(recordings), maker)


def _read(file: BinaryIO, name: str) -> list[_Recording]:
    if next_byte(file) == _NPY:
        return _of_array(file, name)
    lines = _lines(file, name)
    try:
        begin = next(lines)
    except StopIteration:
        raise CodecError(f"{name}: is empty; {_FORMS}") from None
    if begin[1][:1] in b"{[":
        return [_of_object(*line) for line in chain([begin], lines)]
    # A token a line is one recording, of hours even: nothing but the numbers is kept while there is no other line.
    column = array("q")
    for where, line in chain([begin], lines):
        if _NUMBER.fullmatch(line) is None:
            before = ((f"{name}: line {number}", token) for number, token in enumerate(column, 1))
            alone = [_Recording(place, _in_range(place, [token])) for place, token in before]
            return [*alone, _of_numbers(where, line), *(_of_numbers(*others) for others in lines)]
        column.append(int(line))
    return [_Recording(name, _in_range(name, np.array(column)))]


def _lines(file: BinaryIO, name: str) -> Iterator[tuple[str, bytes]]:
    for number, line in enumerate(file, 1):
        where = f"{name}: line {number}"
        text = (line.removeprefix(_BOM) if number == 1 else line).strip()
        if not text:
            raise CodecError(f"{where}: no tokens; leave the line out")
        yield where, text


def _of_numbers(where: str, line: bytes) -> _Recording:
    words = line.split()
    for word in words:
        if _NUMBER.fullmatch(word) is None:
            raise CodecError(f"{where}: {_shown(word.decode(errors='replace'))} is no token; {_FORMS}")
    return _Recording(where, _checked(where, [int(word) for word in words]))


def _of_object(where: str, line: bytes) -> _Recording:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        raise CodecError(f"{where}: not JSON; expected an object a line, as by codec tokens --format json") from None
    if not isinstance(entry, dict) or "tokens" not in entry:
        raise CodecError(f'{where}: expected an object with "tokens", as codec tokens --format json prints it')
    tokens = _checked(where, entry["tokens"])
    id_, num_samples, model = entry.get("id"), entry.get("num_samples"), entry.get("model")
    if id_ is not None and not (isinstance(id_, str) and id_ and _NAMELESS.search(id_) is None):
        raise CodecError(f"{where}: id={_shown(id_)}: expected a name in quotes, or no id at all")
    if num_samples is not None and not (type(num_samples) is int and num_samples > 0):
        raise CodecError(f"{where}: num_samples={_shown(num_samples)}: expected 1 or more at the codec's rate, or none")
    if entry.get("num_tokens") not in (None, len(tokens)):
        raise CodecError(
            f"{where}: num_tokens={_shown(entry['num_tokens'])}, but {len(tokens)} tokens; get it again, or leave "
            "num_tokens out"
        )
    if model is not None and not (isinstance(model, str) and _FINGERPRINT.fullmatch(model)):
        raise CodecError(f"{where}: model={_shown(model)}: expected a fingerprint of 16 hex digits, or no model at all")
    return _Recording(where, tokens, id_, num_samples, model)


def _of_array(file: BinaryIO, name: str) -> list[_Recording]:
    try:
        array = np.load(BytesIO(file.read()), allow_pickle=False)
    except (ValueError, EOFError, MemoryError, OverflowError, TypeError) as error:  # the last: of headers that lie
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CodecError(f"{name}: no array that can be read ({reason}); write it again by numpy.save") from None
    if array.dtype.kind not in "iu" or array.ndim not in (1, 2):
        raise CodecError(
            f"{name}: an array of shape {array.shape} and type {array.dtype}: expected integers (F,), or (B, F) for B "
            "recordings of F tokens"
        )
    if array.ndim == 1:
        return [_Recording(name, _in_range(name, array))]
    if not len(array):
        raise CodecError(f"{name}: an array of shape {array.shape} has no tokens; give at least one")
    return [
        _Recording(where, _in_range(where, row))
        for where, row in ((f"{name}: row {number}", row) for number, row in enumerate(array, 1))
    ]


def _checked(where: str, tokens: object) -> np.ndarray:
    """A list of whole numbers as (F,) int32."""
    if not isinstance(tokens, list):
        raise CodecError(f"{where}: tokens={_shown(tokens)}: expected a list of whole numbers")
    for token in tokens:
        if type(token) is not int:  # true and false would count as such
            raise CodecError(f"{where}: {_shown(token)} is no token; expected whole numbers")
    return _in_range(where, tokens)


def _in_range(where: str, tokens: Sequence[int] | np.ndarray) -> np.ndarray:
    if not len(tokens):
        raise CodecError(f"{where}: no tokens; give at least one, or leave the recording out")
    ends = (tokens.min(), tokens.max()) if isinstance(tokens, np.ndarray) else (min(tokens), max(tokens))
    low, high = map(int, ends)
    if low < 0 or high >= MAX_CODES:
        raise CodecError(f"{where}: tokens from {_shown(low)} to {_shown(high)}: expected 0 to K - 1 of K codes")
    return np.array(tokens, np.int32)


def _shown(value: object) -> str:
    """A value in a message, however long it is."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."

"""A folder of ``.svq`` files, as ``codec encode`` makes one of a folder of recordings, read as a token dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from codec import bundled
from codec.bitstream import SUFFIX, Header, read_tokens, reading_tokens
from codec.errors import CodecError
from codec.tokenstore.entry import TokenEntry
from codec.tokenstore.formats.base import ShardReader
from codec.tokenstore.index import Model, Shard

AGAIN = "get it again, or delete it and run codec encode again"  # what to do about a damaged file


class TokenFiles(ShardReader):
    """``.svq`` files below a folder, as one shard; the id of ``x/a.wav.svq`` is ``x/a.wav``.

    Opening reads the header of each (some 10,000 a second of a local disk); tokens are read when they are asked for.

    Args:
        folder: that ids are relative to.
        paths: at least one file below it, as :func:`codec.folders.token_files_below` gives them.

    Raises:
        CodecError: a file that cannot be read, or files of several models.
    """

    def __init__(self, folder: Path, paths: Sequence[Path]) -> None:
        self._folder = folder
        self._names: list[str] = []  # paths below the folder, with slashes
        self._makers: set[tuple[str, int, int, int]] = set()  # several where some files are of an earlier version
        first: Header | None = None
        tokens = samples = num_bytes = 0
        for path in paths:
            with reading_tokens(path) as reader:
                header, num_samples = reader.header, reader.num_samples
            if num_samples is None:
                raise CodecError(f"{path}: was cut short, as neither header nor end tells its length; {AGAIN}")
            first = first or header
            if _maker(header) not in self._makers and _maker(_today(header)) != _maker(_today(first)):
                raise CodecError(
                    f"{path}: made by encoder {header.fingerprint}, but {folder / self._names[0]} by "
                    f"{first.fingerprint}; give each model's files a folder of their own (if it is one model, and some "
                    "files are of an earlier version: codec encode --force makes all again)"
                )
            self._makers.add(_maker(header))
            self._names.append(path.relative_to(folder).as_posix())
            tokens += header.frames_of(num_samples)
            samples += num_samples
            num_bytes += path.stat().st_size
        assert first is not None, "there is a file"
        self._ids = [name[: -len(SUFFIX)] for name in self._names]
        if len(set(self._ids)) < len(self._ids):  # a.svq and a.SVQ
            twice = max(self._ids, key=self._ids.count)
            raise CodecError(f"{folder / twice}: two token files have this name up to {SUFFIX}; rename one of them")
        shipped = bundled.find_fingerprint(first.fingerprint)
        self.model = Model(
            shipped.name if shipped else "unnamed",
            first.fingerprint,
            first.codebook_size,
            first.sample_rate,
            first.hop_length,
        )
        self.shards = [Shard("", len(self._names), tokens, samples, num_bytes)]

    def reader(self, number: int) -> TokenFiles:
        """The only shard, which this is itself."""
        return self

    def about_ids(self, id_: str) -> str:
        """What ids are."""
        return f"ids are paths below it without {SUFFIX}, such as {id_!r}"

    def ids(self) -> Sequence[str]:
        """Of all files, in order."""
        return self._ids

    def read(self, row: int) -> TokenEntry:
        """The recording of one file.

        Raises:
            CodecError: a file that is gone, damaged, or another model's by now.
        """
        path = self._folder / self._names[row]
        recording = read_tokens(path)
        if _maker(recording.header) not in self._makers:
            raise CodecError(
                f"{path}: made by encoder {recording.header.fingerprint}, and it was {self.model.fingerprint} when the "
                "folder was opened; open it again"
            )
        if not recording.is_whole or recording.num_samples is None:
            raise CodecError(f"{path}: {recording.damage()}; {AGAIN}")
        return TokenEntry.from_facts(
            {"id": self._ids[row], "num_samples": recording.num_samples, "text": None, "speaker": "", "split": ""},
            recording.tokens,
        )


def _today(header: Header) -> Header:
    """With the fingerprint that this version writes."""
    return replace(header, fingerprint=bundled.token_fingerprint(header.fingerprint))


def _maker(header: Header) -> tuple[str, int, int, int]:
    """What must be one and the same in all files."""
    return header.fingerprint, header.codebook_size, header.sample_rate, header.hop_length

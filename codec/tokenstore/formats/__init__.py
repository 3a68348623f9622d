"""The formats of a shard, one a file, and one contract for all."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from codec.errors import CodecError
from codec.tokenstore.formats import jsonl, npy, parquet, webdataset
from codec.tokenstore.formats.base import Format, ShardReader

__all__ = ["FORMATS", "Format", "ShardReader", "find_format"]

FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "webdataset": webdataset.FORMAT,
        "parquet": parquet.FORMAT,
        "npy": npy.FORMAT,
        "jsonl": jsonl.FORMAT,
    }
)


def find_format(name: str) -> Format:
    """A format by its name.

    Raises:
        CodecError: an unknown name, or a package that it needs is not installed.
    """
    if name not in FORMATS:
        raise CodecError(f"format {name!r} is not known; formats are {', '.join(FORMATS)}")
    FORMATS[name].check()
    return FORMATS[name]

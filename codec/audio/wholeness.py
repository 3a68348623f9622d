"""Whether a file is whole, where libsndfile does not tell: damage is refused, other things are warned of."""

from __future__ import annotations

from typing import BinaryIO

from codec.audio import ogg_pages
from codec.errors import CodecError


def check_whole(file: BinaryIO, name: str) -> None:
    """Look through an audio file, which costs little beside decoding it; its position is kept.

    Raises:
        CodecError: a page of an Ogg file is damaged or missing.
    """
    place = file.tell()
    file.seek(0)
    magic = file.read(4)
    if magic == ogg_pages.MAGIC:
        pages = ogg_pages.examine(file)
        if pages.damage:
            raise CodecError(f"{name}: {pages.damage}; the file is damaged, get it again")
    file.seek(place)

"""Whether a file is whole, where libsndfile does not tell: damage is refused, other things are warned of."""

from __future__ import annotations

import logging
from typing import BinaryIO

from codec.audio import ogg_pages
from codec.audio.chunk_headers import missing_bytes
from codec.errors import CodecError

logger = logging.getLogger(__name__)


def check_whole(file: BinaryIO, name: str) -> None:
    """Look through an audio file, which costs little beside decoding it; its position is kept.

    A file that was cut short is warned of: what is there can be read.

    Raises:
        CodecError: a page of an Ogg file is damaged or missing.
    """
    place = file.tell()
    file.seek(0)
    if file.read(4) == ogg_pages.MAGIC:
        pages = ogg_pages.examine(file)
        if pages.damage:
            raise CodecError(f"{name}: {pages.damage}; the file is damaged, get it again")
        if not pages.complete:
            logger.warning("%s: was cut short, its last page is missing; get it again", name)
    elif missing := missing_bytes(file):
        logger.warning("%s: was cut short, its header promises %d bytes more; get it again", name, missing)
    file.seek(place)

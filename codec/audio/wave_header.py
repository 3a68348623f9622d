"""What a wave file's header promises: libsndfile takes a file that was cut short for a whole one."""

from __future__ import annotations

import logging
import os
from pathlib import Path

logger = logging.getLogger(__name__)

_OPEN = (1 << 31) - (1 << 16)  # from here on a length stands for "not known": sox writes about 2^31, ffmpeg 2^32 - 1


def missing_bytes(path: Path) -> int:
    """Bytes of samples that a RIFF header promises and the file lacks; 0 where it leaves the length open.

    Of files that are no RIFF wave 0 too: the decoders of other formats notice by themselves.
    """
    promised, there = _sample_bytes(path)
    return max(0, promised - there) if promised < _OPEN else 0


def unclaimed_bytes(path: Path) -> int:
    """Bytes behind a RIFF header that promises no sample at all, as recorders leave it that were cut off."""
    promised, there = _sample_bytes(path)
    return there if promised == 0 else 0


def _sample_bytes(path: Path) -> tuple[int, int]:
    """What the header of a RIFF wave promises, and what follows it; (0, 0) for anything else."""
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return 0, 0
        size = os.fstat(file.fileno()).st_size
        while len(chunk := file.read(8)) == 8:
            length = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data":
                return length, size - file.tell()
            file.seek(length + length % 2, os.SEEK_CUR)
    return 0, 0


def warn_if_cut_short(path: Path) -> None:
    """Log a warning for a wave file that lacks samples; what is there is read."""
    if missing := missing_bytes(path):
        logger.warning("%s: was cut short, its header promises %d bytes more; get it again", path, missing)

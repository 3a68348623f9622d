"""Files of ``torch.save`` that others made: tensors and plain values are read, all else is refused in one line."""

from __future__ import annotations

import pickle
import re
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch

from codec.errors import CodecError

_BEGINNINGS = (b"PK\x03\x04", b"\x80")  # an archive, or a pickle of protocol 2 or later, as torch wrote it before 1.6
# What reading stumbles over where the bytes behind that are others: instructions without operands, numbers beyond all
# sizes, names that are no text.
_DAMAGE = (
    *(LookupError, ValueError, TypeError, AttributeError, AssertionError, ArithmeticError),
    *(EOFError, OSError, RuntimeError, MemoryError, struct.error, zipfile.BadZipFile),
)


def read_torch_file(path: Path, advice: str) -> Any:
    """What the file holds, on the CPU; nothing in it can run code.

    Args:
        path: of the file.
        advice: what to do where it is none; errors end in it.

    Raises:
        CodecError: missing, not such a file, truncated, or holding other objects.
    """
    try:
        with path.open("rb") as file:
            beginning = file.read(4)
    except OSError as error:
        raise CodecError(f"{path}: cannot be read ({error.strerror}); {advice}") from None
    if not beginning.startswith(_BEGINNINGS):
        raise CodecError(f"{path}: not a PyTorch checkpoint; {advice}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL\s+(\S+)", str(error))
        if refused:
            raise CodecError(
                f"{path}: holds more than tensors ({refused.group(1)}); it is not loaded, because that could run code"
            ) from None
        raise CodecError(f"{path}: not a PyTorch checkpoint, or damaged; {advice}") from None
    except _DAMAGE:
        raise CodecError(f"{path}: not a PyTorch checkpoint, or truncated; {advice}") from None

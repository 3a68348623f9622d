"""Whether a checkpoint is what was written: a list of its files, with sizes and CRC-32, is written last.

Without it damage shows late or never: Accelerate goes on with other random numbers where it cannot read the old ones.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open

from codec.errors import CodecError
from codec.files import make_durable, read_json

LIST = "files.json"
# What every training state has; of those without a list, which were written before there was one.
NEEDED = ("model.safetensors", "optimizer.bin", "custom_checkpoint_0.pkl", "random_states_0.pkl")
_BLOCK = 1 << 22  # bytes read at once


class Damage(NamedTuple):
    """What is wrong with a checkpoint."""

    file: Path
    reason: str


def seal(folder: Path) -> None:
    """List the files of a folder in it, and have all of it on the disk, not only in the system's memory."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    entries = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "crc32": _crc(path)} for path in files
    }
    (folder / LIST).write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    for path in (*files, folder / LIST, *(path for path in folder.rglob("*") if path.is_dir()), folder):
        make_durable(path)


def find_damage(folder: Path) -> Damage | None:
    """The first file of a checkpoint that is missing or not as it was written; None where all are whole."""
    if not (folder / LIST).exists():
        return _find_unreadable(folder)
    try:
        entries = read_json(folder / LIST, "")
        expected = {folder / name: (int(entry["bytes"]), int(entry["crc32"])) for name, entry in entries.items()}
    except (CodecError, TypeError, KeyError, ValueError):
        return Damage(folder / LIST, "not the list of files that was written")
    for path, (size, crc) in expected.items():
        try:
            found = path.stat().st_size
            if found != size:
                return Damage(path, f"{found} bytes of {size}")
            if _crc(path) != crc:
                return Damage(path, "other content than was written")
        except OSError as error:
            return Damage(path, _reason(error))
    return None


def _find_unreadable(folder: Path) -> Damage | None:
    """The same where there is no list: files that are not there, or that were cut off."""
    for path in sorted({*(folder / name for name in NEEDED), *(path for path in folder.iterdir() if path.is_file())}):
        try:
            if path.suffix == ".safetensors":
                with safe_open(path, framework="pt"):
                    continue
            with path.open("rb") as file:  # is_zipfile(path) would call a missing one no archive
                if not zipfile.is_zipfile(file):  # as torch.save writes, with its table of contents at the end
                    return Damage(path, "cut off")
        except OSError as error:
            return Damage(path, _reason(error))
        except SafetensorError:
            return Damage(path, "cut off")
    return None


def _crc(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            crc = zlib.crc32(block, crc)
    return crc


def _reason(error: OSError) -> str:
    return "missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"

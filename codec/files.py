"""Writing so that nothing is ever half-written, and reading back what was written."""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

from codec.errors import CodecError

LONGEST_NAME = 255  # bytes of a file's name, on all common file systems


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` when the block ends well, remove it otherwise.

    Folders that are not there are made, and taken away again when nothing is written. The temporary name keeps the
    suffix, because writers choose the format by it.

    Raises:
        CodecError: the folder cannot be made or written to, ``path`` is a folder, or its name is too long.
    """
    path = Path(path)
    if (length := len(os.fsencode(path.name))) > LONGEST_NAME:
        raise CodecError(f"{path}: a name of {length} bytes, file systems take {LONGEST_NAME}; give a shorter one")
    if path.is_dir():
        raise CodecError(f"{path}: is a folder; give the name of a file to write")
    temporary = path.with_name(_temporary_name(path.name))
    try:
        made = [folder for folder in path.parents if not folder.exists()]  # from the inside out
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.touch()
        except FileNotFoundError:  # another thread, whose writing failed, has just taken the empty folder away
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.touch()
    except OSError as error:
        raise CodecError(f"{path}: cannot write there ({error.strerror}); choose a writable folder") from None
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise CodecError(f"{path}: writing failed ({error.strerror}); nothing was written") from None
    finally:
        temporary.unlink(missing_ok=True)
        if not path.exists():
            for folder in made:
                with suppress(OSError):  # it has got other files meanwhile
                    folder.rmdir()


def _temporary_name(name: str) -> str:
    """``.STEM.PID.part.SUFFIX``; of a stem that leaves no room for the rest, its begin and a checksum."""
    stem, suffix = Path(name).stem, Path(name).suffix
    end = f".{os.getpid()}.part{suffix}"
    room = LONGEST_NAME - len(os.fsencode(f".{end}"))
    if len(os.fsencode(stem)) > room:
        checksum = f"~{zlib.crc32(os.fsencode(name)):08x}"  # names may differ in their ends alone
        stem = os.fsencode(stem)[: max(0, room - len(checksum))].decode(errors="ignore") + checksum
    return f".{stem}{end}"


@contextmanager
def writing_bytes(path: str | Path) -> Iterator[BinaryIO]:
    """Yield a binary file that becomes ``path`` when the block ends well."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        yield file


def write_text(path: str | Path, text: str) -> None:
    """Write a whole text file at once or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def make_durable(path: str | Path) -> None:
    """Have a file, or the names in a folder, on the disk before this returns; a power cut then leaves them whole.

    It waits for the disk, so it is for what could not be had again at once.
    """
    path = Path(path)
    folder = path.is_dir()
    try:
        descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if not (folder and error.errno in (errno.EINVAL, errno.EACCES)):  # systems that cannot do it with folders
            raise


def read_json(path: str | Path, advice: str) -> dict[str, Any]:
    """Read a file of one JSON object.

    Args:
        path: the file.
        advice: what to do where it cannot be had; errors end in it.

    Raises:
        CodecError: it cannot be read, or is something else.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise CodecError(f"{path}: cannot be read ({error.strerror}); {advice}") from None
    except ValueError:
        raise CodecError(f"{path}: not JSON; {advice}") from None
    if not isinstance(content, dict):
        raise CodecError(f"{path}: not a JSON object; {advice}")
    return content


def remove_files(paths: Iterable[Path]) -> None:
    """Remove files; what is not there need not be removed.

    Raises:
        CodecError: one that cannot be removed.
    """
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise CodecError(f"{path}: cannot be removed ({error.strerror}); choose another folder") from None


def refuse_pipe(path: Path) -> None:
    """Refuse a name that can be read once only, before anything is taken from it.

    Raises:
        CodecError: a named pipe, or a shell's ``<(...)``.
    """
    try:
        piped = stat.S_ISFIFO(path.stat().st_mode)
    except OSError:  # opening it gives the reason
        return
    if piped:
        raise CodecError(
            f"{path}: is a pipe, and a file is needed; save it first, or where - is taken redirect it: - < {path}"
        )


def next_byte(file: BinaryIO) -> bytes:
    """The next byte of an open file, which stays there to be read; nothing at its end. From a pipe it waits for one."""
    if isinstance(file, BufferedReader):
        return file.peek(1)[:1]
    here = file.tell()
    byte = file.read(1)
    file.seek(here)
    return byte


def standard_input() -> BinaryIO:
    """Standard input for bytes.

    Raises:
        CodecError: it is a terminal, or closed.
    """
    if sys.stdin is None or sys.stdin.isatty():
        state = "closed" if sys.stdin is None else "a terminal"
        raise CodecError(f"standard input is {state}; redirect a file (< IN) or pipe a program's output to it")
    return sys.stdin.buffer


@contextmanager
def standard_output(hint: str) -> Iterator[BinaryIO]:
    """Standard output for bytes; what it takes is gone, whole or not.

    Raises:
        CodecError: it is a terminal or closed (``hint`` says what to do then), or what is behind it takes no more.
    """
    if sys.stdout is None or sys.stdout.isatty():
        raise CodecError(f"standard output is {'closed' if sys.stdout is None else 'a terminal'}; {hint}")
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise  # the reader has what it wanted
    except OSError as error:
        raise CodecError(f"standard output: writing failed ({error.strerror}); what was sent is not whole") from None

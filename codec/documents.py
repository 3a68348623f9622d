"""Documents that hold what a command measured, between two marks that say which command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from codec.errors import CodecError
from codec.files import write_text


@dataclass(frozen=True)
class Place:
    """Where a command's output stands in a Markdown document; found by :func:`find_place`."""

    document: Path
    before: str  # up to the first mark, with it
    after: str  # from the second mark on, with it

    def fill(self, text: str) -> None:
        """Write the document again, with ``text`` in place of what was there."""
        write_text(self.document, f"{self.before}\n\n{text.rstrip()}\n\n{self.after}")


def find_place(document: Path, marks: tuple[str, str]) -> Place:
    """The place between two lines of a document. Found before anything is measured, it spares a run in vain.

    Raises:
        CodecError: the document cannot be read or has no such place.
    """
    try:
        text = document.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CodecError(f"{document}: cannot be read ({error}); give a document") from None
    before, begin, rest = text.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not (begin and end):
        raise CodecError(f"{document}: has no place for this; put the lines {marks[0]} and {marks[1]} there")
    return Place(document, before + begin, end + after)

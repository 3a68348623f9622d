from __future__ import annotations

from pathlib import Path

import pytest

from codec.documents import find_place
from codec.errors import CodecError

MARKS = ("<!-- table: make it -->", "<!-- end -->")


def test_what_stands_around_the_place_stays_and_filling_twice_is_filling_once(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"Before.\n{MARKS[0]}\nold\n{MARKS[1]}\nAfter.\n", encoding="utf-8")
    find_place(page, MARKS).fill("new\n")
    once = page.read_text(encoding="utf-8")
    assert once == f"Before.\n{MARKS[0]}\n\nnew\n\n{MARKS[1]}\nAfter.\n"
    find_place(page, MARKS).fill("new")
    assert page.read_text(encoding="utf-8") == once


@pytest.mark.parametrize("text", ["no marks", f"{MARKS[0]} only", f"{MARKS[1]} before {MARKS[0]}"])
def test_a_document_without_the_place_is_refused_and_stays(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    with pytest.raises(CodecError, match="has no place"):
        find_place(page, MARKS)
    assert page.read_text(encoding="utf-8") == text


def test_a_document_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CodecError, match="cannot be read"):
        find_place(tmp_path / "none.md", MARKS)
    (tmp_path / "bytes.md").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CodecError, match="cannot be read"):
        find_place(tmp_path / "bytes.md", MARKS)

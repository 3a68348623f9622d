"""Writing beside a place and renaming, whatever the name."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from codec import CodecError
from codec.files import LONGEST_NAME, replacing, write_text


@pytest.mark.parametrize("letter", ["a", "ä", "語"])
def test_names_may_be_as_long_as_the_file_system_takes(tmp_path: Path, letter: str) -> None:
    stem = letter * ((LONGEST_NAME - 5) // len(letter.encode()))
    paths = [tmp_path / f"{stem}{end}.txt" for end in "bc"]  # alike but for their ends
    with ExitStack() as stack:
        temporary = [stack.enter_context(replacing(path)) for path in paths]
        assert len({*temporary}) == 2
        for path, target in zip(temporary, paths, strict=True):
            assert path.suffix == ".txt" and path.name.startswith(".") and ".part" in path.name
            path.write_text(target.name)
    assert [path.read_text() for path in paths] == [path.name for path in paths]
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_names_that_are_too_long_are_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(CodecError, match="a name of 304 bytes, file systems take 255; give a shorter one"):
        write_text(tmp_path / f"{'a' * 300}.txt", "text")
    assert not list(tmp_path.iterdir())

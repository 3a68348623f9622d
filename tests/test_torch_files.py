"""Whatever a file is, reading it as PyTorch's ends in its content or in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codec import CodecError
from codec.torch_files import read_torch_file


def test_archives_and_older_files_are_read(tmp_path: Path) -> None:
    for archive in (True, False):
        torch.save({"a": torch.arange(3)}, tmp_path / "x.pt", _use_new_zipfile_serialization=archive)
        assert torch.equal(read_torch_file(tmp_path / "x.pt", "")["a"], torch.arange(3))


OLDER = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how torch.save began before its archives


@settings(max_examples=400, deadline=None)
@given(
    content=st.binary(max_size=40).map(b"\x80\x02".__add__)
    | st.binary(max_size=60).map(OLDER.__add__)
    | st.binary(max_size=40).map(b"PK\x03\x04".__add__)
)
def test_what_only_begins_like_one_is_refused(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "x.pt"
    path.write_bytes(content)
    with pytest.raises(CodecError, match=r"x\.pt: (not a PyTorch checkpoint.*; get it|holds more than tensors)"):
        read_torch_file(path, "get it")


def test_older_files_cut_off_anywhere_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.arange(300)}, tmp_path / "whole.pt", _use_new_zipfile_serialization=False)
    data = (tmp_path / "whole.pt").read_bytes()
    assert data.startswith(OLDER)
    for length in range(0, len(data) - 1, 7):
        (tmp_path / "x.pt").write_bytes(data[:length])
        with pytest.raises(CodecError, match=r"not a PyTorch checkpoint.*; get it|holds more than tensors"):
            read_torch_file(tmp_path / "x.pt", "get it")


def test_a_folder_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(CodecError, match=r"cannot be read .*; get it"):
            read_torch_file(path, "get it")

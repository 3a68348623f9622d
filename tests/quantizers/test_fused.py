"""The fused search of GPUs: its cases run on a GPU where one is, else in Triton's interpreter, in their own process.

Triton decides when it is imported whether kernels are compiled or interpreted, and other tests import it.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from codec.quantizers.search import CodeSearch, LinearCodes, fused, nearest_codes


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
def test_the_fused_search_is_exact() -> None:
    environment = dict(os.environ)
    if not torch.cuda.is_available():
        environment["TRITON_INTERPRET"] = "1"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "interpreted_fused.py"]
    done = subprocess.run(command, cwd=Path(__file__).parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_triton_the_search_stays_plain_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fused, "find_spec", lambda name: None)
    fused.unavailable.cache_clear()
    codes = LinearCodes(torch.randn(50, 4, generator=torch.Generator().manual_seed(1)))
    queries = codes.table[:9] + 0.01
    search = CodeSearch(screened=(), fused=("cpu",))
    with caplog.at_level(logging.DEBUG, logger="codec.quantizers.search.fused"):
        for _ in range(2):
            tokens = search.nearest(queries, codes, keep=True, frozen=True)
    assert torch.equal(tokens, nearest_codes(queries, [(codes.table, codes.table.square().sum(dim=1) / 2)]))
    assert [record.getMessage() for record in caplog.records] == [
        "cpu searches plainly in float32: Triton is not installed"
    ]
    fused.unavailable.cache_clear()


@pytest.mark.parametrize("processors", [1, 78, 132])
def test_programs_fill_whole_rounds(processors: int) -> None:
    for blocks in (1, 6, 36, 132, 300):
        for code_tiles in (1, 16, 17, 1024):
            each = fused._tiles_each(blocks, code_tiles, processors)
            split = -(-code_tiles // each)  # programs for one block of queries
            lasts = -(-blocks * split // processors) * each
            for other in range(1, max(1, min(code_tiles, 4 * processors // blocks)) + 1):
                longer = -(-code_tiles // other)
                assert lasts <= -(-blocks * -(-code_tiles // longer) // processors) * longer
            assert split <= max(1, 4 * processors // blocks)
    if processors == 132:  # an H200 with 4,500 latents and 262,144 codes: 396 programs in three rounds
        assert fused._tiles_each(36, 1024, 132) == 94


def test_a_processor_is_none_of_its_devices() -> None:
    fused.unavailable.cache_clear()
    assert fused.unavailable(torch.device("cpu"))
    fused.unavailable.cache_clear()

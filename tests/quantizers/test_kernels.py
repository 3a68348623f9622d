"""The kernels of the fused search compile for the GPUs they are meant for, whatever machine the tests run on."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
SHARED = {80: 166_912, 90: 232_448, 100: 232_448}  # bytes that a block may have, by the vendor


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """benchmarks/kernels.py, which compiles into a cache of its own."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import kernels

    yield kernels
    del sys.modules["kernels"]


@pytest.mark.parametrize("capability", [80, 90, 100])
def test_the_kernels_fit_and_use_the_matrix_units(report: ModuleType, capability: int) -> None:
    best = {80: "mma.sync", 90: "wgmma.mma_async", 100: "tcgen05.mma"}[capability]
    compiled = report.compile_all(capability, width=512)
    assert {one.kernel for one in compiled} == {"group_minima", "list_candidates", "decide"}
    for one in compiled:
        assert one.spilled_bytes == 0
        assert 16 <= one.registers <= 255
        if one.tiles is None:
            assert one.product is None
            continue
        # The search takes the first tiles whose promise fits into the GPU.
        assert one.shared_bytes <= one.tiles.shared_bytes
        assert one.product == (best if one.tiles.queries >= 64 else "mma.sync")
    assert compiled[0].shared_bytes <= SHARED[capability]


def test_what_does_not_fit_shows(report: ModuleType) -> None:
    """The counts are those of the compiler, not of hope."""
    from codec.quantizers.search.fused import Tiles

    crowded, roomy = (
        report.compile_all(90, 64, (Tiles(128, codes, 64, warps, 2),))[0] for codes, warps in ((256, 4), (128, 8))
    )
    assert crowded.spilled_bytes > 0 or crowded.registers > roomy.registers + 64
    assert crowded.shared_bytes > roomy.shared_bytes

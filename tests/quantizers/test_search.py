"""The screened search gives the answer of a plain search in float64, whatever the codes look like."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.quantizers.search import (
    CodeSearch,
    IntegerScreen,
    LinearCodes,
    Screen,
    TableSizes,
    half_squared_norms,
    nearest_codes,
    nearest_linear_codes,
)
from codec.quantizers.search import floats as floats_module
from codec.quantizers.search.decision import TIE
from codec.quantizers.search.integer_screen import WIDER
from codec.quantizers.search.product import packed, product
from codec.quantizers.search.screen import BLOCK, parts, spectral_bound

DTYPES = [torch.bfloat16, torch.float32]


def plain(queries: torch.Tensor, codes: LinearCodes) -> torch.Tensor:
    """Every distance in float64; the lowest index of those that tie."""
    centered = queries.double() - codes.center
    distances = (centered[:, None] - codes.centered(slice(None))[None]).square().sum(-1)  # (N, K)
    least = distances.amin(dim=1, keepdim=True)
    return (distances <= least + TIE * (least + centered.square().sum(dim=1, keepdim=True))).int().argmax(dim=1)


def answers(queries: torch.Tensor, codes: LinearCodes, dtype: torch.dtype, chunk: int) -> dict[str, torch.Tensor]:
    """By every kind of screen."""
    sizes = TableSizes.of(codes.table, dtype)
    screens: dict[str, Screen | IntegerScreen] = {
        "kept": Screen.of(codes, dtype, chunk),
        "passing": Screen.passing(codes, dtype, sizes, chunk),
        "integers": IntegerScreen.of(codes, chunk // WIDER),
    }
    if codes.weight is not None:
        screens["few directions"] = Screen.of(codes, dtype, chunk, dims=max(1, codes.table.shape[1] // 3))
    return {name: nearest_linear_codes(queries, codes, screen) for name, screen in screens.items()}


def table_of(kind: str, size: int, dim: int, generator: torch.Generator) -> torch.Tensor:
    table = torch.randn(size, dim, generator=generator)
    if kind == "clustered":  # far closer than bfloat16 can tell apart
        centres = torch.randn(3, dim, generator=generator)
        table = centres[torch.randint(3, (size,), generator=generator)] + 1e-4 * table
    elif kind == "duplicated":
        table = table[torch.randint(max(1, size // 5), (size,), generator=generator)]
    elif kind == "equal":
        table = table[:1].expand(size, dim).clone()
    elif kind == "lattice":  # many exact ties between different codes
        table = table.round()
    elif kind == "uneven":  # norms over six orders of magnitude
        table = table * 10 ** torch.linspace(-3, 3, size).unsqueeze(1)
    return table


def weight_of(kind: str, dim: int, generator: torch.Generator) -> torch.Tensor | None:
    weight = torch.randn(dim, dim, generator=generator) / dim**0.5
    match kind:
        case "none":
            return None
        case "zero":
            return torch.zeros(dim, dim)
        case "low rank":
            return weight[:, :2] @ weight[:2]
        case _:
            return weight


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["random", "clustered", "duplicated", "equal", "lattice", "uneven"]),
    weight=st.sampled_from(["none", "full", "low rank", "zero"]),
    size=st.sampled_from([1, 2, 63, 64, 65, 333]),
    dim=st.sampled_from([1, 5, 33]),
    count=st.sampled_from([1, 17]),
    near=st.sampled_from(["codes", "random", "far", "midway"]),
    offset=st.sampled_from([0.0, 1.0, 1000.0]),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 1000),
)
def test_the_answer_is_that_of_plain_float64(
    kind: str,
    weight: str,
    size: int,
    dim: int,
    count: int,
    near: str,
    offset: float,
    scale: float,
    dtype: torch.dtype,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    table = scale * table_of(kind, size, dim, generator)
    mixed = weight_of(weight, dim, generator)
    bias = None if mixed is None else scale * offset * torch.randn(dim, generator=generator)
    codes = LinearCodes(table, mixed, bias)
    noise = scale * torch.randn(count, dim, generator=generator)
    one, other = (codes.centered(torch.randint(size, (count,), generator=generator)) for _ in range(2))
    centered = {
        "codes": one + 1e-3 * noise,
        "random": noise,
        "far": 100 * noise,
        "midway": (one + other) / 2,
    }[near]
    queries = (centered + codes.center).float()
    expected = plain(queries, codes)
    for name, tokens in answers(queries, codes, dtype, chunk=128).items():
        assert torch.equal(tokens, expected), name


@pytest.mark.parametrize("dtype", DTYPES)
def test_many_codes_and_queries_in_several_chunks(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    codes = LinearCodes(
        torch.randn(1300, 30, generator=generator),
        torch.randn(30, 30, generator=generator) / 5,
        torch.randn(30, generator=generator),
    )
    queries = torch.randn(2100, 30, generator=generator) + codes.bias
    expected = torch.cat([plain(part, codes) for part in queries.split(100)])
    for name, tokens in answers(queries, codes, dtype, chunk=512).items():
        assert torch.equal(tokens, expected), name


def test_float32_agrees_where_float32_can_tell() -> None:
    """Where plain float32 gives another token, the two codes are equally far to within what float32 loses."""
    generator = torch.Generator().manual_seed(2)
    codes = LinearCodes(torch.randn(4096, 64, generator=generator))
    queries = torch.randn(4000, 64, generator=generator)
    ours = nearest_linear_codes(queries, codes, Screen.of(codes, torch.bfloat16))
    theirs = nearest_codes(queries, [(codes.table, half_squared_norms(codes.table))])
    differ = (ours != theirs).nonzero().flatten()
    assert len(differ) < 5
    for query in differ:
        far = (queries[query].double() - codes.table[[ours[query], theirs[query]]].double()).square().sum(dim=1)
        assert (far[1] - far[0]).abs() <= 64 * 2**-22 * far[0]


def test_tokens_do_not_depend_on_batch_or_chunk() -> None:
    generator = torch.Generator().manual_seed(3)
    codes = LinearCodes(torch.randn(700, 16, generator=generator), torch.randn(16, 16, generator=generator))
    queries = 4 * torch.randn(40, 16, generator=generator)
    whole = nearest_linear_codes(queries, codes, Screen.of(codes, torch.bfloat16))
    small = Screen.of(codes, torch.bfloat16, chunk=1)
    assert len(list(small.chunks)) == -(-700 // BLOCK)
    alone = [nearest_linear_codes(query.unsqueeze(0), codes, small) for query in queries]
    assert torch.equal(torch.cat(alone), whole)


@pytest.mark.parametrize("kind", ["kept", "few directions", "passing"])
def test_a_screen_is_nowhere_further_off_than_it_says(kind: str) -> None:
    generator = torch.Generator().manual_seed(4)
    weight = torch.randn(40, 40, generator=generator) * torch.logspace(0, -3, 40)
    codes = LinearCodes(torch.randn(300, 40, generator=generator), weight, torch.randn(40, generator=generator))
    sizes = TableSizes.of(codes.table, torch.bfloat16)
    screen = {
        "kept": lambda: Screen.of(codes, torch.bfloat16, 128, dims=40),
        "few directions": lambda: Screen.of(codes, torch.bfloat16, 128, dims=20),
        "passing": lambda: Screen.passing(codes, torch.bfloat16, sizes, 128),
    }[kind]()
    within = codes.centered(slice(None)) @ (torch.eye(40).double() if screen.basis is None else screen.basis)
    left = (codes.centered(slice(None)).square().sum(1) - within.square().sum(1)).clamp(min=0).sqrt()
    for chunk, true, tail in zip(screen.chunks, within.split(128), left.split(128), strict=True):
        rows = chunk.rows[: len(true)].double()
        off = (rows[:, : screen.dims] - true).norm(dim=1).max()
        assert off <= chunk.error <= 30 * off  # and not so far that it rules nothing out
        assert rows[:, : screen.dims].norm(dim=1).max() <= chunk.reach
        assert tail.max() <= chunk.tail + 1e-9
        half = rows[:, : screen.dims].square().sum(dim=1) / 2 + tail.square() / 2
        torch.testing.assert_close(rows[:, screen.dims : screen.dims + 3].sum(dim=1), half, rtol=1e-5, atol=1e-6)


def test_the_bounds_are_what_makes_the_answer_right() -> None:
    """A screen that says it is exact rules out some nearest codes."""
    generator = torch.Generator().manual_seed(5)
    codes = LinearCodes(torch.randn(4096, 64, generator=generator))
    queries = torch.randn(500, 64, generator=generator)
    screen = Screen.of(codes, torch.bfloat16)
    careless = [chunk._replace(error=0 * chunk.error, reach=0 * chunk.reach) for chunk in screen.chunks]
    right = nearest_linear_codes(queries, codes, screen)
    wrong = nearest_linear_codes(queries, codes, Screen(screen.dtype, screen.dims, None, careless))
    assert 0 < (wrong != right).sum() < 100


def test_a_crowd_is_left_to_float64_and_a_screen_too_narrow_to_a_wider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(floats_module, "CROWD", 3)
    generator = torch.Generator().manual_seed(6)
    weight = torch.randn(32, 2, generator=generator) @ torch.randn(2, 32, generator=generator)
    weight = weight + 0.3 * torch.randn(32, 32, generator=generator)
    codes = LinearCodes(torch.randn(3000, 32, generator=generator), weight, torch.zeros(32))
    queries = 3 * torch.randn(20, 32, generator=generator)
    narrow = Screen.of(codes, torch.bfloat16, 512, dims=4)
    made: list[Screen] = []

    def wider() -> Screen:
        made.append(Screen.of(codes, torch.bfloat16, 512, dims=32))
        return made[0]

    assert torch.equal(nearest_linear_codes(queries, codes, narrow), plain(queries, codes))
    assert torch.equal(nearest_linear_codes(queries, codes, narrow, wider), plain(queries, codes))
    assert len(made) == 1


def test_scores_are_shifted_anew_where_later_codes_are_coarser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the first chunk's codes much is known, of the last one's little: its shift must leave room for that."""
    moved = 0

    def counted(queries: torch.Tensor) -> torch.Tensor:
        nonlocal moved
        moved += 1
        return packed(queries)

    monkeypatch.setattr(floats_module, "packed", counted)
    generator = torch.Generator().manual_seed(9)
    codes = LinearCodes(table_of("uneven", 1000, 20, generator), torch.eye(20), torch.zeros(20))
    queries = torch.randn(70, 20, generator=generator)
    for dtype in DTYPES:
        moved = 0
        tokens = nearest_linear_codes(queries, codes, Screen.of(codes, dtype, 64))
        assert torch.equal(tokens, plain(queries, codes))
        assert moved > 2  # once when they are made, once with the first chunk


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 20, 64, 130])
def test_packed_queries_give_the_same_products(dtype: torch.dtype, count: int) -> None:
    generator = torch.Generator().manual_seed(10)
    rows, queries = (torch.randn(n, 96, generator=generator).to(dtype) for n in (192, count))
    result = product(rows, packed(queries))
    assert result.dtype == dtype and result.shape == (192, count)
    torch.testing.assert_close(result.double(), rows.double() @ queries.double().T, rtol=2**-8, atol=1e-4)


def test_what_is_not_finite_gets_code_zero_and_harms_nobody() -> None:
    codes = LinearCodes(torch.randn(100, 8, generator=torch.Generator().manual_seed(7)))
    queries = codes.table[[5, 6, 7, 8]].clone()
    queries[1, 3], queries[2, 0] = torch.nan, torch.inf
    assert nearest_linear_codes(queries, codes, Screen.of(codes, torch.bfloat16)).tolist() == [5, 0, 0, 8]
    assert nearest_linear_codes(queries[:0], codes, Screen.of(codes, torch.bfloat16)).shape == (0,)
    huge = 1e30 * codes.table  # squares overflow float32
    tokens = nearest_linear_codes(huge[:9], LinearCodes(huge), Screen.of(LinearCodes(huge), torch.bfloat16))
    assert tokens.tolist() == list(range(9))


@pytest.mark.parametrize("dim", [1, 2, 30])
def test_spectral_bound_bounds_and_is_tight(dim: int) -> None:
    generator = torch.Generator().manual_seed(dim)
    for matrix in (torch.randn(dim, dim, generator=generator), torch.eye(dim) * 1e-20, torch.ones(dim, dim) * 1e15):
        largest = torch.linalg.matrix_norm(matrix.double(), ord=2)
        assert largest <= spectral_bound(matrix) <= 1.25 * largest
    assert spectral_bound(torch.zeros(dim, dim)) == 0


def test_parts_add_up_to_float32() -> None:
    values = torch.logspace(-20, 20, 50, dtype=torch.float64)
    three = parts(values, torch.bfloat16)
    assert three.shape == (50, 3)
    torch.testing.assert_close(three.double().sum(dim=1), values, rtol=2**-23, atol=0)


def test_a_kept_screen_holds_no_more_than_its_rows() -> None:
    """K x 544 numbers of bfloat16 at D = 512, and float64 numbers a chunk."""
    codes = LinearCodes(torch.randn(1000, 512), torch.eye(512))
    chunks = list(Screen.of(codes, torch.bfloat16).chunks)
    held = sum(tensor.untyped_storage().nbytes() for chunk in chunks for tensor in chunk)
    assert held <= 1024 * 544 * 2 + 24 * len(chunks)


def test_the_search_keeps_its_screen_until_a_weight_changes() -> None:
    generator = torch.Generator().manual_seed(8)
    codes = LinearCodes(torch.randn(200, 16, generator=generator), torch.eye(16), torch.zeros(16))
    queries = torch.randn(30, 16, generator=generator)
    search = CodeSearch()
    for keep in (True, False):
        for _ in range(2):
            assert torch.equal(search.nearest(queries, codes, keep=keep, frozen=True), plain(queries, codes))
    codes.weight.mul_(-1)  # type: ignore[union-attr]
    assert torch.equal(search.nearest(queries, codes, keep=True, frozen=True), plain(queries, codes))
    codes.table.mul_(-2)
    for keep in (True, False):
        assert torch.equal(search.nearest(queries, codes, keep=keep, frozen=True), plain(queries, codes))


@pytest.mark.parametrize("options", [[], ["--training"], ["--equality", "40"], ["--screens"]])
def test_the_benchmark_runs_and_says_what_it_found(options: list[str], tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    small = ["--codebook", "100", "--width", "16", "--latents", "5", "--runs", "1", "--threads", "1", "--device", "cpu"]
    command = [sys.executable, str(root / "benchmarks/search.py"), *small, *options, "-o", str(tmp_path / "out.json")]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(root)}, stdout=subprocess.DEVNULL)
    result = json.loads((tmp_path / "out.json").read_text())
    if "--equality" in options:
        assert (result["latents"], result["differ"]) == (40, 0)
    else:
        assert result["twin_over_ours"] > 0
        assert set(result["floor_s"]) == {"float32", "bfloat16"}


def test_tokens_of_real_speech_are_compared(tiny_model_dir: Path, speech_path: Path, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    (tmp_path / "speech").mkdir()
    shutil.copy(speech_path, tmp_path / "speech")
    options = ["--model", str(tiny_model_dir), "--speech", str(tmp_path / "speech"), "--codebook", "500"]
    command = [sys.executable, str(root / "benchmarks/search_equality.py"), *options, "-o", str(tmp_path / "out.json")]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(root)}, stdout=subprocess.DEVNULL)
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["latents"] > 100 and result["K"] == 500
    for mode in ("eval", "training"):
        assert result[mode]["codes_used"] > 10
        assert result[mode]["differ"] == 0 or result[mode]["farther_by_at_most"] < 1e-3

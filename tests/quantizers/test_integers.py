"""The screen of 8-bit integers: what it says of its errors holds, and what it rules out cannot be nearest.

That it gives the answer of plain float64 for codes of every kind is in test_search.py, beside the other screens.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from codec.quantizers.search import (
    CodeSearch,
    IntegerScreen,
    LinearCodes,
    Screen,
    byte_product,
    integers,
    nearest_linear_codes,
)
from codec.quantizers.search import search as search_module
from codec.quantizers.search.byte_product import DIGIT
from codec.quantizers.search.decision import nearest_of_all
from codec.quantizers.search.integer_screen import LOW, ZERO
from codec.quantizers.search.screen import BLOCK


@pytest.fixture
def slow_products() -> Iterator[None]:
    """As on a processor that does not multiply bytes fast; asked anew afterwards."""
    byte_product.fast.cache_clear()
    yield
    byte_product.fast.cache_clear()


def codes_of(seed: int, size: int, dim: int, *, uneven: bool = False) -> LinearCodes:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(dim, dim, generator=generator) / dim**0.5
    if uneven:
        weight[: dim // 4] *= 20
    return LinearCodes(torch.randn(size, dim, generator=generator), weight, torch.randn(dim, generator=generator))


def plain(queries: torch.Tensor, codes: LinearCodes) -> torch.Tensor:
    return nearest_of_all(queries.double() - codes.center, codes)


def queries_of(codes: LinearCodes, seed: int, count: int, away: float) -> torch.Tensor:
    """Codes and noise of ``away`` their length."""
    generator = torch.Generator().manual_seed(seed)
    near = codes.centered(torch.randint(len(codes), (count,), generator=generator))
    noise = torch.randn(near.shape, generator=generator, dtype=torch.float64)
    noise *= away * near.norm(dim=1, keepdim=True) / near.shape[1] ** 0.5
    return (near + noise + codes.center).float()


@pytest.mark.parametrize("uneven", [False, True])
def test_codes_are_nowhere_further_off_than_the_screen_says(uneven: bool) -> None:
    codes = codes_of(0, 700, 40, uneven=uneven)
    screen = IntegerScreen.of(codes, chunk=64)  # four at once
    assert (screen.rotation is not None) == uneven
    assert [len(chunk.high) for chunk in screen.chunks] == [256, 256, 192]
    true = codes.centered(slice(None)) if screen.rotation is None else codes.centered(slice(None)) @ screen.rotation
    seen = []
    for start, chunk in zip(range(0, 700, 256), screen.chunks, strict=True):
        real = chunk.above.flatten().isfinite()
        index = start + chunk.order[real].long()
        seen.append(index)
        scaled = true[index] / chunk.step
        high = chunk.high[real].double() - ZERO
        both = high + chunk.low[real].double() / LOW
        assert high.abs().max() == DIGIT
        coarse, fine = ((scaled - rows).norm(dim=1).max() for rows in (high, both))
        assert coarse <= chunk.error <= 1.1 * coarse  # and no looser than float32 makes them
        assert fine <= chunk.rest <= 2 * fine and fine < coarse / 100
        assert scaled.norm(dim=1).max() <= chunk.reach
        square = high.square().sum(dim=1)
        assert bool((square.diff() >= 0).all())
        torch.testing.assert_close(chunk.above.flatten()[real].double(), square - square[0], rtol=0, atol=0)
        assert square[0] == chunk.shortest and square[-1] == chunk.longest
        torch.testing.assert_close(chunk.half[real], both.square().sum(dim=1) / 2, rtol=1e-6, atol=0)
    assert torch.cat(seen).sort().values.tolist() == list(range(700))


@pytest.mark.parametrize("away", [0.0, 0.7, 5.0])
def test_many_codes_and_queries_in_several_chunks(away: float) -> None:
    codes = codes_of(1, 3000, 130)
    queries = queries_of(codes, 2, 2100, away)  # two groups of queries
    screen = IntegerScreen.of(codes, chunk=192)
    tokens = nearest_linear_codes(queries, codes, screen)
    assert torch.equal(tokens, plain(queries, codes))
    alone = torch.cat([nearest_linear_codes(query, codes, IntegerScreen.of(codes)) for query in queries[:20].split(1)])
    assert torch.equal(alone, tokens[:20])


def test_queries_of_every_length_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Much longer and much shorter than codes, and of few large numbers: without a search in float64."""
    codes = codes_of(3, 2000, 64)
    queries = queries_of(codes, 4, 60, 1.0) - codes.bias
    queries[:20] *= 50
    queries[20:40] *= 0.01
    queries[40:50, 3] += 5
    queries = queries + codes.bias
    expected = plain(queries, codes)
    monkeypatch.setattr("codec.quantizers.search.exact.nearest_of_all", pytest.fail)
    assert torch.equal(nearest_linear_codes(queries, codes, IntegerScreen.of(codes)), expected)


def test_the_bounds_of_both_digits_are_what_makes_the_answer_right() -> None:
    """A screen that says that it is nearer to the codes than it is rules out some nearest ones."""
    codes = LinearCodes(torch.randn(4096, 64, generator=torch.Generator().manual_seed(5)))
    generator = torch.Generator().manual_seed(6)
    one, other = (codes.centered(torch.randint(4096, (3000,), generator=generator)) for _ in range(2))
    queries = (codes.center + one + 0.501 * (other - one)).float()  # nearer to one by less than the first digit tells
    screen = IntegerScreen.of(codes)
    expected = plain(queries, codes)

    def changed(**fields: float) -> torch.Tensor:
        chunks = [
            chunk._replace(**{name: value * getattr(chunk, name) for name, value in fields.items()})
            for chunk in screen.chunks
        ]
        return nearest_linear_codes(queries, codes, IntegerScreen(None, chunks))

    assert torch.equal(changed(), expected)
    assert torch.equal(changed(low=0, rest=float(screen.chunks[0].error / screen.chunks[0].rest)), expected)
    assert 0 < (changed(error=0, reach=0) != expected).sum() < 3000
    assert 0 < (changed(low=0) != expected).sum() < 3000  # a second digit that is not there


@pytest.mark.parametrize("limit", ["CROWD", "LOOKED"])
def test_a_query_with_many_codes_left_is_searched_in_float64(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integers, limit, 3)
    generator = torch.Generator().manual_seed(7)
    table = torch.randn(500, 32, generator=generator)
    table[100:140] = table[100] + 1e-5 * torch.randn(40, 32, generator=generator)
    codes = LinearCodes(table)
    queries = table[[5, 110, 139, 400]] + 1e-6
    left: list[int] = []

    def counted(centered: torch.Tensor, codes: LinearCodes) -> torch.Tensor:
        left.append(len(centered))
        return nearest_of_all(centered, codes)

    monkeypatch.setattr("codec.quantizers.search.exact.nearest_of_all", counted)
    assert torch.equal(nearest_linear_codes(queries, codes, IntegerScreen.of(codes)), plain(queries, codes))
    assert left == [2]  # the two among the forty


def test_what_is_not_finite_or_huge_is_answered() -> None:
    codes = LinearCodes(torch.randn(100, 8, generator=torch.Generator().manual_seed(8)))
    queries = codes.table[[5, 6, 7, 8]].clone()
    queries[1, 3], queries[2, 0] = torch.nan, torch.inf
    screen = IntegerScreen.of(codes)
    assert nearest_linear_codes(queries, codes, screen).tolist() == [5, 0, 0, 8]
    assert nearest_linear_codes(queries[:0], codes, screen).shape == (0,)
    for scale in (1e30, 1e-30):  # squares leave float32
        scaled = LinearCodes(scale * codes.table)
        assert nearest_linear_codes(scaled.table[:9], scaled, IntegerScreen.of(scaled)).tolist() == list(range(9))


def test_a_screen_made_within_autocast_is_the_same() -> None:
    codes = codes_of(12, 600, 40)
    before = IntegerScreen.of(codes)
    with torch.autocast("cpu", torch.bfloat16):
        within = IntegerScreen.of(LinearCodes(codes.table, torch.nn.Parameter(codes.weight), codes.bias))  # type: ignore[arg-type]
        tokens = nearest_linear_codes(codes.centered(slice(50)).float() + codes.bias, codes, within)
    for one, other in zip(before.chunks[0], within.chunks[0], strict=True):
        assert torch.equal(one, other) and not other.requires_grad
    assert tokens.tolist() == list(range(50))


@pytest.mark.parametrize("scale", [1e-28, 1e-30, 1e-38, 1e-42])
@pytest.mark.parametrize("dim", [1, 64])
def test_numbers_that_float32_hardly_holds(scale: float, dim: int) -> None:
    """W cancels most of the table, and what is left has squares or digits that float32 has not."""
    generator = torch.Generator().manual_seed(13)
    one = torch.full((dim, 1), dim**-0.5)
    weight = torch.eye(dim) - (one @ one.T if dim > 1 else 0.0)
    spread = 1e5 * torch.randn(400, 1, generator=generator) * one.T if dim > 1 else 0.0
    codes = LinearCodes((spread + torch.randn(400, dim, generator=generator)) * scale, weight)
    for given in (codes, LinearCodes(codes.table)):
        first, second = given.centered(slice(0, 200)), given.centered(slice(200, 400))
        queries = (given.center + 0.5001 * first + 0.4999 * second).float()
        assert torch.equal(nearest_linear_codes(queries, given, IntegerScreen.of(given)), plain(queries, given))


@pytest.mark.parametrize("fast", [True, False])
def test_a_query_at_the_center_of_codes_of_one_length(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fast:
        monkeypatch.setattr(byte_product, "fast", lambda: False)
    for length in (5e-36, 1.6e-36, 1.0):
        far = torch.tensor(length)
        codes = LinearCodes(torch.stack([far, -far.nextafter(torch.tensor(0.0))]).unsqueeze(1), torch.eye(1))
        assert nearest_linear_codes(torch.zeros(1, 1), codes, IntegerScreen.of(codes)).tolist() == [1]


def test_wide_codes_and_duplicates_across_chunks() -> None:
    generator = torch.Generator().manual_seed(14)
    wide = LinearCodes(torch.randn(300, 1100, generator=generator))
    queries = wide.table[:40] + 0.5 * torch.randn(40, 1100, generator=generator)
    assert torch.equal(nearest_linear_codes(queries, wide, IntegerScreen.of(wide)), plain(queries, wide))
    table = torch.randn(10, 20, generator=generator).repeat(70, 1)  # each code seventy times, in three chunks
    many = LinearCodes(table)
    near = table[:10] + 0.01 * torch.randn(10, 20, generator=generator)
    assert nearest_linear_codes(near, many, IntegerScreen.of(many, chunk=64)).tolist() == list(range(10))


def test_few_codes_are_measured_even_where_all_look_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """One long code makes the steps of all others too coarse."""
    monkeypatch.setattr(integers, "LOOKED", 100)
    generator = torch.Generator().manual_seed(15)
    table = torch.randn(1000, 32, generator=generator)
    table[17] *= 1e5
    codes = LinearCodes(table)
    measured = 0
    scores = integers._scores

    def counted(*args: object) -> object:
        nonlocal measured
        measured += len(args[2])  # type: ignore[arg-type]
        return scores(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(integers, "_scores", counted)
    queries = torch.randn(64, 32, generator=generator)
    assert torch.equal(nearest_linear_codes(queries, codes, IntegerScreen.of(codes)), plain(queries, codes))
    assert measured <= 64 * (2 + 100)


@pytest.mark.usefixtures("slow_products")
def test_defaults_of_the_process_do_not_matter() -> None:
    codes = codes_of(16, 200, 30, uneven=True)
    queries = codes.table[:20] + 1
    expected = plain(queries, codes)
    for dtype in (torch.float64, torch.bfloat16):
        byte_product.fast.cache_clear()
        torch.set_default_dtype(dtype)
        try:
            tokens = nearest_linear_codes(queries, codes, IntegerScreen.of(codes))
        finally:
            torch.set_default_dtype(torch.float32)
        assert torch.equal(tokens, expected)
    byte_product.fast.cache_clear()
    with torch.device("meta"):
        tokens = nearest_linear_codes(queries, codes, IntegerScreen.of(codes))
    assert torch.equal(tokens, expected)


def test_a_kept_screen_holds_two_bytes_a_number() -> None:
    codes = LinearCodes(torch.randn(1000, 512), torch.eye(512))
    chunks = IntegerScreen.of(codes).chunks
    held = sum(tensor.untyped_storage().nbytes() for chunk in chunks for tensor in chunk)
    assert held <= 1024 * (2 * 512 + 16) + 100 * len(chunks)


@pytest.mark.parametrize("count", [1, 16, 70])
def test_products_are_exact_integers_scaled_rounded_and_cut_off(count: int) -> None:
    """On this processor's own way where it has one, which the next test takes from it."""
    generator = torch.Generator().manual_seed(9)
    rows = torch.randint(256, (3 * BLOCK, 150), dtype=torch.uint8, generator=generator)
    queries = torch.randint(-DIGIT, DIGIT + 1, (count, 150), dtype=torch.int8, generator=generator)
    rows[0], queries[0] = 255, DIGIT
    exact = rows.long() @ queries.long().T
    one = torch.ones(count, dtype=torch.float64)
    order = byte_product.packed(queries)
    assert torch.equal(byte_product.product(rows, order, one, 0 * one, torch.float32).long(), exact)
    scale = torch.rand(count, generator=generator).double() / 2000
    reached = byte_product.product(rows, order, scale, -38 * one, torch.int8)
    wanted = (exact * scale - 38).clamp(-128, 127)
    assert reached.dtype == torch.int8 and bool((reached == 127).any())
    assert count == 1 or bool((reached == -128).any())
    assert (reached - wanted).abs().max() <= 0.5 + 1e-3


@pytest.mark.usefixtures("slow_products")
def test_a_processor_that_cuts_sums_off_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before VNNI, two products were added up in 16 bits."""

    def cut(
        rows: torch.Tensor, queries: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, dtype: torch.dtype
    ) -> torch.Tensor:
        pairs = rows.long()[:, None] * queries.long()[None]  # (k, n, D)
        sums = pairs.unflatten(2, (-1, 2)).sum(dim=3).clamp(-(2**15), 2**15 - 1).sum(dim=2)
        result = sums * scale + shift
        return result if dtype == torch.float32 else result.round().clamp(-128, 127).to(dtype)

    monkeypatch.setattr(byte_product, "_prepacked", lambda queries: queries)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_vnni": True})
    monkeypatch.setattr(byte_product, "_multiplied", cut)
    assert not byte_product.fast()
    byte_product.fast.cache_clear()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    assert not byte_product.fast()


@pytest.mark.usefixtures("slow_products")
def test_a_torch_whose_operations_have_changed_is_done_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def changed(queries: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("onednn::qlinear_prepack() is missing value for argument\nmore")

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_int8": True})
    monkeypatch.setattr(byte_product, "_prepacked", changed)
    assert not byte_product.fast()
    assert "is missing value for argument" in caplog.text and "more" not in caplog.text


@pytest.mark.usefixtures("slow_products")
def test_the_search_takes_integers_where_they_pay_and_answers_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = codes_of(10, 600, 160)
    queries = queries_of(codes, 11, 50, 0.8)
    expected = plain(queries, codes)
    made: list[str] = []
    for kind in (Screen, IntegerScreen):
        of = kind.of.__func__  # type: ignore[attr-defined]

        def noted(cls: type, *args: object, of: object = of) -> object:
            made.append(cls.__name__)
            return of(cls, *args)  # type: ignore[operator]

        monkeypatch.setattr(kind, "of", classmethod(noted))
    for many, fast, kind_made in ((500, True, "IntegerScreen"), (500, False, "Screen"), (601, True, "Screen")):
        monkeypatch.setattr(search_module, "MANY", many)
        monkeypatch.setattr(byte_product, "fast", lambda fast=fast: fast)
        search = CodeSearch()
        made.clear()
        for _ in range(2):
            assert torch.equal(search.nearest(queries, codes, keep=True, frozen=True), expected)
        assert made == [kind_made]
        search.drop()

"""The cases of test_fused.py, which starts them: on the GPU that is there, else in Triton's interpreter."""

from __future__ import annotations

import logging
import os

import pytest
import torch
from test_search import plain, table_of, weight_of
from torch.utils._python_dispatch import TorchDispatchMode
from triton.runtime import interpreter

from codec import Codec
from codec.quantizers.search import CodeSearch, LinearCodes, Screen, fused
from codec.quantizers.search.fused import GROUP, SLOTS, Tiles, nearest_fused
from codec.quantizers.search.screen import ScreenChunk
from codec.quantizers.simvq import SimVQ
from codec.streaming import encode_chunks

DEVICE = torch.device("cpu" if os.environ.get("TRITON_INTERPRET") else "cuda")
SMALL = Tiles(16, 128, 16, 4, 2)  # so that little data fills several


@pytest.fixture(autouse=True)
def _scalars_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton 3.6 makes an index of arrays of one number by int(), which numpy 2.4 takes for a mistake."""
    patch = interpreter._patch_lang_tensor

    def patched(tensor: type, *scope: object) -> None:
        patch(tensor, *scope)
        tensor.__index__ = lambda self: int(self.handle.data.item())  # type: ignore[attr-defined]

    monkeypatch.setattr(interpreter, "_patch_lang_tensor", patched)


def codes_on_device(table: torch.Tensor, weight: torch.Tensor | None = None, bias: torch.Tensor | None = None):  # type: ignore[no-untyped-def]
    """And the same on the CPU."""
    here = [None if tensor is None else tensor.to(DEVICE) for tensor in (table, weight, bias)]
    return LinearCodes(*here), LinearCodes(table, weight, bias)  # type: ignore[arg-type]


def make(size: int, dim: int, seed: int, kind: str = "random", weight: str = "full"):  # type: ignore[no-untyped-def]
    generator = torch.Generator().manual_seed(seed)
    mixed = weight_of(weight, dim, generator)
    bias = None if mixed is None else torch.randn(dim, generator=generator)
    return *codes_on_device(table_of(kind, size, dim, generator), mixed, bias), generator


@pytest.mark.parametrize(
    ("kind", "weight", "size", "dim", "count"),
    [
        ("random", "full", 333, 33, 17),
        ("random", "none", 64, 16, 5),
        ("random", "low rank", 65, 20, 3),
        ("random", "zero", 65, 5, 2),
        ("random", "none", 1, 1, 1),
        ("random", "full", 1, 7, 3),
        ("random", "full", 2, 100, 1),
        ("clustered", "full", 70, 10, 3),
        ("clustered", "none", 63, 3, 3),
        ("duplicated", "full", 200, 12, 4),
        ("duplicated", "none", 333, 5, 4),
        ("equal", "none", 100, 6, 2),
        ("lattice", "none", 300, 3, 6),
        ("uneven", "full", 128, 9, 2),
    ],
)
@pytest.mark.parametrize("near", ["random", "midway"])
def test_the_answer_is_that_of_plain_float64(
    kind: str, weight: str, size: int, dim: int, count: int, near: str
) -> None:
    codes, same, generator = make(size, dim, size + dim, kind, weight)
    one, other = (same.centered(torch.randint(size, (count,), generator=generator)) for _ in range(2))
    noise = torch.randn(count, dim, generator=generator)
    centered = noise if near == "random" else (one + other) / 2
    queries = (centered + same.center).float()
    tokens = nearest_fused(queries.to(DEVICE), codes, Screen.of(codes, torch.bfloat16))
    assert torch.equal(tokens.cpu(), plain(queries, same))


def test_the_kernel_keeps_the_least_score_of_every_group_whatever_the_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    codes, same, generator = make(250, 40, 1)
    queries = torch.randn(18, 40, generator=generator) + same.center
    expected = plain(queries.float(), same)
    seen: list[torch.Tensor] = []
    amin = torch.Tensor.amin
    monkeypatch.setattr(torch.Tensor, "amin", lambda self, dim: seen.append(self) or amin(self, dim))
    monkeypatch.setattr(fused, "_processors", lambda device: 2)
    screen = Screen.of(codes, torch.bfloat16, chunk=64)
    rows = screen.joined().chunks[0].rows.float()  # type: ignore[index]
    low = (queries - same.center).bfloat16().float().to(DEVICE)
    scores = rows[:, 40:43].sum(dim=1) - low @ rows[:, :40].t()
    for tiles in (SMALL, Tiles(32, 64, 32, 4, 2)):
        monkeypatch.setattr(fused, "_tiles", lambda queries, device, tiles=tiles: tiles)
        for given in (screen, screen.joined()):  # in four chunks and in one
            seen.clear()
            tokens = nearest_fused(queries.float().to(DEVICE), codes, given)
            assert torch.equal(tokens.cpu(), expected)
            minima = torch.cat(seen, dim=1)
            torch.testing.assert_close(minima, scores.view(18, -1, GROUP).amin(dim=2), rtol=1e-5, atol=1e-5)


def test_slabs_of_queries_and_few_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "HELD", 4 * 5)
    codes, same, generator = make(300, 24, 2, weight="low rank")
    inside = same.centered(torch.arange(6)) + 1e-3 * torch.randn(6, 24, generator=generator)
    queries = (inside + same.center).float()
    made: list[Screen] = []

    def wider() -> Screen:
        made.append(Screen.of(codes, torch.bfloat16, dims=24).joined())
        return made[0]

    narrow = Screen.of(codes, torch.bfloat16, dims=2).joined()
    tokens = nearest_fused(queries.to(DEVICE), codes, narrow, wider)
    assert torch.equal(tokens.cpu(), plain(queries, same))
    assert not made
    outside = (inside + 30 * torch.randn(6, 24, generator=generator) + same.center).float()
    tokens = nearest_fused(outside.to(DEVICE), codes, Screen.of(codes, torch.bfloat16, dims=1).joined(), wider)
    assert torch.equal(tokens.cpu(), plain(outside, same))
    assert len(made) == 1


def test_a_crowd_is_counted_and_left_to_float64(caplog: pytest.LogCaptureFixture) -> None:
    codes, same, generator = make(3 * SLOTS, 6, 3, weight="none")
    same.table[: 2 * SLOTS] = same.table[0] + 1e-5 * same.table[: 2 * SLOTS]  # too many to list
    codes, same = codes_on_device(same.table)
    queries = same.table[[0, 5, 2 * SLOTS, 2 * SLOTS + 9]] + 1e-6 * torch.randn(4, 6, generator=generator)
    with caplog.at_level(logging.DEBUG):
        tokens = nearest_fused(queries.to(DEVICE), codes, Screen.of(codes, torch.bfloat16))
    assert torch.equal(tokens.cpu(), plain(queries, same))
    assert "2 of 4 latents searched in float64" in caplog.text


def test_the_bounds_are_what_makes_the_answer_right() -> None:
    """A screen that says it is exact rules out some nearest codes."""
    _, same, generator = make(64, 16, 4, weight="none")
    apart = 0.02 * same.table[1::2]
    same.table[1::2] = same.table[::2] + apart  # pairs that bfloat16 can hardly tell apart
    codes, same = codes_on_device(same.table)
    aside = 0.5 * torch.randn(32, 16, generator=generator)
    aside -= (aside * apart).sum(dim=1, keepdim=True) / apart.square().sum(dim=1, keepdim=True) * apart
    queries = (same.table[::2] + 0.49 * apart + aside)[:12]
    screen = Screen.of(codes, torch.bfloat16)
    assert torch.equal(nearest_fused(queries.to(DEVICE), codes, screen).cpu(), plain(queries, same))
    zero = torch.zeros_like(screen.chunks[0].error)  # type: ignore[index]
    careless = ScreenChunk(screen.chunks[0].rows, zero, zero, zero)  # type: ignore[index]
    wrong = nearest_fused(queries.to(DEVICE), codes, Screen(screen.dtype, screen.dims, None, [careless]))
    assert 0 < (wrong.cpu() != plain(queries, same)).sum() < 12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_may_lie_anywhere_in_memory(dtype: torch.dtype) -> None:
    """As those of one recording's latents do, which come with time last; and a table by columns."""
    codes, same, generator = make(100, 8, 8)
    queries = (torch.randn(9, 8, generator=generator) + same.center).to(dtype)
    expected = plain(queries, same)
    by_columns = LinearCodes(codes.table.t().contiguous().t(), codes.weight, codes.bias)
    for given in (queries.t().contiguous().t(), queries.repeat_interleave(2, dim=1)[:, ::2]):
        assert not given.is_contiguous()
        for searched in (codes, by_columns):
            tokens = nearest_fused(given.to(DEVICE), searched, Screen.of(searched, torch.bfloat16))
            assert torch.equal(tokens.cpu(), expected)


def test_what_is_not_finite_gets_code_zero_and_harms_nobody() -> None:
    codes, same, _ = make(100, 8, 5, weight="none")
    queries = same.table[[5, 6, 7, 8]].clone()
    queries[1, 3], queries[2, 0] = torch.nan, torch.inf
    screen = Screen.of(codes, torch.bfloat16)
    assert nearest_fused(queries.to(DEVICE), codes, screen).tolist() == [5, 0, 0, 8]
    assert nearest_fused(queries[:0].to(DEVICE), codes, screen).shape == (0,)
    huge, _ = codes_on_device(1e30 * same.table)  # squares overflow float32
    assert nearest_fused(huge.table[:5], huge, Screen.of(huge, torch.bfloat16)).tolist() == list(range(5))


def test_recordings_are_encoded_as_by_the_plain_search(
    tiny_codec: Codec, speech: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One alone, several at once, and one in chunks: each time the latents lie otherwise in memory."""
    monkeypatch.setattr(fused, "unavailable", lambda device: None)
    codec, quantizer = tiny_codec.to(DEVICE), tiny_codec.quantizer
    assert isinstance(quantizer, SimVQ)
    speech = speech[12000:21600].to(DEVICE)
    latent = codec.latents(speech)[0].t()
    quantizer.initialize(latent, "covariance", torch.Generator().manual_seed(1))  # so that all codes serve
    several = [speech, speech[3000:8000]]
    calls: list[int] = []
    original = fused.nearest_fused
    monkeypatch.setattr(fused, "nearest_fused", lambda *given: calls.append(1) or original(*given))
    answers = []
    for search in (CodeSearch(screened=(), fused=()), CodeSearch(screened=(), fused=(DEVICE.type,))):
        quantizer._search = search
        chunks = torch.cat(list(encode_chunks(codec, speech.split(4000))))
        together = codec.encode(several).tokens
        answers.append([codec.encode(speech).tokens[0].tolist(), together.tolist(), chunks.tolist()])
    assert answers[0] == answers[1]
    assert len(calls) >= 4 and len(set(answers[0][0])) > 10


def test_nothing_as_large_as_queries_times_codes_is_ever_made() -> None:
    largest = 0

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            made = func(*args, **(kwargs or {}))
            several = made if isinstance(made, tuple | list) else [made]
            largest = max([largest, *(one.numel() for one in several if isinstance(one, torch.Tensor))])
            return made

    codes, _, generator = make(1024, 8, 6, weight="none")
    queries = torch.randn(130, 8, generator=generator).to(DEVICE)
    screen = Screen.of(codes, torch.bfloat16).joined()
    with Sizes():
        nearest_fused(queries, codes, screen)
    assert 0 < largest <= 2 * 32 * 1024 < 130 * 1024  # the interpreter copies the screen as bytes


def test_the_search_of_a_bottleneck_is_fused_where_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    codes, same, generator = make(100, 8, 7)
    queries = torch.randn(9, 8, generator=generator) + same.center.float()
    expected = plain(queries, same)
    calls = []
    original = fused.nearest_fused
    monkeypatch.setattr(fused, "nearest_fused", lambda *given: calls.append(1) or original(*given))
    for search, keep, times in (
        (CodeSearch(fused=(DEVICE.type,)), True, 2),
        (CodeSearch(fused=(DEVICE.type,)), False, 0),  # training: the host may not wait
        (CodeSearch(fused=()), True, 0),
    ):
        fused.unavailable(codes.table.device)  # which tries the kernels
        calls.clear()
        for _ in range(2):
            assert torch.equal(search.nearest(queries.to(DEVICE), codes, keep=keep, frozen=True).cpu(), expected)
        assert len(calls) == times

"""The search of a bottleneck, and what it keeps from one call to the next."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch
from torch import Tensor

from codec.precision import full_float32
from codec.quantizers.kept import Kept
from codec.quantizers.search import byte_product, fused
from codec.quantizers.search.codes import CHUNK, LinearCodes
from codec.quantizers.search.exact import nearest_linear_codes
from codec.quantizers.search.integer_screen import IntegerScreen
from codec.quantizers.search.plain import CodeChunk, half_squared_norms, nearest_codes
from codec.quantizers.search.screen import Screen, TableSizes, directions_to_hold, screen_dtype

MANY = 2**15  # codes, from which on integers save time (benchmarks/search.py --screens)
WIDE = 128  # directions, likewise


class CodeSearch:
    """Nearest codes of W C_k + b: screened on processors, fused on NVIDIA GPUs, plainly in float32 elsewhere.

    A screened search asks for sizes that the data decide, so on a GPU the host would wait for it at every chunk. The
    fused one asks once, whether a query is left to float64; a training step may not, and searches plainly.

    Args:
        chunk: codes whose scores are held at once.
        screened: types of the devices where the search is screened; they must have float64.
        fused: types of the devices where it is fused, if Triton is there; () for a plain search on GPUs.
    """

    def __init__(
        self, chunk: int = CHUNK, screened: Collection[str] = ("cpu",), fused: Collection[str] = ("cuda",)
    ) -> None:
        self.chunk = chunk
        self.screened = screened
        self.fused = fused
        self._screen: Kept[Screen | IntegerScreen] = Kept()  # of integers on processors alone
        self._codes: Kept[list[CodeChunk]] = Kept()
        self._sizes: Kept[TableSizes] = Kept()

    def nearest(self, rows: Tensor, codes: LinearCodes, keep: bool, frozen: bool) -> Tensor:
        """Index of the nearest code, (N, D) -> (N,) int64.

        Args:
            rows: queries.
            codes: what is searched.
            keep: make and keep what serves the next call, K rows: for weights that stay.
            frozen: the codes' table is changed by nothing but in-place operations and replacement.
        """
        given = [weight for weight in (codes.weight, codes.bias) if weight is not None]
        trained, table = (given, [codes.table]) if frozen else ([*given, codes.table], [])
        if keep and rows.device.type in self.fused and fused.unavailable(rows.device) is None:

            def all_directions() -> Screen:
                screen = Screen.of(codes, torch.bfloat16, self.chunk, dims=codes.table.shape[1]).joined()
                self._screen.replace(screen)
                return screen

            screen = self._screen.get(trained, table, lambda: Screen.of(codes, torch.bfloat16, self.chunk).joined())
            assert isinstance(screen, Screen)  # weights on another device are others, so that this is its own
            return fused.nearest_fused(rows, codes, screen, all_directions)
        if rows.device.type not in self.screened:
            chunks = (
                self._codes.get(trained, table, lambda: list(self._project(codes))) if keep else self._project(codes)
            )
            return nearest_codes(rows, chunks)
        dtype = screen_dtype(rows.device)
        if not keep:
            sizes = self._sizes.get([], table, lambda: TableSizes.of(codes.table, dtype)) if frozen else None
            sizes = TableSizes.of(codes.table, dtype) if sizes is None else sizes
            return nearest_linear_codes(rows, codes, Screen.passing(codes, dtype, sizes, self.chunk))

        every = codes.table.shape[1]

        def wider() -> Screen | IntegerScreen:
            wide = self._made(codes, dtype, every)
            self._screen.replace(wide)
            return wide

        kept = self._screen.get(trained, table, lambda: self._made(codes, dtype, directions_to_hold(codes)))
        return nearest_linear_codes(rows, codes, kept, wider)

    def drop(self) -> None:
        """Keep nothing."""
        for kept in (self._screen, self._codes, self._sizes):
            kept.drop()

    def _made(self, codes: LinearCodes, dtype: torch.dtype, dims: int) -> Screen | IntegerScreen:
        """For processors: in integers where those are fast, unless few directions or few codes are less work still."""
        on_processor = codes.table.device.type == "cpu"
        if on_processor and dims == codes.table.shape[1] >= WIDE and len(codes) >= MANY and byte_product.fast():
            return IntegerScreen.of(codes, self.chunk)
        return Screen.of(codes, dtype, self.chunk, dims)

    def _project(self, codes: LinearCodes) -> Iterator[CodeChunk]:
        for rows in codes.table.split(self.chunk):
            with torch.autocast(rows.device.type, enabled=False), full_float32():
                part = rows.float()
                if codes.weight is not None:
                    bias = None if codes.bias is None else codes.bias.float()
                    part = torch.nn.functional.linear(part, codes.weight.float(), bias)
            yield part, half_squared_norms(part)

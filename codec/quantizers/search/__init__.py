"""Which code is nearest: plainly in float32, or screened in low precision and decided in float64."""

from __future__ import annotations

from codec.quantizers.search.codes import LinearCodes
from codec.quantizers.search.exact import nearest_linear_codes
from codec.quantizers.search.integer_screen import IntegerScreen
from codec.quantizers.search.plain import QUERY_CHUNK, CodeChunk, half_squared_norms, nearest_codes
from codec.quantizers.search.screen import Screen, TableSizes, screen_dtype
from codec.quantizers.search.search import CodeSearch

__all__ = [
    "QUERY_CHUNK",
    "CodeChunk",
    "CodeSearch",
    "IntegerScreen",
    "LinearCodes",
    "Screen",
    "TableSizes",
    "half_squared_norms",
    "nearest_codes",
    "nearest_linear_codes",
    "screen_dtype",
]

"""Token datasets: corpora as tokens, for language models and whatever else reads them.

A folder of shards (``tokens-00000.parquet``, or ``.tar``, ``.npy`` with ``.jsonl``, ``.jsonl``) with ``index.json``,
which says by which model they were made, and a dataset card. :mod:`codec.tokenstore.tokenizing` makes one,
:class:`codec.TokenDataset` reads it back. ``docs/tokens.md`` has the layout of each format.
"""

from __future__ import annotations

from codec.tokenstore.dataset import TokenDataset
from codec.tokenstore.entry import TokenEntry
from codec.tokenstore.formats import FORMATS
from codec.tokenstore.index import INDEX_FILE, Index, Model, Shard, read_index

__all__ = ["FORMATS", "INDEX_FILE", "Index", "Model", "Shard", "TokenDataset", "TokenEntry", "read_index"]

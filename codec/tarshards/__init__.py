"""Speech in tar shards: corpora that do not fit on one disk, or are too many files for one.

The layout is webdataset's: ``KEY.flac`` (or ``.opus``) and ``KEY.json`` for each utterance. Beside each shard a
``.jsonl`` says where in it every recording lies, so that a crop is read by seeking; ``index.json`` counts them all.
"""

from __future__ import annotations

from codec.tarshards.index import INDEX_FILE, AudioShard, Rates, ShardTable, find_shards, read_table
from codec.tarshards.member import Member, OpenTars

__all__ = ["INDEX_FILE", "AudioShard", "Member", "OpenTars", "Rates", "ShardTable", "find_shards", "read_table"]

"""Whether a resumed run meets the recordings it began with: a place in the data means something in them alone.

Folders may change, since a corpus may have moved. What counts is how many recordings there are, their order, and the
names and lengths of up to a thousand of them, or of all shards: that costs nothing with millions of recordings, and
another manifest hardly agrees in all of it.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from codec.errors import CodecError
from codec.files import read_json, write_text
from codec.training.data import CropDataset
from codec.training.recordings import ManifestRecordings, ShardRecordings
from codec.training.streamed import StreamedCrops

DATA = "data.json"
_LOOKED_AT = 1000
_TAR = re.compile(r"[^\s/]+\.tar")


def identify(dataset: CropDataset | StreamedCrops) -> dict[str, int | str]:
    """What is noted of the recordings in a run folder."""
    source = dataset if isinstance(dataset, StreamedCrops) else dataset.recordings
    if isinstance(source, ManifestRecordings):
        count = len(source)
        step = max(1, count // _LOOKED_AT)
        lines: Iterator[str] = (
            f"{recording.path.stem} {recording.num_samples} {recording.sample_rate}"
            for recording in (source[place] for place in range(0, count, step))
        )
        return {"from": "manifests", "recordings": count, "crc32": _crc(lines)}
    if isinstance(source, StreamedCrops):
        kind, shards = "streamed shards", [(shard.url, shard.utterances) for shard in source.shards]
    else:
        assert isinstance(source, ShardRecordings)
        kind, shards = "shards", [(str(shard.path), shard.utterances) for shard in source.shards]
    # Only the file's name, also where a program fetches it.
    lines = (f"{(_TAR.findall(place) or [place])[-1]} {count}" for place, count in shards)
    return {"from": kind, "recordings": sum(count for _, count in shards), "crc32": _crc(lines)}


def note(run: Path, found: Mapping[str, int | str]) -> None:
    """Write what :func:`identify` gave into the run folder."""
    write_text(run / DATA, json.dumps(found) + "\n")


def check_same(run: Path, found: Mapping[str, int | str], before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse other recordings than those that the run began with.

    Args:
        run: its folder.
        found: of the recordings at hand, as :func:`identify` gives it.
        before: its settings, as far as it got.
        now: the settings to go on with.

    Raises:
        CodecError: they differ, or cannot be compared: other settings, and a run from before they were noted.
    """
    names = ("train", "shards")
    key = next((name for name in names if before["data"].get(name) != now["data"].get(name)), None)
    start_anew = "start a new run with another output= (init_from= takes over weights of equal sizes)"
    if (run / DATA).exists():
        noted = read_json(run / DATA, "delete it to go on without this check")
        if noted != dict(found):
            key = next(name for name in names if now["data"].get(name))
            raise CodecError(
                f"data.{key}={list(now['data'][key])}: {_say(found)}, not the {_say(noted)} that the run being resumed "
                f"began with, and its place in them would mean others; bring those back, or {start_anew}"
            )
    elif key is not None:
        raise CodecError(
            f"data.{key}={list(now['data'][key])} contradicts the run being resumed ({list(before['data'][key])}); "
            f"change it back, write it into {run / 'config.yaml'} too if only the place changed, or {start_anew}"
        )


def _say(entry: Mapping[str, int | str]) -> str:
    return f"{entry.get('recordings')} recordings of {entry.get('from')} (CRC-32 {entry.get('crc32')})"


def _crc(lines: Iterator[str]) -> str:
    crc = 0
    for line in lines:
        crc = zlib.crc32(line.encode("utf-8", "surrogateescape") + b"\n", crc)
    return f"{crc:08x}"

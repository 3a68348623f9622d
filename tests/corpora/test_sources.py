from __future__ import annotations

from pathlib import Path

import pytest

from codec import CodecError
from codec.corpora.sources import sources_of, sources_table
from codec.manifest import Utterance

TABLE = """id,path,source,speaker,language,licence,repository
a,train/a.opus,kathleen,k,en-US,CC0-1.0,rhasspy/kathleen
b,train/b.opus,mls,m1,german,CC-BY-4.0 (MLS),someone/demo
c,train/c.opus,mls,m2,french,CC-BY-4.0 (MLS),other/demo
"""


def recordings(folder: Path, names: str) -> list[Utterance]:
    return [Utterance(name, folder / "." / "train" / f"{name}.opus", 24_000 * 60, 24_000) for name in names]


def test_minutes_licences_and_origins_of_what_was_used(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(TABLE)
    table = sources_table(sources_of(recordings(tmp_path, "bca"), [tmp_path / "train.csv"]))
    assert table.splitlines()[2:] == [
        "| mls | CC-BY-4.0 (MLS) | other/demo, someone/demo | french, german | 2 | 2 | 2.0 |",
        "| kathleen | CC0-1.0 | rhasspy/kathleen | en-US | 1 | 1 | 1.0 |",
    ]
    assert "kathleen" not in sources_table(sources_of(recordings(tmp_path, "b"), [tmp_path / "train.csv"]))


def test_a_recording_of_unknown_licence_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(TABLE)
    with pytest.raises(CodecError, match=r"d\.opus and 1 more: in none of the tables"):
        sources_of(recordings(tmp_path, "dae"), [tmp_path / "train.csv"])
    (tmp_path / "train.csv").write_text("path,source\n")
    with pytest.raises(CodecError, match="has no column licence"):
        sources_of([], [tmp_path / "train.csv"])
    with pytest.raises(CodecError, match="cannot read the table of sources"):
        sources_of([], [tmp_path / "none.csv"])

"""A manifest is read as it was written, wherever it is opened from, and a broken line is named."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from codec.errors import CodecError
from codec.manifest import Utterance, read_manifest, write_manifest

ENTRY: dict[str, Any] = {"id": "a", "path": "a.wav", "num_samples": 24_000, "sample_rate": 16_000}


def write_lines(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_round_trip(tmp_path: Path) -> None:
    utterances = [
        Utterance("1_2_3", tmp_path / "corpus" / "1.flac", 36_000, 24_000, "1", "dev", "Ça marche — 5\u2028€."),
        Utterance("no text", tmp_path / "elsewhere.wav", 1, 8_000),
    ]
    write_manifest(tmp_path / "data" / "dev.jsonl", utterances)
    back = read_manifest(tmp_path / "data" / "dev.jsonl")
    assert [utterance.path.resolve() for utterance in back] == [utterance.path for utterance in utterances]
    for utterance, expected in zip(back, utterances, strict=True):
        assert utterance == Utterance(**{**vars(expected), "path": utterance.path})
    assert back[0].duration_s == 1.5


def test_paths_are_relative_to_the_manifest_so_that_both_can_move_together(tmp_path: Path) -> None:
    (tmp_path / "old" / "corpus").mkdir(parents=True)
    (tmp_path / "old" / "corpus" / "a.wav").write_bytes(b"sound")
    write_manifest(tmp_path / "old" / "data" / "m.jsonl", [Utterance("a", tmp_path / "old/corpus/a.wav", 5, 16_000)])
    (tmp_path / "old").rename(tmp_path / "new")
    assert read_manifest(tmp_path / "new" / "data" / "m.jsonl")[0].path.read_bytes() == b"sound"


def test_paths_hold_when_the_manifest_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.wav").write_bytes(b"sound")
    (tmp_path / "far" / "away" / "data").mkdir(parents=True)
    (tmp_path / "data").symlink_to(tmp_path / "far" / "away" / "data")
    write_manifest(tmp_path / "data" / "m.jsonl", [Utterance("a", tmp_path / "corpus" / "a.wav", 5, 16_000)])
    assert read_manifest(tmp_path / "data" / "m.jsonl")[0].path.read_bytes() == b"sound"


def test_relative_paths_start_where_the_program_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.wav").write_bytes(b"sound")
    write_manifest("data/m.jsonl", [Utterance("a", Path("a.wav"), 5, 16_000)])
    assert json.loads((tmp_path / "data" / "m.jsonl").read_text())["path"] == "../a.wav"
    assert read_manifest("data/m.jsonl")[0].path.read_bytes() == b"sound"


def test_an_absolute_path_stays(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "m.jsonl", json.dumps({**ENTRY, "path": "/corpus/a.wav"}))
    assert read_manifest(path)[0].path == Path("/corpus/a.wav")


def test_blank_lines_and_unknown_keys_are_passed_over(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "m.jsonl", "", json.dumps({**ENTRY, "snr": 30}), "")
    (utterance,) = read_manifest(path)
    assert (utterance.speaker, utterance.split, utterance.text) == ("", "", None)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "a"', "m.jsonl:2: not a JSON object"),
        ('["a"]', "m.jsonl:2: expected a JSON object, got list"),
        (json.dumps({key: ENTRY[key] for key in ENTRY if key != "path"}), "m.jsonl:2: path=None, expected a string"),
        (json.dumps({**ENTRY, "num_samples": "5"}), "m.jsonl:2: num_samples='5', expected a positive integer"),
        (json.dumps({**ENTRY, "num_samples": 0}), "m.jsonl:2: num_samples=0"),
        (json.dumps({**ENTRY, "num_samples": True}), "m.jsonl:2: num_samples=True"),
        (json.dumps({**ENTRY, "sample_rate": 16_000.0}), "m.jsonl:2: sample_rate=16000.0"),
        (json.dumps({**ENTRY, "text": 5}), "m.jsonl:2: text=5"),
        (json.dumps({**ENTRY, "id": "first"}), "id 'first' occurs twice"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = write_lines(tmp_path / "m.jsonl", json.dumps({**ENTRY, "id": "first"}), line)
    with pytest.raises(CodecError) as caught:
        read_manifest(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_an_empty_and_a_binary_manifest_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CodecError, match=r"cannot read .*No such file.*prepare_folder\.py.*prepare_libritts\.py"):
        read_manifest(tmp_path / "none.jsonl")
    with pytest.raises(CodecError, match="no utterances"):
        read_manifest(write_lines(tmp_path / "empty.jsonl", ""))
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CodecError, match=r"not a manifest .*prepare_folder\.py"):
        read_manifest(tmp_path / "binary.jsonl")


def test_a_folder_is_told_how_it_becomes_a_manifest(tmp_path: Path) -> None:
    wavs = tmp_path / "wavs"
    wavs.mkdir()
    (wavs / "a.wav").touch()
    says = f"{wavs}: is a folder, expected a manifest; make one with recipes/prepare_folder.py {wavs} -o DIR and give"
    with pytest.raises(CodecError, match=re.escape(says)):
        read_manifest(wavs)
    for split in ("train", "dev"):
        write_manifest(wavs / f"{split}.jsonl", [Utterance("a", wavs / "a.wav", 5, 16_000)])
    with pytest.raises(CodecError, match=re.escape(f"give one in it: {wavs / 'dev.jsonl'}, {wavs / 'train.jsonl'}")):
        read_manifest(wavs)


def test_a_failure_half_way_leaves_the_old_manifest(tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    write_manifest(manifest, [Utterance("old", tmp_path / "a.wav", 5, 16_000)])

    def breaks_off() -> Any:
        yield Utterance("new", tmp_path / "a.wav", 5, 16_000)
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        write_manifest(manifest, breaks_off())
    assert [utterance.id for utterance in read_manifest(manifest)] == ["old"]
    assert list(tmp_path.iterdir()) == [manifest]

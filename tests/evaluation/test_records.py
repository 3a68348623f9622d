from __future__ import annotations

import json
from pathlib import Path

import pytest

from codec import CodecError
from codec.evaluation.records import DEFINITIONS, VERSIONS, Record, Store, is_complete

SETTINGS = {"system": "a", "protocol": "strict"}


def opened(folder: Path) -> Store:
    store = Store(folder)
    store.open(SETTINGS)
    return store


def test_parts_of_several_processes_merge_sorted_by_id(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for process, ids in enumerate((["d", "b"], ["c", "a"])):
        with store.part(process) as part:
            for id_ in ids:
                part.add(Record(id_, "s", 1.5, {"stoi": 0.1 + 0.2}, {"pesq_wb": "silent"}, tokens=[1, 2]))
    store.collect()
    assert list(store.records()) == ["a", "b", "c", "d"]
    assert store.records()["c"] == Record("c", "s", 1.5, {"stoi": 0.1 + 0.2}, {"pesq_wb": "silent"}, None, [1, 2])
    assert not (tmp_path / "parts").exists()


def test_a_torn_line_is_dropped_and_the_rest_kept(tmp_path: Path) -> None:
    store = opened(tmp_path)
    with store.part(0) as part:
        part.add(Record("a", "s", 1.0, {"stoi": 1.0}))
        part.add(Record("b", "s", 1.0, {"stoi": 0.5}))
    path = tmp_path / "parts" / "00000.jsonl"
    path.write_bytes(path.read_bytes()[:-10])
    assert list(opened(tmp_path).records()) == ["a"]


@pytest.mark.parametrize("separator", ["\u0085", "\u2028", "\u2029", "\r", "\x1c"])
def test_ids_and_speakers_may_hold_what_only_looks_like_the_end_of_a_line(separator: str, tmp_path: Path) -> None:
    store = opened(tmp_path)
    record = Record(f"a{separator}b", f"s{separator}", 1.0, {"stoi": 1.0}, {"pesq_wb": f"no{separator}"})
    with store.part(0) as part:
        part.add(record)
    store.collect()
    assert opened(tmp_path).records() == {record.id: record}


def test_collecting_the_same_part_twice_changes_nothing(tmp_path: Path) -> None:
    store = opened(tmp_path)
    with store.part(0) as part:
        part.add(Record("a", "s", 1.0, {"stoi": 1.0}))
    part_text = (tmp_path / "parts" / "00000.jsonl").read_text()
    store.collect()
    merged = (tmp_path / "utterances.jsonl").read_text()
    (tmp_path / "parts").mkdir()  # killed between the rename and the removal
    (tmp_path / "parts" / "00000.jsonl").write_text(part_text)
    assert list(opened(tmp_path).records()) == ["a"]
    assert (tmp_path / "utterances.jsonl").read_text() == merged


def test_later_metrics_join_and_errors_give_way() -> None:
    first = Record("a", "s", 1.0, {"stoi": 1.0}, tokens=[3])
    assert first.merged(Record("a", "s", 1.0, {"pesq_wb": 2.0})).scores == {"stoi": 1.0, "pesq_wb": 2.0}
    assert first.merged(Record("a", "s", 1.0, {"pesq_wb": 2.0})).tokens == [3]
    lost = Record("a", "s", 1.0, error="no such file")
    assert lost.merged(first) == first
    gone = first.merged(lost)  # what a later run was to add is not there, and why is known
    assert (gone.scores, gone.tokens, gone.error) == ({"stoi": 1.0}, [3], "no such file")
    assert gone.merged(Record("a", "s", 1.0, {"pesq_wb": 2.0})).error is None
    heard = Record("a", "s", 1.0, {"stoi": 1.0}, recording="0f", sound=True)
    again = heard.merged(Record("a", "s", 1.0, {"pesq_wb": 2.0}, recording="0f"))
    assert (again.recording, again.sound) == ("0f", True)


def test_what_is_complete() -> None:
    record = Record("a", "s", 1.0, {"stoi": 1.0}, {"pesq_wb": "silent"})
    assert is_complete(record, ["stoi", "pesq_wb"])
    assert not is_complete(record, ["stoi", "mel_distance"])
    assert not is_complete(None, ["stoi"])
    assert not is_complete(Record("a", "s", 1.0, error="gone"), [])
    lost = Record("a", "s", 1.0, {"stoi": 1.0}, error="gone")
    assert is_complete(lost, ["stoi"]) and not is_complete(lost, ["stoi", "pesq_wb"])


def test_scores_of_another_system_are_not_mixed(tmp_path: Path) -> None:
    opened(tmp_path)
    other = {**SETTINGS, "system": "b"}
    with pytest.raises(CodecError, match=r"holds other scores \(system was 'a' and is 'b'\).*--overwrite"):
        Store(tmp_path).open(other)
    Store(tmp_path).open(other, overwrite=True)
    assert json.loads((tmp_path / "settings.json").read_text()) == other


def test_versions_and_definitions_are_kept_beside_the_settings(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.note_versions({"torch": "2.10", "pesq": "1"})
    store.note_versions({"torch": "2.11", "pesq": "1"})
    store.note_versions({"torch": "2.11"})
    store.note(DEFINITIONS, {"stoi": {"label": "STOI"}})
    store = opened(tmp_path)  # they are no reason to refuse it
    assert store.notes(VERSIONS) == {"torch": ["2.10", "2.11"], "pesq": ["1"]}
    assert store.notes(DEFINITIONS) == {"stoi": {"label": "STOI"}}


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    store = opened(tmp_path)
    (tmp_path / "utterances.jsonl").write_text('{"id": "a"}\n')
    with pytest.raises(CodecError, match=r"utterances\.jsonl:1: not a record"):
        store.records()


def test_records_without_settings_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "utterances.jsonl").write_text("mine\n")
    with pytest.raises(CodecError, match="choose another folder"):
        Store(tmp_path).open(SETTINGS)
    assert (tmp_path / "utterances.jsonl").read_text() == "mine\n"

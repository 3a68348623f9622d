"""A folder in LibriTTS's layout becomes manifests; what is bad in it is left out, and said."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from codec.corpora import libritts
from codec.corpora.preparation import SplitSummary
from codec.errors import CodecError
from codec.manifest import read_manifest

MINI = Path(__file__).parents[2] / "egs" / "mini" / "corpus"


def add(
    corpus: Path, split: str, name: str, seconds: float = 0.1, text: str | None = None, suffix: str = ".wav"
) -> Path:
    reader, chapter, *_ = name.split("_")
    path = corpus / split / reader / chapter / f"{name}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(round(seconds * 24_000), np.float32), 24_000)
    if text is not None:
        path.with_name(f"{name}.normalized.txt").write_text(text, encoding="utf-8")
        path.with_name(f"{name}.original.txt").write_text("not this one", encoding="utf-8")
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    corpus = tmp_path / "LibriTTS"
    add(corpus, "dev-clean", "84_121123_000008_000000", 0.25, "Villefort rose,\n half ashamed.\n")
    add(corpus, "dev-clean", "84_121123_000007_000001", 0.5, "Maximilian.")
    add(corpus, "dev-clean", "174_50561_000003_000000", 1.0, "", ".flac")
    add(corpus, "train-clean-100", "103_1240_000000_000001", 2.0, "Chapter one.", ".ogg")
    (corpus / "doc").mkdir()
    (corpus / "doc" / "notes.wav").write_text("not a split: nothing lies two folders down")
    return corpus


def prepare(corpus: Path, output: Path, *splits: str, jobs: int = 2, force: bool = False) -> list[SplitSummary]:
    return list(libritts.prepare(corpus, output, splits, jobs=jobs, force=force))


def test_manifests_hold_length_speaker_text_and_split(corpus: Path, tmp_path: Path) -> None:
    train, dev = prepare(corpus, tmp_path / "data")
    assert (train.split, dev.split) == ("train-clean-100", "dev-clean")  # the corpus's order, not the alphabet's
    assert (dev.utterances, dev.speakers, dev.duration_s, dev.without_text) == (3, 2, 1.75, 1)
    assert dev.notes == [] and dev.fresh
    utterances = read_manifest(tmp_path / "data" / "dev-clean.jsonl")
    assert [(u.id, u.speaker, u.num_samples, u.text) for u in utterances] == [
        ("174_50561_000003_000000", "174", 24_000, None),
        ("84_121123_000007_000001", "84", 12_000, "Maximilian."),
        ("84_121123_000008_000000", "84", 6_000, "Villefort rose, half ashamed."),
    ]
    assert {u.split for u in utterances} == {"dev-clean"}
    assert all(u.path.is_file() and u.sample_rate == 24_000 for u in utterances)


def test_the_manifest_does_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    prepare(MINI, tmp_path / "1", jobs=1)
    prepare(MINI, tmp_path / "8", jobs=8)
    for split in ("train-mini", "dev-mini", "test-mini"):
        assert (tmp_path / "1" / f"{split}.jsonl").read_bytes() == (tmp_path / "8" / f"{split}.jsonl").read_bytes()


def test_the_mini_corpus_is_whole_and_its_speakers_are_in_one_split_each(tmp_path: Path) -> None:
    summaries = {summary.split: summary for summary in prepare(MINI, tmp_path)}
    assert {name: (s.utterances, s.speakers) for name, s in summaries.items()} == {
        "train-mini": (132, 13),
        "dev-mini": (10, 10),
        "test-mini": (18, 15),
    }
    assert not any(summary.notes for summary in summaries.values())
    assert 11 < sum(summary.duration_s for summary in summaries.values()) / 60 < 12
    speakers = [{u.speaker for u in read_manifest(summary.manifest)} for summary in summaries.values()]
    assert len(set.union(*speakers)) == sum(map(len, speakers))


def test_twice_does_nothing_twice(corpus: Path, tmp_path: Path) -> None:
    first = prepare(corpus, tmp_path / "data")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir()}
    second = prepare(corpus, tmp_path / "data")
    assert [summary.fresh for summary in first] == [True, True]
    assert [summary.fresh for summary in second] == [False, False]
    assert [(s.utterances, s.duration_s, s.notes) for s in second] == [
        (s.utterances, s.duration_s, s.notes) for s in first
    ]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir()} == before
    assert all(summary.fresh for summary in prepare(corpus, tmp_path / "data", force=True))


def test_a_changed_corpus_is_noticed(corpus: Path, tmp_path: Path) -> None:
    def fresh() -> dict[str, bool]:
        return {summary.split: summary.fresh for summary in prepare(corpus, tmp_path / "data")}

    fresh()
    added = add(corpus, "dev-clean", "84_121123_000009_000000")
    assert fresh() == {"train-clean-100": False, "dev-clean": True}
    added.with_name("84_121123_000009_000000.normalized.txt").write_text("A new text.")
    assert fresh()["dev-clean"]
    added.unlink()
    assert fresh()["dev-clean"]
    text = corpus / "dev-clean" / "84" / "121123" / "84_121123_000007_000001.normalized.txt"
    text.write_text("Other text.")
    os.utime(text, ns=(1, 1))  # a change within the clock's tick is seen by the size; this one by the time alone
    assert fresh()["dev-clean"]
    assert fresh() == {"train-clean-100": False, "dev-clean": False}


def test_a_lost_manifest_or_a_damaged_marker_is_made_again(corpus: Path, tmp_path: Path) -> None:
    prepare(corpus, tmp_path / "data")
    (tmp_path / "data" / "dev-clean.jsonl").unlink()
    (tmp_path / "data" / ".train-clean-100.completed").write_text("{}")
    assert [summary.fresh for summary in prepare(corpus, tmp_path / "data")] == [True, True]
    assert len(read_manifest(tmp_path / "data" / "dev-clean.jsonl")) == 3


def test_bad_files_are_left_out_with_a_note(corpus: Path, tmp_path: Path) -> None:
    folder = corpus / "dev-clean" / "84" / "121123"
    (folder / "84_121123_000020_000000.wav").write_text("this is a text")
    (folder / "84_121123_000021_000000.wav").touch()
    soundfile.write(folder / "84_121123_000022_000000.wav", np.zeros(0, np.float32), 24_000)
    soundfile.write(folder / "take two.wav", np.zeros(100, np.float32), 24_000)
    soundfile.write(folder / "99_121123_000000_000000.wav", np.zeros(100, np.float32), 24_000)
    soundfile.write(folder / "84_121123_000007_000001.flac", np.zeros(100, np.float32), 24_000)
    (folder / "84_121123_000024_000000.wav").symlink_to(folder / "nowhere")
    bad_text = add(corpus, "dev-clean", "84_121123_000023_000000")
    bad_text.with_name(f"{bad_text.stem}.normalized.txt").write_bytes(b"\xff\xfe\x00")
    (folder / "._84_121123_000007_000001.wav").write_text("what a Mac leaves in archives")

    (dev,) = prepare(corpus, tmp_path / "data", "dev-clean")
    assert dev.utterances == 3
    for name, reason in {
        "84_121123_000020_000000.wav": "not audio",
        "84_121123_000021_000000.wav": "empty",
        "84_121123_000022_000000.wav": "no samples",
        "take two.wav": "name is not READER_CHAPTER",
        "99_121123_000000_000000.wav": "lies in the folder of reader 84",
        "84_121123_000007_000001.wav": "another recording with the id",
        "84_121123_000024_000000.wav": "cannot be read",
        "84_121123_000023_000000.normalized.txt": "cannot read the transcript",
    }.items():
        (note,) = [note for note in dev.notes if f"/{name}" in note]
        assert reason in note and "\n" not in note
    assert len(dev.notes) == 8
    assert prepare(corpus, tmp_path / "data", "dev-clean")[0].notes == dev.notes  # remembered


def test_splits_can_be_chosen(corpus: Path, tmp_path: Path) -> None:
    prepare(corpus, tmp_path / "data", "dev-clean")
    assert [path.name for path in sorted((tmp_path / "data").glob("*.jsonl"))] == ["dev-clean.jsonl"]
    with pytest.raises(CodecError, match=r"test-clean: no such split.*train-clean-100, dev-clean"):
        prepare(corpus, tmp_path / "data", "dev-clean", "test-clean")


def test_a_wrong_folder_says_which_one_was_meant(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(CodecError, match="no such folder"):
        prepare(tmp_path / "none", tmp_path / "data")
    with pytest.raises(CodecError, match=f"did you mean {corpus}"):
        prepare(tmp_path, tmp_path / "data")
    with pytest.raises(CodecError, match="no folder in it holds recordings"):
        prepare(corpus / "dev-clean", tmp_path / "data")


def test_a_split_without_one_readable_recording_is_an_error_and_leaves_no_manifest(
    corpus: Path, tmp_path: Path
) -> None:
    shutil.rmtree(corpus / "dev-clean" / "174")
    for path in (corpus / "dev-clean").rglob("*.wav"):
        path.write_text("broken")
    with pytest.raises(CodecError, match=r"dev-clean: not one readable recording .*not audio"):
        prepare(corpus, tmp_path / "data", "dev-clean")
    assert not (tmp_path / "data" / "dev-clean.jsonl").exists()


def test_published_counts() -> None:
    known = libritts.KNOWN_SPLITS
    assert sum(split.speakers for split in known.values()) == 2_456  # the paper's totals
    assert round(sum(split.hours for split in known.values()), 1) == 585.8

    def summary(split: str, utterances: int, speakers: int, hours: float) -> SplitSummary:
        return SplitSummary(split, Path("m.jsonl"), utterances, speakers, hours * 3600, 0)

    assert libritts.compare(summary("test-clean", 4_837, 39, 8.56)) == "utterances, speakers and hours as published"
    assert libritts.compare(summary("test-clean", 4_800, 38, 8.5)) == "-37 utterances of 4,837; -1 speakers of 39"
    assert libritts.compare(summary("test-clean", 4_837, 39, 4.0)) == "4.00 of 8.56 hours"
    assert libritts.compare(summary("test-mini", 18, 15, 0.02)) == ""


@pytest.mark.parametrize("beside", [False, True])
def test_what_libritts_r_lists_as_badly_restored_is_left_out(corpus: Path, tmp_path: Path, beside: bool) -> None:
    assert prepare(corpus, tmp_path / "data", "dev-clean")[0].utterances == 3
    lists = (corpus.parent if beside else corpus) / "libritts_r_failed_speech_restoration_examples"
    lists.mkdir()
    bad = lists / "dev-clean_bad_sample_list.txt"
    bad.write_text("./dev-clean/84/121123/84_121123_000007_000001.wav\n./dev-clean/1/2/1_2_000000_000000.wav\n")
    (dev,) = prepare(corpus, tmp_path / "data", "dev-clean")  # the list is new: the manifest is made again
    assert dev.fresh and dev.utterances == 2
    (note,) = dev.notes
    assert "84_121123_000007_000001.wav: its restoration failed" in note
    assert not prepare(corpus, tmp_path / "data", "dev-clean")[0].fresh
    assert prepare(corpus, tmp_path / "data", "train-clean-100")[0].notes == []
    bad.write_text("<html>not found</html>\n")
    with pytest.raises(CodecError, match=r"dev-clean_bad_sample_list\.txt: .* names no utterance; expected a path"):
        prepare(corpus, tmp_path / "data", "dev-clean")

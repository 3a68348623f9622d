"""Recordings in any layout become manifests by the same contract as LibriTTS's."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from codec.corpora import folder
from codec.errors import CodecError
from codec.folders import recordings_below
from codec.manifest import read_manifest


def add(path: Path, seconds: float = 0.1, rate: int = 16_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full(round(seconds * rate), 0.1, np.float32), rate)
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    corpus = tmp_path / "interviews"
    add(corpus / "anna" / "2024" / "one.wav", 1.0, 44_100).with_suffix(".txt").write_text("first\n")
    add(corpus / "anna" / "two.flac", 0.5, 24_000).with_suffix(".txt").write_text("not this one")
    (corpus / "anna" / "two.normalized.txt").write_text("the second")
    add(corpus / "ben" / "one.MP3", 1.0)
    add(corpus / "loose.ogg")
    add(corpus / ".trash" / "gone.wav")
    return corpus


def test_ids_speakers_texts_and_lengths(corpus: Path, tmp_path: Path) -> None:
    (train,) = folder.prepare(corpus, tmp_path / "data")
    utterances = read_manifest(tmp_path / "data" / "train.jsonl")
    assert [(u.id, u.speaker, u.text) for u in utterances] == [
        ("anna__2024__one", "anna", "first"),
        ("anna__two", "anna", "the second"),
        ("ben__one", "ben", None),
        ("loose", "", None),
    ]
    assert [(u.num_samples, u.sample_rate) for u in utterances[:2]] == [(44_100, 44_100), (12_000, 24_000)]
    assert (train.speakers, train.without_text) == (3, 2)
    assert all(utterance.path.is_file() for utterance in utterances)


@pytest.mark.parametrize(
    ("level", "speakers"),
    [(0, ["", "", "", ""]), (1, ["anna", "anna", "ben", ""]), (2, ["2024", "", "", ""])],
)
def test_the_level_of_the_speaker(corpus: Path, level: int, speakers: list[str]) -> None:
    assert [recording.speaker for recording in folder.list_recordings(corpus, level)] == speakers


def test_held_out_speakers_are_apart_and_stay_where_they_are(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    for speaker in range(40):
        for take in range(2):
            add(corpus / f"speaker{speaker}" / f"{take}.wav", 0.01)

    def speakers(split: str) -> set[str]:
        return {utterance.speaker for utterance in read_manifest(tmp_path / "data" / f"{split}.jsonl")}

    list(folder.prepare(corpus, tmp_path / "data", held_out=0.25))
    train, dev = speakers("train"), speakers("dev")
    assert not train & dev and len(train | dev) == 40 and 4 <= len(dev) <= 16
    add(corpus / "somebody new" / "0.wav")
    list(folder.prepare(corpus, tmp_path / "data", held_out=0.25))
    assert train <= speakers("train") and dev <= speakers("dev")


def test_twice_does_nothing_twice_and_bad_files_are_left_out(corpus: Path, tmp_path: Path) -> None:
    (corpus / "ben" / "broken.wav").write_text("no audio")
    first = list(folder.prepare(corpus, tmp_path / "data"))
    second = list(folder.prepare(corpus, tmp_path / "data"))
    assert (first[0].fresh, second[0].fresh) == (True, False)
    assert first[0].utterances == 4 and "broken.wav: not audio" in first[0].notes[0]


def test_no_recording_is_trained_on_and_validated_on(corpus: Path, tmp_path: Path, caplog) -> None:
    """Held out at first, and then not any more."""
    data = tmp_path / "data"
    list(folder.prepare(corpus, data, speaker_level=0, held_out=0.5))
    assert {path.name for path in data.iterdir()} >= {"train.jsonl", "dev.jsonl", ".dev.completed"}
    (train,) = folder.prepare(corpus, data, speaker_level=0)
    assert train.utterances == 4 and train.fresh
    assert {path.name for path in data.iterdir()} == {"train.jsonl", ".train.completed"}
    assert f"{data / 'dev.jsonl'}: removed" in caplog.text and "--held-out makes it again" in caplog.text
    caplog.clear()
    list(folder.prepare(corpus, data, speaker_level=0))
    assert not caplog.text


@pytest.mark.parametrize("whose", ["written by hand", "of other recordings", "damaged by hand"])
def test_a_dev_manifest_that_is_not_of_these_recordings_stays(corpus: Path, tmp_path: Path, whose: str) -> None:
    data, other = tmp_path / "data", tmp_path / "other"
    add(other / "somebody" / "one.wav")
    list(folder.prepare(other if whose == "of other recordings" else corpus, data))
    for name in ("{}.jsonl", ".{}.completed"):  # as recipes for other layouts write it
        (data / name.format("train")).rename(data / name.format("dev"))
    if whose == "written by hand":
        (data / ".dev.completed").unlink()
    elif whose == "damaged by hand":
        (data / "dev.jsonl").write_text("{")
    before = {path.name: path.read_bytes() for path in data.iterdir()}
    list(folder.prepare(corpus, data))
    assert {name: (data / name).read_bytes() for name in before} == before


def test_a_folder_of_one_speaker_is_told_what_works(tmp_path: Path) -> None:
    """The layout of LJSpeech: every share leaves one side empty, until files are held out in place of speakers."""
    for number in range(6):
        add(tmp_path / "one" / "wavs" / f"LJ{number}.wav", 0.01)
    for share, empty in ((0.0001, "dev"), (0.9999, "train")):
        with pytest.raises(CodecError, match=rf"{empty}: .* of one speaker \(wavs\); give --speaker-level 0 .*share"):
            list(folder.prepare(tmp_path / "one", tmp_path / "data", held_out=share))
    with pytest.raises(CodecError, match=r"of one speaker \(wavs\); give --speaker-level 0 to hold out recordings, or"):
        list(folder.prepare(tmp_path / "one", tmp_path / "data", held_out=0.5))
    train, dev = folder.prepare(tmp_path / "one", tmp_path / "data", held_out=0.5, speaker_level=0)
    assert train.utterances + dev.utterances == 6


@pytest.mark.parametrize("names", [["a", "b"], ["a/1", "b/1"], [f"s{n}/1" for n in range(30)], ["x", "x/1", "y"]])
@pytest.mark.parametrize("share", [1e-9, 1 - 1e-9])
def test_the_shares_that_are_named_work_and_those_beyond_them_do_not(
    tmp_path: Path, names: list[str], share: float
) -> None:
    for name in names:
        add(tmp_path / "in" / f"{name}.wav", 0.01)
    with pytest.raises(CodecError) as refused:
        list(folder.prepare(tmp_path / "in", tmp_path / "data", held_out=share))
    found = re.search(r"choose a share from (0\.\d+) to (0\.\d+), or add recordings$", str(refused.value))
    assert found is not None
    for number, text in enumerate(found.groups()):
        assert len(list(folder.prepare(tmp_path / "in", tmp_path / str(number), held_out=float(text)))) == 2
        beyond = float(text) + (-1, 1)[number] * 10.0 ** -(len(text) - 2)
        if 0 < beyond < 1:
            with pytest.raises(CodecError, match="choose a share from"):
                list(folder.prepare(tmp_path / "in", tmp_path / "beyond", held_out=beyond))


def test_one_recording_cannot_be_parted(tmp_path: Path) -> None:
    add(tmp_path / "in" / "a" / "1.wav")
    for level in (0, 1):
        with pytest.raises(CodecError, match="there is only one; add recordings, or leave --held-out out"):
            list(folder.prepare(tmp_path / "in", tmp_path / "data", held_out=0.5, speaker_level=level))


def test_mistakes(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CodecError, match="no such folder"):
        list(folder.prepare(tmp_path / "none", tmp_path / "data"))
    with pytest.raises(CodecError, match="no audio file below it"):
        list(folder.prepare(tmp_path / "empty", tmp_path / "data"))
    with pytest.raises(CodecError, match="expected a share"):
        list(folder.prepare(corpus, tmp_path / "data", held_out=1.0))
    with pytest.raises(CodecError, match="dev: a share of 1e-09 held out leaves it without a recording"):
        list(folder.prepare(corpus, tmp_path / "data", held_out=1e-9))
    assert not (tmp_path / "data").exists()


def test_recordings_behind_links_are_found_once(corpus: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    add(elsewhere / "more.wav")
    (corpus / "linked").symlink_to(elsewhere)
    (corpus / "anna" / "loop").symlink_to(corpus)
    names = [path.name for path in recordings_below(corpus)]
    assert names.count("more.wav") == 1 and len(names) == len(set(recordings_below(corpus))) == 5
    assert recordings_below(corpus / "loose.ogg") == [corpus / "loose.ogg"]
    with pytest.raises(CodecError, match="no such file or folder"):
        recordings_below(corpus / "nothing")

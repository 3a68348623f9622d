"""Folders of files that other programs made: which are read, and how they become reconstructions."""

from __future__ import annotations

import dataclasses
import logging
import os
from pathlib import Path

import pytest
import soundfile
import torch
from doubles import RATE, PeakMetric
from torch import Tensor

from codec import CodecError, audio
from codec.evaluation import evaluate, score_utterance
from codec.evaluation.pair import as_16_bit
from codec.evaluation.reconstructed_files import ReconstructedFiles
from codec.manifest import Utterance


def test_reconstructed_files(utterances: list[Utterance], clips: list[Tensor], tmp_path: Path) -> None:
    audio.write(tmp_path / "u0.flac", clips[0], RATE)
    audio.write(tmp_path / "u1.wav", audio.resample(clips[1], RATE, 16_000), 16_000)
    system = ReconstructedFiles(tmp_path, RATE)
    same = system.reconstruct(utterances[0], clips[0])
    torch.testing.assert_close(same.audio, clips[0], atol=2e-4, rtol=0)
    assert same.from_file
    assert abs(len(system.reconstruct(utterances[1], clips[1]).audio) - len(clips[1])) <= 1
    with pytest.raises(CodecError, match=r"no file of this id \(.wav, .flac, .ogg\)"):
        system.reconstruct(utterances[2], clips[2])
    audio.write(tmp_path / "u0.wav", clips[0], RATE)
    with pytest.raises(CodecError, match=r"several files of this id \(u0.wav, u0.flac\).*leave the one"):
        system.reconstruct(utterances[0], clips[0])
    with pytest.raises(CodecError, match="no such folder"):
        ReconstructedFiles(tmp_path / "none", RATE)


@pytest.mark.parametrize("dates", ["new", "kept"])
def test_other_files_are_another_system(utterances: list[Utterance], tmp_path: Path, dates: str) -> None:
    made, output = tmp_path / "made", tmp_path / "out"
    (made / "speaker").mkdir(parents=True)
    files = [made / "u0.wav", made / "speaker" / "one.flac"]
    for path in files:
        audio.write(path, torch.full((26_000,), 0.5), RATE)
    first = ReconstructedFiles(made, RATE)
    evaluate(first, utterances[:1], [PeakMetric()], output)
    assert ReconstructedFiles(made, RATE).identity == first.identity
    (made / "notes.txt").write_text("no sound")
    evaluate(ReconstructedFiles(made, RATE), utterances[:1], [PeakMetric()], output)  # goes on where it was
    for path in files:
        was, sound = path.stat(), path.read_bytes()
        audio.write(path, torch.full((26_000,), 0.25), RATE)
        if dates == "kept":
            os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
        with pytest.raises(CodecError, match=r"holds other scores \(system was 'files .*--overwrite"):
            evaluate(ReconstructedFiles(made, RATE), utterances[:1], [PeakMetric()], output)
        path.write_bytes(sound)
    evaluate(ReconstructedFiles(made, RATE), utterances[:1], [PeakMetric()], output)


def test_what_is_finer_than_16_bits_is_rounded_as_the_protocol_says(
    utterances: list[Utterance], clips: list[Tensor], tmp_path: Path
) -> None:
    clip = 1.1 * clips[0] / clips[0].abs().max()
    rounded = as_16_bit(clip)
    for subtype in ("FLOAT", "PCM_24", "PCM_16"):
        (tmp_path / subtype).mkdir()
        sound = rounded if subtype == "PCM_16" else clip
        soundfile.write(tmp_path / subtype / "u0.wav", sound.numpy(), RATE, subtype)
        system = ReconstructedFiles(tmp_path / subtype, RATE)
        assert system.reconstruct(utterances[0], clips[0]).from_file == (subtype == "PCM_16")
    peak = {
        name: score_utterance(ReconstructedFiles(tmp_path / name, RATE), utterances[0], [PeakMetric()]).scores
        for name in ("FLOAT", "PCM_16")
    }
    assert peak["FLOAT"] == peak["PCM_16"] and peak["FLOAT"]["peak"] <= 1.0
    (tmp_path / "two").mkdir()
    soundfile.write(tmp_path / "two" / "u0.wav", torch.stack([rounded, -rounded]).T.numpy(), RATE, "PCM_16")
    assert not ReconstructedFiles(tmp_path / "two", RATE).reconstruct(utterances[0], clips[0]).from_file


def test_files_of_another_rate_are_resampled_sharply_and_that_is_said_once(
    utterances: list[Utterance], clips: list[Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for index in (0, 1):
        narrow = audio.resample_sharply(clips[index], RATE, 8000)
        audio.write(tmp_path / f"u{index}.wav", narrow, 8000)
    system = ReconstructedFiles(tmp_path, RATE)
    with caplog.at_level(logging.INFO):
        found = [system.reconstruct(utterances[index], clips[index]) for index in (0, 1)]
    written, _ = audio.read(tmp_path / "u0.wav")
    assert torch.equal(found[0].audio, audio.resample_sharply(written[0], 8000, RATE))
    assert not found[0].from_file
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}: files of 8000 Hz, resampled to 24000 Hz"
    ]


def test_what_the_decoder_writes_is_found(utterances: list[Utterance], clips: list[Tensor], tmp_path: Path) -> None:
    """Of token datasets, ids percent-encoded; of folders, mirrored ones, with the recording's suffix left in."""
    base = utterances[0]
    corpus = tmp_path / "corpus"

    def known_as(id_: str, path: str) -> Utterance:
        return dataclasses.replace(base, id=id_, path=corpus / path)

    made = {
        "sp%201__b%2E1.wav": known_as("sp 1__b.1", "sp 1/b.1.flac"),
        "x/y/a.wav": known_as("x__y__a", "x/y/a.wav"),
        "x/z/a.mp3.wav": known_as("x__z__a", "x/z/a.mp3"),
        "1089/134/1089_134_1.flac": known_as("1089_134_1", "test-clean/1089/134/1089_134_1.flac"),
        "spk/A.WAV": known_as("spk__A", "spk/A.WAV"),
        "top.ogg.wav": known_as("top", "top.ogg"),
    }
    for name in made:
        (tmp_path / "made" / name).parent.mkdir(parents=True, exist_ok=True)
        audio.write(tmp_path / "made" / name, clips[0], RATE)
    system = ReconstructedFiles(tmp_path / "made", RATE)
    for utterance in made.values():
        torch.testing.assert_close(system.reconstruct(utterance, clips[0]).audio, clips[0], atol=2e-4, rtol=0)
    for missing in (
        known_as("a", "a.wav"),  # that of another folder is no stand-in
        known_as("A__y__a", "y/a.wav"),
        known_as("k", "z/k.wav"),
        known_as("語" * 60, "long.wav"),  # a name of 540 bytes
        dataclasses.replace(base, id="own", path=tmp_path / "made" / "wav" / "own.wav"),  # the recording itself
    ):
        if missing.id in ("k", "own"):
            place = tmp_path / "made" / ("other/z/k.wav" if missing.id == "k" else "wav/own.wav")
            place.parent.mkdir(parents=True)
            audio.write(place, clips[0], RATE)
        with pytest.raises(CodecError, match="no file of this id"):
            ReconstructedFiles(tmp_path / "made", RATE).reconstruct(missing, clips[0])
    audio.write(tmp_path / "made" / "x/y/a.flac", clips[0], RATE)
    with pytest.raises(CodecError, match=r"several files of this id \(x/y/a.flac, x/y/a.wav\)"):
        ReconstructedFiles(tmp_path / "made", RATE).reconstruct(made["x/y/a.wav"], clips[0])

"""A folder in, a mirrored folder out."""

from __future__ import annotations

import io
import math
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from codec import Codec
from codec.audio import info, load
from codec.bitstream import TokenWriter, read_tokens
from codec.folders import Task, by_length

NAMES = ("a.wav", "a.flac", 'deep/er/it\'s "this" one.ogg', "deep/größe 語.wav", "deep/[red]&$(x);.WAV")


@pytest.fixture
def recordings(tmp_path: Path, speech_path: Path) -> Path:
    """Five recordings of different lengths, in a folder with other things."""
    folder = tmp_path / "in put"
    for index, name in enumerate(NAMES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        samples, _ = soundfile.read(speech_path, start=1000 * index, frames=9_000 + index)
        soundfile.write(folder / name, samples, 24_000)
    (folder / "deep" / "notes.txt").write_text("no audio")
    (folder / "empty").mkdir()
    (folder / ".hidden.wav").write_text("no audio")
    return folder


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("jobs", [1, 3])
def test_there_and_back(
    cli, tmp_path: Path, recordings: Path, tiny_codec: Codec, tiny_model_dir: Path, jobs: int
) -> None:
    options = ("--model", tiny_model_dir, "--device", "cpu", "--jobs", jobs)
    encoded = cli("encode", recordings, "-o", tmp_path / "tokens", *options)
    assert (encoded.code, encoded.err) == (0, "")
    assert encoded.out.startswith(f"{tmp_path / 'tokens'}: 5 files, 1.88 s, 145 tokens, ")
    assert files(tmp_path / "tokens") == sorted(f"{name}.svq" for name in NAMES)
    for name in NAMES:
        recording = read_tokens(tmp_path / "tokens" / f"{name}.svq")
        expected = tiny_codec.encode(load(recordings / name, 24_000)).tokens[0]
        assert recording.is_whole and recording.tokens.tolist() == expected.tolist()

    decoded = cli("decode", tmp_path / "tokens", "-o", tmp_path / "back", *options)
    assert decoded.code == 0 and "5 files, 1.88 s, 145 tokens" in decoded.out
    names = [name + ".wav" if name.endswith(".ogg") else name for name in NAMES]
    assert files(tmp_path / "back") == sorted(names)
    for index, name in enumerate(names):
        assert info(tmp_path / "back" / name).num_samples == 9_000 + index


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_cannot_be_read_is_reported_and_the_rest_goes_on(
    cli, tmp_path: Path, recordings: Path, tiny_model_dir: Path, jobs: int
) -> None:
    (recordings / "broken.wav").write_text("no audio")
    (recordings / "b.wav").symlink_to("nothing")
    soundfile.write(recordings / "deep" / "nan.wav", np.array([0, np.nan]), 24_000, subtype="FLOAT")
    outcome = cli("encode", recordings, "-o", tmp_path / "tokens", "--model", tiny_model_dir, "--jobs", jobs)
    assert outcome.code == 2
    errors = sorted(line for line in outcome.err.splitlines() if line.startswith("error: "))
    assert len(errors) == 3
    for line, (name, says) in zip(
        errors,
        [("b.wav", "No such file"), ("broken.wav", "not audio"), ("deep/nan.wav", "sample 1 is NaN")],
        strict=True,
    ):
        assert str(recordings / name) in line and says in line
    assert outcome.out.endswith("; 3 failed\n") and "5 files" in outcome.out
    assert files(tmp_path / "tokens") == sorted(f"{name}.svq" for name in NAMES)


def test_a_damaged_token_file_among_others(cli, tmp_path: Path, recordings: Path, tiny_model_dir: Path) -> None:
    cli("encode", recordings, "-o", tmp_path / "tokens", "--model", tiny_model_dir)
    path = tmp_path / "tokens" / "a.wav.svq"
    path.write_bytes(path.read_bytes()[:-30])
    outcome = cli("decode", tmp_path / "tokens", "-o", tmp_path / "back", "--model", tiny_model_dir)
    assert outcome.code == 2
    assert outcome.err.startswith(f"error: {path}: it ends early")
    assert "4 files" in outcome.out and outcome.out.endswith("; 1 failed\n")
    assert len(files(tmp_path / "back")) == 4


def test_what_is_there_is_kept_without_force(cli, tmp_path: Path, recordings: Path, tiny_model_dir: Path) -> None:
    kept = tmp_path / "tokens" / "a.wav.svq"
    kept.parent.mkdir()
    kept.write_text("precious")
    command = ("encode", recordings, "-o", tmp_path / "tokens", "--model", tiny_model_dir)
    first = cli(*command)
    assert first.code == 0 and "4 files" in first.out
    assert first.out.endswith("; 1 were there already (--force makes them again)\n")
    assert first.err.startswith(f"warning: {kept}: not a .svq file") and "--force makes it again" in first.err
    assert kept.read_text() == "precious"
    assert "0 files; 5 were there already" in cli(*command).out
    assert "5 files" in cli(*command, "--force").out
    assert read_tokens(kept).is_whole


def test_a_folder_never_mixes_models(
    cli, tmp_path: Path, recordings: Path, tiny_codec: Codec, tiny_model_dir: Path
) -> None:
    """What another model made is refused before anything is encoded, and what --force makes is of one model again."""
    tokens = tmp_path / "tokens"
    cli("encode", recordings, "-o", tokens, "--model", tiny_model_dir)
    (tokens / "a.flac.svq").unlink()
    maker = tiny_codec.token_fingerprint
    tiny_codec.encoder.stem.conv.bias.data += 1
    tiny_codec.save_pretrained(tmp_path / "other")
    command = ("encode", recordings, "-o", tokens, "--model", tmp_path / "other")
    before = {name: (tokens / name).read_bytes() for name in files(tokens)}
    for options in ((), ("--jobs", 2), ("--batch", 60)):
        cli(*command, *options).must_be_mistake(
            f"{tokens / 'a.wav.svq'} (and 3 more): is there already, made by encoder {maker}",
            f"has encoder {tiny_codec.token_fingerprint}",
            "give --force to make all files again, another folder with -o",
        )
    assert {name: (tokens / name).read_bytes() for name in files(tokens)} == before
    assert cli(*command, "--force").code == 0
    assert cli("decode", tokens, "-o", tmp_path / "back", "--model", tmp_path / "other").code == 0
    assert "0 files; 5 were there already" in cli(*command).out


def test_a_recording_that_was_replaced_by_another_length_is_noticed(
    cli, tmp_path: Path, recordings: Path, speech_path: Path, tiny_model_dir: Path
) -> None:
    command = ("encode", recordings, "-o", tmp_path / "tokens", "--model", tiny_model_dir)
    cli(*command)
    samples, _ = soundfile.read(speech_path, frames=6_000)
    soundfile.write(recordings / "a.wav", samples, 16_000)  # 9,000 samples at 24 kHz, as before
    assert "5 were there already" in cli(*command).out
    soundfile.write(recordings / "a.wav", samples[:-1], 16_000)
    kept = tmp_path / "tokens" / "a.wav.svq"
    cli(*command).must_be_mistake(
        f"{kept}: is there already with 9000 samples, but of {recordings / 'a.wav'} as it is now there would be 8999",
        "remove it, or give --force",
    )
    kept.unlink()
    assert cli(*command).code == 0 and read_tokens(kept).num_samples == 8999
    (recordings / "a.wav").write_text("no audio any more")  # nothing to compare with
    assert "0 files; 5 were there already" in cli(*command).out


def test_a_header_that_only_estimates_the_length_is_no_other_recording(
    cli, tmp_path: Path, speech_path: Path, tiny_model_dir: Path
) -> None:
    """MP3 without the frame that counts the others; and tokens that came through a pipe, counted at their end."""
    folder = tmp_path / "in"
    folder.mkdir()
    samples, _ = soundfile.read(speech_path, frames=48_000)
    whole = io.BytesIO()
    soundfile.write(whole, samples, 24_000, format="MP3", bitrate_mode="CONSTANT", compression_level=0.5)
    data = whole.getvalue()
    (folder / "a.mp3").write_bytes(data[data.index(data[:2], 48) :] + bytes(20_000))  # what follows is taken for frames
    soundfile.write(folder / "b.wav", samples, 24_000)
    command = ("encode", folder, "-o", tmp_path / "tokens", "--model", tiny_model_dir)
    cli(*command)
    assert info(folder / "a.mp3").num_samples != read_tokens(tmp_path / "tokens" / "a.mp3.svq").num_samples
    recording = read_tokens(tmp_path / "tokens" / "b.wav.svq")
    with (tmp_path / "tokens" / "b.wav.svq").open("wb") as file:
        writer = TokenWriter(file, replace(recording.header, num_samples=None))
        writer.write(recording.tokens)
        writer.finish(48_000)
    assert "0 files; 2 were there already" in cli(*command).out


@pytest.mark.parametrize("options", [(), ("--jobs", 2), ("--batch", 60)])
def test_what_recordings_need_is_said_once(
    cli, tmp_path: Path, recordings: Path, tiny_model_dir: Path, options: tuple[object, ...]
) -> None:
    samples, _ = soundfile.read(recordings / "a.wav")
    for name in ("1.wav", "2.flac"):
        soundfile.write(recordings / name, np.stack([samples, samples], axis=1), 16_000)
    soundfile.write(recordings / "3.wav", samples, 8000)
    outcome = cli("encode", recordings, "-o", tmp_path / "tokens", "--model", tiny_model_dir, *options)
    assert outcome.code == 0
    assert outcome.err == (
        "2 files: down-mixed 2 channels to mono, resampled 16000 Hz to 24000 Hz\n"
        "1 files: resampled 8000 Hz to 24000 Hz\n"
    )
    # One file by itself is named.
    outcome = cli("encode", recordings / "3.wav", "-o", tmp_path / "3.svq", "--model", tiny_model_dir)
    assert outcome.err == f"{recordings / '3.wav'}: resampled 8000 Hz to 24000 Hz\n"


def test_links_are_followed_but_loops_are_not(cli, tmp_path: Path, recordings: Path, tiny_model_dir: Path) -> None:
    shutil.move(recordings / "deep", tmp_path / "elsewhere")
    (recordings / "deep").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "up").symlink_to(recordings)
    (recordings / "again").symlink_to(recordings)
    (recordings / "self").symlink_to("self")
    outcome = cli("encode", recordings, "-o", tmp_path / "tokens", "--model", tiny_model_dir)
    assert outcome.code == 0
    assert files(tmp_path / "tokens") == sorted(f"{name}.svq" for name in NAMES)


def test_an_output_inside_the_input_is_not_read_again(
    cli, recordings: Path, tiny_model_dir: Path, tmp_path: Path
) -> None:
    cli("encode", recordings, "-o", tmp_path / "tokens", "--model", tiny_model_dir)
    command = ("decode", tmp_path / "tokens", "-o", tmp_path / "tokens" / "out", "--model", tiny_model_dir)
    assert "5 files" in cli(*command).out
    command = ("encode", tmp_path / "tokens", "-o", tmp_path / "tokens" / "out", "--model", tiny_model_dir)
    cli(*command).must_be_mistake("no file to read below it")


def test_a_link_to_itself(cli, tmp_path: Path, recordings: Path, tiny_model_dir: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (recordings / "loop.wav").symlink_to("loop.wav")
    outcome = cli("encode", recordings, "-o", tmp_path / "tokens", "--model", tiny_model_dir)
    assert outcome.code == 2
    assert outcome.err.startswith(
        f"error: {recordings / 'loop.wav'}: cannot be read (Too many levels of symbolic links)"
    )
    assert outcome.out.endswith("; 1 failed\n") and "5 files" in outcome.out
    for args in ((tmp_path / "loop", "-o", tmp_path / "x"), (tmp_path / "loop", "-o", tmp_path / "x.svq")):
        assert cli("encode", *args, "--model", tiny_model_dir).code == 2
    outcome = cli("encode", recordings, "-o", tmp_path / "loop", "--model", tiny_model_dir)
    assert outcome.code == 2 and outcome.err.count("\n") == 6 and "Traceback" not in outcome.err


def test_a_name_that_is_no_text(cli, tmp_path: Path, recordings: Path, tiny_model_dir: Path) -> None:
    """Linux file names are bytes; these are no UTF-8."""
    name = os.fsdecode(b"caf\xe9.wav")
    shutil.copy(recordings / "a.wav", recordings / name)
    outcome = cli("encode", recordings, "-o", tmp_path / "tokens", "--model", tiny_model_dir)
    assert outcome.code == 0, outcome
    assert read_tokens(tmp_path / "tokens" / f"{name}.svq").is_whole


def test_mistakes(cli, tmp_path: Path, recordings: Path, tiny_model_dir: Path) -> None:
    def refused(*args: object) -> None:
        *arguments, parts = args
        cli(*arguments, "--model", tiny_model_dir).must_be_mistake(*parts)

    refused("encode", recordings / "empty", "-o", tmp_path / "x", ("no file to read below it", ".wav, .flac"))
    refused("decode", recordings, "-o", tmp_path / "x", ("no file to read below it; looked for .svq",))
    refused("encode", recordings, "-o", recordings / "a.wav", ("a.wav: is a file", "needs a folder"))
    refused("encode", recordings, "-o", recordings, ("is the input folder; give another",))
    refused("encode", recordings, ("is a folder; give a folder for its output with -o",))
    refused("encode", recordings, "-o", "-", ("is a folder; give a folder",))
    (tmp_path / "tokens").mkdir()
    for name in ("a.svq", "a.wav.svq"):
        (tmp_path / "tokens" / name).touch()
    refused("decode", tmp_path / "tokens", "-o", tmp_path / "x", ("a.wav.svq and", "a.svq would both become"))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("jobs", [1, 2])
def test_batches_are_what_single_files_are(
    cli, tmp_path: Path, recordings: Path, tiny_model_dir: Path, jobs: int
) -> None:
    (recordings / "broken.wav").write_text("no audio")
    broken_inside = np.zeros(9_001, np.float32)
    broken_inside[5] = np.nan
    soundfile.write(recordings / "nan.wav", broken_inside, 24_000, subtype="FLOAT")
    model = ("--model", tiny_model_dir, "--device", "cpu")
    assert "5 files" in cli("encode", recordings, "-o", tmp_path / "single", *model).out
    outcome = cli("encode", recordings, "-o", tmp_path / "together", *model, "--batch", 1.2, "--jobs", jobs)
    assert outcome.code == 2 and "5 files" in outcome.out and outcome.out.endswith("; 2 failed\n")
    assert "broken.wav" in outcome.err and "sample 5 is NaN" in outcome.err
    assert files(tmp_path / "together") == files(tmp_path / "single")
    for name in NAMES:
        svq = (tmp_path / folder / f"{name}.svq" for folder in ("single", "together"))
        assert len({path.read_bytes() for path in svq}) == 1

    damaged = tmp_path / "together" / "a.wav.svq"
    damaged.write_bytes(damaged.read_bytes()[:-30])
    assert "5 files" in cli("decode", tmp_path / "single", "-o", tmp_path / "one", *model).out
    outcome = cli("decode", tmp_path / "together", "-o", tmp_path / "many", *model, "--batch", 60, "--jobs", jobs)
    assert outcome.code == 2 and "4 files" in outcome.out and "it ends early" in outcome.err
    for path in (tmp_path / "many").rglob("*.*"):
        expected = load(tmp_path / "one" / path.relative_to(tmp_path / "many"), 24_000)
        np.testing.assert_allclose(load(path, 24_000), expected, rtol=0, atol=1e-4)
        assert expected.abs().max() > 0.001


def test_groups_are_neighbours_in_length() -> None:
    tasks = [Task(Path(f"{n}.wav"), Path(f"{n}.svq")) for n in range(7)]
    durations_s = [1.0, 9.0, math.inf, 2.0, 1.5, 30.0, 2.0]
    groups = [[task.source.stem for task in group] for group in by_length(tasks, durations_s, 6.0)]
    assert groups == [["2"], ["5"], ["1"], ["6", "3", "4"], ["0"]]
    assert by_length([], [], 6.0) == []


@pytest.mark.parametrize("batch", [(), ("--batch", 60)], ids=str)
def test_samples_that_overflow_are_that_files_mistake(
    cli, tmp_path: Path, speech_path: Path, tiny_model_dir: Path, batch: tuple[object, ...]
) -> None:
    """Finite in the file, infinite once neighbours or channels are added up."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        shutil.copy(speech_path, folder / f"good{number}.flac")
    huge = np.full(8_000, 3.4e38, dtype=np.float32)
    soundfile.write(folder / "huge16.wav", huge, 16_000, subtype="FLOAT")
    soundfile.write(folder / "huge stereo.wav", np.stack([huge, huge], axis=1), 24_000, subtype="FLOAT")
    done = cli("encode", folder, "-o", tmp_path / "out", "--model", tiny_model_dir, *batch)
    assert done.code == 2 and "3 files" in done.out and "2 failed" in done.out
    assert files(tmp_path / "out") == [f"good{number}.flac.svq" for number in range(3)]
    for name in ("huge16.wav", "huge stereo.wav"):
        assert f"{name}: samples after 0.0 s are too large to be mixed down or resampled" in done.err


def test_recordings_of_kinds_that_are_not_read_are_no_silent_loss(
    cli, tmp_path: Path, speech_path: Path, tiny_model_dir: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    samples, _ = soundfile.read(speech_path, frames=9_000)
    for suffix in ("aiff", "caf", "au", "w64"):
        soundfile.write(folder / f"a.{suffix}", samples, 24_000)
    (folder / "b.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(400))
    done = cli("encode", folder, "-o", tmp_path / "out", "--model", tiny_model_dir)
    assert done.code == 2 and "4 files" in done.out and "1 failed" in done.out
    assert "b.m4a: not audio that can be read" in done.err
    assert len({(tmp_path / "out" / f"a.{suffix}.svq").read_bytes() for suffix in ("aiff", "caf", "au", "w64")}) == 1

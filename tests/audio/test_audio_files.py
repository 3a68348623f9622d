from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from codec import audio
from codec.audio.blocks import reading
from codec.errors import CodecError

CORPUS = Path(__file__).parents[2] / "egs" / "mini" / "corpus"


def save(path: Path, samples: np.ndarray, sample_rate: int, **kind: str) -> Path:
    """Write (T,) or (T, C) in blocks: libsndfile's Vorbis encoder does not survive a long one."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    with soundfile.SoundFile(path, "w", sample_rate, channels, **kind) as file:
        for start in range(0, len(samples), 50_000):
            file.write(samples[start : start + 50_000])
    return path


def one_line(error: pytest.ExceptionInfo[CodecError], *parts: str) -> None:
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


# -- reading ----------------------------------------------------------------------------------------------------------


def test_info_and_read_agree(speech_path: Path) -> None:
    facts = audio.info(speech_path)
    samples, sample_rate = audio.read(speech_path)
    assert samples.shape == (facts.channels, facts.num_samples)
    assert samples.dtype == torch.float32
    assert sample_rate == facts.sample_rate == 24_000
    assert facts.duration_s == facts.num_samples / 24_000
    assert 0.05 < samples.abs().max() <= 1


def test_channels_come_first(tmp_path: Path) -> None:
    path = save(tmp_path / "a.wav", np.array([[0.0, 0.5], [0.25, -0.5], [0.125, 0.75]], np.float32), 8000)
    samples, _ = audio.read(path)
    assert samples.tolist() == [[0.0, 0.25, 0.125], [0.5, -0.5, 0.75]]


@pytest.mark.parametrize("path", sorted(CORPUS.glob("train-mini/**/*.ogg"))[::12], ids=lambda path: path.stem)
def test_segments_of_opus_recordings_are_those_of_the_whole(path: Path) -> None:
    whole, _ = audio.read(path)
    generator = np.random.default_rng(0)
    for _ in range(8):
        start, stop = sorted(generator.integers(0, whole.shape[1], 2).tolist())
        segment, _ = audio.read(path, start, stop - start + 1)
        torch.testing.assert_close(segment, whole[:, start : stop + 1], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "kind", "tolerance"),
    [
        ("a.wav", {}, 0.0),
        ("a.flac", {}, 0.0),
        ("a.ogg", {"format": "OGG", "subtype": "VORBIS"}, 0.0),
        ("a.mp3", {"format": "MP3"}, 1e-6),
        ("b.ogg", {"format": "OGG", "subtype": "OPUS"}, 3e-3),
    ],
)
@pytest.mark.parametrize("sample_rate", [8000, 24_000])
def test_segments_are_those_of_the_whole(
    tmp_path: Path, name: str, kind: dict[str, str], tolerance: float, sample_rate: int
) -> None:
    # Long enough for many Ogg pages. Segments up to the end: there a plain seek in Vorbis gives other samples.
    clips = [audio.read(path)[0][0].numpy() for path in sorted(CORPUS.glob("test-mini/**/*.flac"))[:6]]
    path = save(tmp_path / name, np.concatenate(clips), sample_rate, **kind)
    whole, _ = audio.read(path)
    T = whole.shape[1]
    generator = np.random.default_rng(1)
    starts = [*generator.integers(0, T, 10).tolist(), *(T - generator.integers(1, 2 * sample_rate, 20)).tolist(), T - 1]
    for start in starts:
        segment, _ = audio.read(path, start, 4000)
        assert segment.shape[1] == min(4000, T - start)
        torch.testing.assert_close(segment, whole[:, start : start + 4000], rtol=0, atol=tolerance)


def test_a_segment_does_not_decode_the_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.flac", np.zeros(500_000, np.float32), 24_000)
    decoded = []
    read = soundfile.SoundFile.read

    def counting(self: soundfile.SoundFile, frames: int, **options: object) -> np.ndarray:
        decoded.append(frames)
        return read(self, frames, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", counting)
    audio.read(path, 300_000, 1000)
    assert sum(decoded) == 1000


def test_a_file_longer_than_one_block_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio.blocks, "_READ_BLOCK", 1000)
    samples = np.arange(-5005, 5006, dtype=np.float32) / 8192
    path = save(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    assert np.array_equal(audio.read(path)[0][0].numpy(), samples)
    assert np.array_equal(audio.read(path, 1500, 2000)[0][0].numpy(), samples[1500:3500])


@pytest.mark.parametrize("start", [-1, 10, 11])
def test_a_start_outside_the_file_is_refused(tmp_path: Path, start: int) -> None:
    path = save(tmp_path / "a.wav", np.zeros(10, np.float32), 8000)
    with pytest.raises(CodecError) as error:
        audio.read(path, start)
    one_line(error, "a.wav", f"sample {start}", "0 to 9")


def test_asking_for_no_samples_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.wav", np.zeros(10, np.float32), 8000)
    with pytest.raises(CodecError, match="at least one"):
        audio.read(path, 0, 0)


def make_missing(folder: Path) -> Path:
    return folder / "missing.wav"


def make_long_name(folder: Path) -> Path:
    return folder / f"{'a' * 300}.wav"


def make_folder(folder: Path) -> Path:
    (folder / "folder.wav").mkdir()
    return folder / "folder.wav"


def make_text(folder: Path) -> Path:
    (folder / "text.wav").write_text("This is no audio.\n")
    return folder / "text.wav"


def make_raw(folder: Path) -> Path:
    (folder / "speech.raw").write_bytes(b"\1\2" * 100)
    return folder / "speech.raw"


def make_empty(folder: Path) -> Path:
    (folder / "empty.wav").touch()
    return folder / "empty.wav"


def make_sampleless(folder: Path) -> Path:
    return save(folder / "nothing.wav", np.zeros(0, np.float32), 8000)


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (make_long_name, ("aaa.wav", "too long", "give an existing audio file")),
        (make_missing, ("missing.wav", "No such file", "give an existing audio file")),
        (make_folder, ("folder.wav", "is a folder", "give an audio file")),
        (make_text, ("text.wav", "not audio", "expected wav, flac, ogg or mp3")),
        (make_raw, ("speech.raw", "not audio", "expected wav, flac, ogg or mp3")),
        (make_empty, ("empty.wav", "0 bytes", "give an audio file with samples")),
        (make_sampleless, ("nothing.wav", "no samples", "at least one")),
    ],
)
def test_what_is_no_recording_gives_one_line(tmp_path: Path, make, parts: tuple[str, ...]) -> None:
    path = make(tmp_path)
    for attempt in (audio.info, audio.read, lambda path: audio.load(path, 24_000)):
        with pytest.raises(CodecError) as error:
            attempt(path)
        one_line(error, *parts)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_samples_that_are_not_finite_are_named(tmp_path: Path, value: float) -> None:
    samples = np.zeros(100, np.float32)
    samples[37:] = value
    path = save(tmp_path / "a.wav", samples, 8000, subtype="FLOAT")
    assert audio.read(path, 0, 37)[0].shape == (1, 37)
    for start in (0, 20):
        with pytest.raises(CodecError) as error:
            audio.read(path, start)
        one_line(error, "a.wav", "sample 37 is NaN or infinite", "repair the recording or leave it out")


def test_a_flac_file_cut_short_is_damaged(tmp_path: Path, speech_path: Path) -> None:
    data = speech_path.read_bytes()
    path = tmp_path / "cut.flac"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(CodecError) as error:
        audio.read(path)
    one_line(error, "cut.flac", "cannot be decoded", "damaged")


def test_an_mp3_file_cut_short_is_damaged(tmp_path: Path, speech: Tensor) -> None:
    data = save(tmp_path / "whole.mp3", speech.numpy(), 24_000, format="MP3").read_bytes()
    path = tmp_path / "cut.mp3"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(CodecError) as error:
        audio.read(path)
    one_line(error, "cut.mp3", "of 48000 samples", "damaged")


@pytest.mark.parametrize("promised", [None, (1 << 32) - 1, (1 << 31) - 1])
def test_a_wave_file_cut_short_is_read_with_a_warning(
    tmp_path: Path, speech: Tensor, caplog: pytest.LogCaptureFixture, promised: int | None
) -> None:
    """None: cut in the middle of a sample. Else the header leaves the length open, and there is nothing to warn of."""
    path = tmp_path / "a.wav"
    soundfile.write(path, speech[:5000].numpy(), 24_000)
    data = path.read_bytes()
    path.write_bytes(data[:6043] if promised is None else data[:40] + promised.to_bytes(4, "little") + data[44:])
    expected = 2999 if promised is None else 5000
    assert len(audio.load(path, 24_000)) == expected
    with reading(path, 24_000) as reader:
        assert sum(map(len, reader.blocks())) == expected == reader.num_given
    says = f"{path}: was cut short, its header promises 4001 bytes more; get it again"
    assert caplog.messages == ([says] * 2 if promised is None else [])


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg", ".aiff", ".au"])
def test_a_whole_file_is_no_reason_to_warn(
    tmp_path: Path, speech: Tensor, caplog: pytest.LogCaptureFixture, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, speech.numpy(), 24_000)
    audio.load(path, 24_000)
    assert not caplog.messages


@pytest.mark.parametrize("coding", ["VORBIS", "OPUS"])
def test_an_ogg_file_cut_short_is_read_with_a_warning(
    tmp_path: Path, speech: Tensor, caplog: pytest.LogCaptureFixture, coding: str
) -> None:
    path = tmp_path / "a.ogg"
    data = save(path, speech.repeat(3).numpy(), 24_000, format="OGG", subtype=coding).read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    assert 0 < len(audio.load(path, 24_000)) < 3 * len(speech)
    assert caplog.messages == [f"{path}: was cut short, its last page is missing; get it again"]


def without_count(path: Path) -> bytes:
    """An MP3 file without its first frame, which counts the samples."""
    data = path.read_bytes()
    return data[data.index(data[:2], 48) :]


def mp3(path: Path, samples: np.ndarray) -> Path:
    return save(path, samples, 24_000, format="MP3", bitrate_mode="VARIABLE", compression_level=0.5)


def test_more_samples_than_an_mp3_header_counts_are_told(
    tmp_path: Path, speech: Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    path = mp3(tmp_path / "a.mp3", speech.numpy())
    path.write_bytes(path.read_bytes() * 3)
    assert len(audio.load(path, 24_000)) == 48_000
    assert caplog.messages == [
        f"{path}: only 2.00 s of 6.24 s are read, as its header counts no more; convert it to wave first"
    ]


def test_an_mp3_that_no_header_counts_is_read_as_far_as_libsndfile_does(
    tmp_path: Path, speech: Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    """libsndfile estimates by the first frames: too few samples where these have more bits than others, or too many."""
    loud, quiet = speech.numpy(), 1e-4 * speech.numpy()
    path = mp3(tmp_path / "a.mp3", np.concatenate([loud, quiet]))
    path.write_bytes(without_count(path))
    read = len(audio.load(path, 24_000))
    assert read < 96_000
    assert f"{path}: only {read / 24_000:.2f} s of 4.0" in caplog.text
    assert "as no header counts its samples" in caplog.text

    caplog.clear()
    path = mp3(path, np.concatenate([quiet, loud]))
    path.write_bytes(without_count(path))
    assert audio.info(path).num_samples > 200_000
    assert 96_000 <= len(audio.load(path, 24_000)) == audio.read(path)[0].shape[1] < 100_000
    assert not caplog.messages


@pytest.mark.parametrize("coding", ["VORBIS", "OPUS"])
def test_a_second_recording_in_an_ogg_file_is_told(
    tmp_path: Path, speech: Tensor, caplog: pytest.LogCaptureFixture, coding: str
) -> None:
    path = save(tmp_path / "a.ogg", speech.numpy(), 24_000, format="OGG", subtype=coding)
    path.write_bytes(path.read_bytes() * 2)
    assert len(audio.load(path, 24_000)) == len(speech)
    says = f"{path}: only the first of several recordings in it is read; convert it to wave first"
    assert caplog.messages == [says]


def test_a_wave_header_left_at_zero_says_how_to_repair_the_file(tmp_path: Path, speech: Tensor) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, speech[:5000].numpy(), 24_000)
    data = path.read_bytes()
    path.write_bytes(data[:40] + bytes(4) + data[44:])
    with pytest.raises(CodecError) as error:
        audio.load(path, 24_000)
    one_line(error, "a.wav", "promises no sample", "10000 bytes follow", "sox --ignore-length")


def test_a_header_that_claims_too_much_costs_no_memory(tmp_path: Path, speech_path: Path) -> None:
    data = bytearray(speech_path.read_bytes())
    data[21] |= 0x0F  # the top four bits of the 36 that count samples, in FLAC's STREAMINFO
    path = tmp_path / "claims.flac"
    path.write_bytes(data)
    assert audio.info(path).num_samples > 60_000_000_000  # 240 GB in float32
    with pytest.raises(CodecError) as error:
        audio.read(path)
    one_line(error, "claims.flac", "damaged")


# -- down-mixing and resampling ---------------------------------------------------------------------------------------


def test_to_mono_is_the_mean() -> None:
    assert audio.to_mono(torch.tensor([[1.0, 0.0], [0.0, -0.5]])).tolist() == [0.5, -0.25]


RATES = [8000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3000), st.sampled_from(RATES), st.sampled_from(RATES))
def test_resampled_length_is_exact(T: int, from_rate: int, to_rate: int) -> None:
    resampled = audio.resample(torch.ones(2, T), from_rate, to_rate)
    assert resampled.shape == (2, math.ceil(T * to_rate / from_rate))


@pytest.mark.parametrize(("T", "from_rate", "to_rate"), [(16_777_301, 16_000, 8000), (20_000_003, 24_000, 8000)])
def test_resampled_length_is_exact_beyond_float32(T: int, from_rate: int, to_rate: int) -> None:
    assert audio.resample(torch.zeros(T), from_rate, to_rate).shape == (-(-T * to_rate // from_rate),)


def test_resampling_keeps_a_tone() -> None:
    def tone(sample_rate: int) -> Tensor:
        return torch.sin(2 * math.pi * 440 * torch.arange(sample_rate) / sample_rate)

    resampled = audio.resample(tone(44_100), 44_100, 24_000)
    middle = slice(1000, -1000)
    torch.testing.assert_close(resampled[middle], tone(24_000)[middle], rtol=0, atol=1e-3)


def test_resampling_to_the_same_rate_changes_nothing(speech: Tensor) -> None:
    assert audio.resample(speech, 24_000, 24_000) is speech


@pytest.mark.parametrize(("from_rate", "to_rate"), [(0, 24_000), (24_000, -1), (44_100.5, 24_000)])
def test_rates_that_cannot_be_resampled_are_refused(from_rate: float, to_rate: int) -> None:
    with pytest.raises(CodecError) as error:
        audio.resample(torch.zeros(10), from_rate, to_rate)
    one_line(error, f"{from_rate} Hz to {to_rate} Hz")


def test_load_says_what_it_changed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = save(tmp_path / "a.wav", np.zeros((801, 2), np.float32), 8000)
    with caplog.at_level(logging.INFO, "codec.audio"):
        assert audio.load(path, 24_000).shape == (2403,)
    assert caplog.messages == [f"{path}: down-mixed 2 channels to mono, resampled 8000 Hz to 24000 Hz"]


def test_load_is_silent_when_nothing_changes(speech_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "codec.audio"):
        loaded = audio.load(speech_path, 24_000)
    assert torch.equal(loaded, audio.read(speech_path)[0][0])
    assert not caplog.messages


# -- writing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "coding", "tolerance"),
    [("a.wav", "PCM_16", 1e-4), ("a.flac", "PCM_16", 1e-4), ("a.ogg", "VORBIS", 0.1), ("A.WAV", "PCM_16", 1e-4)],
)
def test_written_audio_comes_back(tmp_path: Path, speech: Tensor, name: str, coding: str, tolerance: float) -> None:
    path = tmp_path / "new" / name
    audio.write(path, speech, 24_000)
    assert soundfile.info(path).subtype == coding
    samples, sample_rate = audio.read(path)
    assert sample_rate == 24_000
    torch.testing.assert_close(samples, speech.unsqueeze(0), rtol=0, atol=tolerance)
    assert [child.name for child in path.parent.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg"])
def test_one_sample_is_a_file(tmp_path: Path, name: str) -> None:
    audio.write(tmp_path / name, torch.zeros(1), 24_000)
    assert audio.read(tmp_path / name)[0].shape == (1, 1)


def test_channels_are_written_in_order(tmp_path: Path) -> None:
    samples = torch.tensor([[0.0, 0.25, 0.5], [0.5, -0.5, 0.0]])
    audio.write(tmp_path / "a.wav", samples, 8000)
    torch.testing.assert_close(audio.read(tmp_path / "a.wav")[0], samples, rtol=0, atol=1e-4)


def test_clipping_is_limited_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    audio.write(tmp_path / "a.wav", torch.tensor([0.5, -1.75, 1.5]), 8000)
    assert caplog.messages == [f"{tmp_path / 'a.wav'}: clipped, the peak is 1.75 of full scale"]
    torch.testing.assert_close(audio.read(tmp_path / "a.wav")[0][0], torch.tensor([0.5, -1, 1]), rtol=0, atol=1e-4)


def test_clipping_is_the_same_in_a_lossy_file(tmp_path: Path) -> None:
    audio.write(tmp_path / "a.ogg", 10 * torch.sin(torch.arange(24_000) / 10), 24_000)
    assert audio.read(tmp_path / "a.ogg")[0].abs().max() < 2


def test_full_scale_does_not_clip(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    audio.write(tmp_path / "a.wav", torch.tensor([1.0, -1.0]), 8000)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("name", "samples", "sample_rate", "parts"),
    [
        ("a.mp3", torch.zeros(5), 24_000, ("a.mp3", ".mp3", ".wav, .flac, .ogg")),
        ("a", torch.zeros(5), 24_000, ("without suffix", ".wav, .flac, .ogg")),
        ("a.wav", torch.zeros(0), 24_000, ("(0,)", "expected (T,) or (C, T)")),
        ("a.wav", torch.zeros(1, 1, 5), 24_000, ("(1, 1, 5)", "expected (T,) or (C, T)")),
        ("a.wav", torch.tensor([0.0, math.nan]), 24_000, ("a.wav", "NaN or infinite")),
        ("a.wav", torch.ones(5, dtype=torch.int16), 24_000, ("a.wav", "torch.int16", "floats in [-1, 1]; divide")),
        ("a.wav", torch.zeros(5), 24_000.5, ("a.wav", "24000.5 Hz", "a whole number")),
        ("a.flac", torch.zeros(5), 4_000_000, ("a.flac", "4000000 Hz", "try .wav")),
        ("file/a.wav", torch.zeros(5), 24_000, ("file/a.wav", "choose a writable folder")),
    ],
)
def test_what_cannot_be_written_leaves_nothing(
    tmp_path: Path, name: str, samples: Tensor, sample_rate: float, parts: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_text("a regular file, not a folder")
    with pytest.raises(CodecError) as error:
        audio.write(tmp_path / name, samples, sample_rate)
    one_line(error, *parts)
    assert [child.name for child in tmp_path.iterdir()] == ["file"]

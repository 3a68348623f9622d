from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from codec import Codec
from codec.audio import info, load
from codec.bitstream import HEADER_SIZE, Header, write_tokens
from codec.streaming import DEFAULT_WINDOWS, Windows, decode_chunks

BLOCK = 20  # frames: two seconds are 150 frames in 8 blocks
BLOCK_BYTES = 6 + BLOCK * 6 // 8


@pytest.fixture
def tokens(tiny_codec: Codec, speech: Tensor) -> Tensor:
    """Of two seconds of speech, (1, 150)."""
    return tiny_codec.encode(speech).tokens


@pytest.fixture
def tokens_path(tmp_path: Path, tiny_codec: Codec, tokens: Tensor) -> Path:
    """A file whose last frame is not full."""
    header = Header(tiny_codec.token_fingerprint, 24_000, 320, 64, 48_000 - 100, BLOCK)
    write_tokens(tmp_path / "a.svq", header, tokens[0].numpy())
    return tmp_path / "a.svq"


def decoded(codec: Codec, tokens: Tensor) -> np.ndarray:
    return codec.decode(tokens)[0, 0].numpy()


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "new/folder/a.wav"])
def test_the_length_is_exact(
    cli, tmp_path: Path, tiny_codec: Codec, tiny_model_dir: Path, tokens: Tensor, tokens_path: Path, name: str
) -> None:
    outcome = cli("decode", tokens_path, "-o", tmp_path / name, "--model", tiny_model_dir)
    assert outcome.code == 0
    samples, sample_rate = soundfile.read(tmp_path / name, dtype="float32")
    assert sample_rate == 24_000
    np.testing.assert_allclose(samples, decoded(tiny_codec, tokens)[:47_900].clip(-1, 1), atol=1e-4)


def test_another_model_is_refused_by_name(
    cli, tmp_path: Path, tiny_codec: Codec, tiny_model_dir: Path, tokens_path: Path
) -> None:
    with torch.no_grad():
        next(tiny_codec.parameters()).add_(1e-3)
    tiny_codec.save_pretrained(tmp_path / "other")
    made_by = Codec.from_pretrained(tiny_model_dir).token_fingerprint
    outcome = cli("decode", tokens_path, "-o", tmp_path / "a.wav", "--model", tmp_path / "other")
    outcome.must_be_mistake(
        str(tokens_path), made_by, str(tmp_path / "other"), tiny_codec.token_fingerprint, "decode with the model that"
    )
    assert not (tmp_path / "a.wav").exists()


def test_a_truncated_file_is_refused(cli, tmp_path: Path, tiny_model_dir: Path, tokens_path: Path) -> None:
    data = tokens_path.read_bytes()
    tokens_path.write_bytes(data[: HEADER_SIZE + 3 * BLOCK_BYTES + 5])
    outcome = cli("decode", tokens_path, "-o", tmp_path / "a.wav", "--model", tiny_model_dir)
    outcome.must_be_mistake(str(tokens_path), "ends early, after 60 frames (0.80 s) of 150", "--partial")
    assert not (tmp_path / "a.wav").exists()


def test_partial_decodes_the_whole_part_of_a_truncated_file(
    cli, tmp_path: Path, tiny_codec: Codec, tiny_model_dir: Path, tokens: Tensor, tokens_path: Path
) -> None:
    data = tokens_path.read_bytes()
    tokens_path.write_bytes(data[: HEADER_SIZE + 3 * BLOCK_BYTES + 5])
    outcome = cli("decode", tokens_path, "-o", tmp_path / "a.wav", "--model", tiny_model_dir, "--partial")
    assert outcome.code == 0
    assert outcome.err.startswith(f"warning: {tokens_path}: it ends early, after 60 frames")
    samples, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    np.testing.assert_allclose(samples, decoded(tiny_codec, tokens[:, :60]).clip(-1, 1), atol=1e-4)


def test_partial_keeps_the_place_of_what_follows_a_gap(
    cli, tmp_path: Path, tiny_codec: Codec, tiny_model_dir: Path, tokens: Tensor, tokens_path: Path
) -> None:
    data = bytearray(tokens_path.read_bytes())
    data[HEADER_SIZE + 2 * BLOCK_BYTES + 9] ^= 1
    tokens_path.write_bytes(data)
    refused = cli("decode", tokens_path, "-o", tmp_path / "a.wav", "--model", tiny_model_dir)
    refused.must_be_mistake("frames 40 to 59 (0.53 s to 0.80 s) are damaged")
    outcome = cli("decode", tokens_path, "-o", tmp_path / "a.wav", "--model", tiny_model_dir, "--partial")
    assert outcome.code == 0
    samples, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    assert len(samples) == 47_900
    first, second = decoded(tiny_codec, tokens[:, :40]).clip(-1, 1), decoded(tiny_codec, tokens[:, 60:]).clip(-1, 1)
    np.testing.assert_allclose(samples[: 40 * 320], first, atol=1e-4)
    assert not samples[40 * 320 : 60 * 320].any()
    np.testing.assert_allclose(samples[60 * 320 :], second[:-100], atol=1e-4)


def test_partial_of_nothing_is_refused(cli, tmp_path: Path, tiny_model_dir: Path, tokens_path: Path) -> None:
    tokens_path.write_bytes(tokens_path.read_bytes()[:HEADER_SIZE])
    outcome = cli("decode", tokens_path, "-o", tmp_path / "a.wav", "--model", tiny_model_dir, "--partial")
    outcome.must_be_mistake("ends early, after 0 frames", "no frame to decode")


def test_a_recording_of_no_samples_is_refused(cli, tmp_path: Path, tiny_codec: Codec, tiny_model_dir: Path) -> None:
    path = tmp_path / "none.svq"
    write_tokens(path, Header(tiny_codec.token_fingerprint, 24_000, 320, 64, 0), np.zeros(0, np.int64))
    outcome = cli("decode", path, "-o", tmp_path / "a.wav", "--model", tiny_model_dir)
    outcome.must_be_mistake(str(path), "the recording has no samples", "no frame to decode")
    assert not (tmp_path / "a.wav").exists()


def test_audio_is_no_token_file(cli, tmp_path: Path, speech_path: Path, tiny_model_dir: Path) -> None:
    outcome = cli("decode", speech_path, "-o", tmp_path / "a.wav", "--model", tiny_model_dir)
    outcome.must_be_mistake(str(speech_path), "not a .svq file")


def test_a_missing_file(cli, tmp_path: Path, tiny_model_dir: Path) -> None:
    outcome = cli("decode", tmp_path / "b.svq", "-o", tmp_path / "a.wav", "--model", tiny_model_dir)
    outcome.must_be_mistake("b.svq", "No such file", "give an existing .svq file")


def test_a_suffix_that_is_not_written_is_refused_before_any_work(cli, tmp_path: Path, tokens_path: Path) -> None:
    outcome = cli("decode", tokens_path, "-o", tmp_path / "a.mp3", "--model", tmp_path / "no such model")
    outcome.must_be_mistake("a.mp3", ".wav, .flac, .ogg")


def test_an_existing_output_is_kept_without_force(cli, tmp_path: Path, tiny_model_dir: Path, tokens_path: Path) -> None:
    output = tmp_path / "a.wav"
    output.write_text("precious")
    cli("decode", tokens_path, "-o", output, "--model", tiny_model_dir).must_be_mistake("exists already", "--force")
    assert output.read_text() == "precious"
    assert cli("decode", tokens_path, "-o", output, "--model", tiny_model_dir, "--force").code == 0
    assert info(output).num_samples == 47_900


def test_an_output_that_cannot_be_written(cli, tmp_path: Path, tiny_model_dir: Path, tokens_path: Path) -> None:
    (tmp_path / "file").write_text("a regular file")
    outcome = cli("decode", tokens_path, "-o", tmp_path / "file" / "a.wav", "--model", tiny_model_dir)
    outcome.must_be_mistake("file/a.wav", "cannot write there", "choose another place")


def test_an_interrupted_decode_leaves_nothing(
    cli, tmp_path: Path, tiny_model_dir: Path, tokens_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = soundfile.SoundFile.write

    def interrupted(self: soundfile.SoundFile, data: np.ndarray) -> None:
        write(self, data[: len(data) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(soundfile.SoundFile, "write", interrupted)
    outcome = cli("decode", tokens_path, "-o", tmp_path / "a.wav", "--model", tiny_model_dir)
    assert outcome.code == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.svq", "model"]


def test_a_window_of_another_length(
    cli, tmp_path: Path, tiny_codec: Codec, tiny_model_dir: Path, tokens: Tensor, tokens_path: Path
) -> None:
    model = ("--model", tiny_model_dir, "-o", tmp_path / "out.wav", "--force")
    heard = {}
    for window_s in (None, 0.4):
        found = cli("decode", tokens_path, *model, *(() if window_s is None else ("--window", window_s)))
        assert found.code == 0
        windows = DEFAULT_WINDOWS if window_s is None else Windows.of(window_s)
        heard[window_s] = load(tmp_path / "out.wav", 24_000)
        expected = torch.cat(list(decode_chunks(tiny_codec, [tokens[0]], windows)))[: len(heard[window_s])]
        torch.testing.assert_close(heard[window_s], expected, atol=2**-15, rtol=0)
    assert not torch.equal(heard[None], heard[0.4])
    short = cli("decode", tokens_path, *model, "--window", 0.01)
    assert short.code == 2 and "window_s=0.01" in short.err

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from codec import Codec
from codec.audio import info, load
from codec.bitstream import HEADER_SIZE, TokenWriter, read_tokens
from codec.cli.console import console


def test_speech_there_and_back(cli, tmp_path: Path, speech_path: Path, tiny_codec: Codec, tiny_model_dir: Path) -> None:
    tokens_path, audio_path = tmp_path / "a.svq", tmp_path / "a.wav"
    T = info(speech_path).num_samples
    F = -(-T // 320)

    encoded = cli("encode", speech_path, "-o", tokens_path, "--model", tiny_model_dir, "--device", "cpu")
    assert encoded.code == 0
    assert encoded.err == ""
    size = tokens_path.stat().st_size
    facts = rf"{T / 24_000:.2f} s, {F} tokens, {size} bytes, {8 * size * 24_000 / T:.0f} bit/s, \d+\.\d times real time"
    assert re.fullmatch(rf"{re.escape(str(tokens_path))}: {facts}\n", encoded.out)

    recording = read_tokens(tokens_path)
    assert recording.is_whole
    assert recording.header.fingerprint == tiny_codec.token_fingerprint
    assert recording.header.sample_rate == 24_000
    assert recording.header.hop_length == 320
    assert recording.header.codebook_size == 64
    assert recording.num_samples == T
    expected = tiny_codec.encode(load(speech_path, 24_000)).tokens[0]
    assert recording.tokens.tolist() == expected.tolist()

    decoded = cli("decode", tokens_path, "-o", audio_path, "--model", tiny_model_dir, "--device", "cpu")
    assert decoded.code == 0
    assert re.fullmatch(rf"{re.escape(str(audio_path))}: {facts}\n", decoded.out)
    assert info(audio_path).num_samples == T
    assert info(audio_path).sample_rate == 24_000


def test_what_is_read_is_never_replaced(cli, tmp_path: Path, speech_path: Path, tiny_model_dir: Path) -> None:
    recording, link = tmp_path / "a.svq", tmp_path / "b.svq"  # audio under the name of tokens
    recording.write_bytes(speech_path.read_bytes())
    link.symlink_to(recording)
    for args in ((recording,), (recording, "-o", link), (recording, "-o", recording)):
        for command in ("encode", "decode"):
            outcome = cli(command, *args, "--force", "--model", tiny_model_dir)
            if command == "encode":
                outcome.must_be_mistake("is the file that is read", "give another name with -o")
            assert outcome.code == 2
    tokens = tmp_path / "tokens.wav"  # and the other way round
    cli("encode", speech_path, "-o", tmp_path / "c.svq", "--model", tiny_model_dir)
    (tmp_path / "c.svq").rename(tokens)
    before = tokens.read_bytes()
    outcome = cli("decode", tokens, "-o", tokens, "--force", "--model", tiny_model_dir)
    outcome.must_be_mistake("is the file that is read", "give another name with -o")
    assert tokens.read_bytes() == before and recording.read_bytes() == speech_path.read_bytes()


def test_tokens_are_not_encoded_again(cli, tmp_path: Path, speech_path: Path, tiny_model_dir: Path) -> None:
    tokens = tmp_path / "a.svq"
    cli("encode", speech_path, "-o", tokens, "--model", tiny_model_dir)
    for args in ((tokens,), (tokens, "-o", tmp_path / "b.svq")):
        cli("encode", *args, "--model", tiny_model_dir).must_be_mistake("holds tokens already", "codec decode")


def test_one_sample_keeps_its_length(cli, tmp_path: Path, tiny_model_dir: Path) -> None:
    soundfile.write(tmp_path / "one.wav", np.array([0.5]), 24_000)
    assert cli("encode", tmp_path / "one.wav", "-o", tmp_path / "a.svq", "--model", tiny_model_dir).code == 0
    assert read_tokens(tmp_path / "a.svq").num_samples == 1
    assert cli("decode", tmp_path / "a.svq", "-o", tmp_path / "a.wav", "--model", tiny_model_dir).code == 0
    assert info(tmp_path / "a.wav").num_samples == 1


def test_stereo_at_another_rate_works_and_is_said(cli, tmp_path: Path, stereo_path: Path, tiny_model_dir: Path) -> None:
    encoded = cli("encode", stereo_path, "-o", tmp_path / "a.svq", "--model", tiny_model_dir)
    assert encoded.code == 0
    assert encoded.err == f"{stereo_path}: down-mixed 2 channels to mono, resampled 8000 Hz to 24000 Hz\n"
    assert read_tokens(tmp_path / "a.svq").num_samples == 48_000
    assert cli("decode", tmp_path / "a.svq", "-o", tmp_path / "a.wav", "--model", tiny_model_dir).code == 0
    assert (info(tmp_path / "a.wav").channels, info(tmp_path / "a.wav").num_samples) == (1, 48_000)


def test_brackets_in_a_name_are_no_markup(cli, tmp_path: Path, stereo_path: Path, tiny_model_dir: Path) -> None:
    (tmp_path / "a[").mkdir()
    path = stereo_path.rename(tmp_path / "a[" / "red].wav")  # "[/red]" closes a tag that is not open
    outcome = cli("encode", path, "-o", tmp_path / "[" / "red].svq", "--model", tiny_model_dir)
    assert outcome.code == 0
    assert outcome.err.startswith(f"{path}: down-mixed")
    assert outcome.out.startswith(str(tmp_path / "[" / "red].svq"))


def make_input(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.wav"
    if kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("No audio at all.\n" * 100)
    elif kind == "empty":
        path.touch()
    elif kind == "sampleless":
        soundfile.write(path, np.zeros(0), 24_000)
    elif kind == "nan":
        soundfile.write(path, np.array([0.0, np.nan, 0.0]), 24_000, subtype="FLOAT")
    return path


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("missing", ("missing.wav", "No such file", "give an existing audio file")),
        ("folder", ("folder.wav", "no file to read below it", "looked for .wav, .flac")),
        ("text", ("text.wav", "not audio", "expected wav, flac, ogg or mp3")),
        ("empty", ("empty.wav", "is empty (0 bytes)", "give an audio file with samples")),
        ("sampleless", ("sampleless.wav", "no samples", "at least one")),
        ("nan", ("nan.wav", "sample 1 is NaN", "repair the recording")),
    ],
)
def test_inputs_that_cannot_be_encoded(
    cli, tmp_path: Path, tiny_model_dir: Path, kind: str, parts: tuple[str, ...]
) -> None:
    path = make_input(tmp_path, kind)
    before = sorted(tmp_path.rglob("*"))
    cli("encode", path, "-o", tmp_path / "new" / "a.svq", "--model", tiny_model_dir).must_be_mistake(*parts)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_model_without_weights(cli, tmp_path: Path, speech_path: Path, tiny_model_dir: Path) -> None:
    (tiny_model_dir / "model.safetensors").unlink()
    outcome = cli("encode", speech_path, "-o", tmp_path / "a.svq", "--model", tiny_model_dir)
    outcome.must_be_mistake(str(tiny_model_dir), "model.safetensors", "no such file")
    assert not (tmp_path / "a.svq").exists()


def test_a_model_that_is_not_there(cli, tmp_path: Path, speech_path: Path) -> None:
    outcome = cli("encode", speech_path, "-o", tmp_path / "a.svq", "--model", tmp_path / "nothing")
    outcome.must_be_mistake(str(tmp_path / "nothing"), "no such model")


def test_a_device_that_is_not_there(cli, tmp_path: Path, speech_path: Path, tiny_model_dir: Path) -> None:
    outcome = cli("encode", speech_path, "-o", tmp_path / "a.svq", "--model", tiny_model_dir, "--device", "abacus")
    outcome.must_be_mistake("abacus", "use auto or cpu")


def test_an_existing_output_is_kept_without_force(cli, tmp_path: Path, speech_path: Path, tiny_model_dir: Path) -> None:
    output = tmp_path / "a.svq"
    output.write_text("precious")
    cli("encode", speech_path, "-o", output, "--model", tiny_model_dir).must_be_mistake(
        str(output), "exists already", "--force"
    )
    assert output.read_text() == "precious"
    assert cli("encode", speech_path, "-o", output, "--model", tiny_model_dir, "--force").code == 0
    assert read_tokens(output).is_whole


def test_an_output_that_cannot_be_written(cli, tmp_path: Path, speech_path: Path, tiny_model_dir: Path) -> None:
    (tmp_path / "file").write_text("a regular file")
    for output in (tmp_path / "file" / "a.svq", tmp_path / "file" / "deeper" / "a.svq"):
        outcome = cli("encode", speech_path, "-o", output, "--model", tiny_model_dir)
        outcome.must_be_mistake(str(output), "cannot write there", "choose another place")
    assert (tmp_path / "file").read_text() == "a regular file"


def test_an_output_of_another_kind(cli, tmp_path: Path, speech_path: Path, tiny_model_dir: Path) -> None:
    outcome = cli("encode", speech_path, "-o", tmp_path / "a.wav", "--model", tiny_model_dir)
    outcome.must_be_mistake("a.wav", "ends in .svq")
    assert not (tmp_path / "a.wav").exists()


def test_an_interrupted_encode_leaves_nothing(
    cli, tmp_path: Path, speech_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: TokenWriter, num_samples: int) -> None:
        assert self.num_bytes > HEADER_SIZE
        raise KeyboardInterrupt

    monkeypatch.setattr(TokenWriter, "finish", interrupted)
    outcome = cli("encode", speech_path, "-o", tmp_path / "a.svq", "--model", tiny_model_dir)
    assert outcome.code == 130
    assert "Traceback" not in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_long_messages_stay_on_one_line(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_width", 40)
    path = tmp_path / ("[bold]" + "a long name " * 15 + ".wav")
    cli("encode", path, "-o", tmp_path / "a.svq", "--model", "any").must_be_mistake(str(path))


def test_one_side_of_a_call(cli, tmp_path: Path, stereo_path: Path, tiny_codec: Codec, tiny_model_dir: Path) -> None:
    (tmp_path / "calls").mkdir()
    shutil.copy(stereo_path, tmp_path / "calls" / "a.wav")
    right = load(stereo_path, 24_000, channel=2)
    expected = tiny_codec.encode(right).tokens[0].numpy()
    model = ("--model", tiny_model_dir, "--channel", 2)
    assert cli("encode", stereo_path, "-o", tmp_path / "a.svq", *model).code == 0
    for batch in (0, 60):
        out = tmp_path / f"out{batch}"
        assert cli("encode", tmp_path / "calls", "-o", out, "--batch", batch, *model).code == 0
        for path in (tmp_path / "a.svq", out / "a.wav.svq"):
            np.testing.assert_array_equal(read_tokens(path).tokens, expected)
    both = tiny_codec.encode(load(stereo_path, 24_000)).tokens[0].numpy()
    assert (both != expected).any()
    done = cli("encode", stereo_path, "-o", tmp_path / "b.svq", "--model", tiny_model_dir, "--channel", 3)
    done.must_be_mistake("has no channel 3; expected 1 to 2")
    assert not (tmp_path / "b.svq").exists()
